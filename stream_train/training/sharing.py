"""A finished run as a small folder for others: the network, its config, and a model card.

In: a run. Out: the folder, or URL, that `from_pretrained` loads; a repository of the Hugging Face Hub if wanted.
"""

from __future__ import annotations

from shardify.errors import UsageError
from shardify.storage.folder_store import FolderStore
from shardify.storage.locations import is_url
from shardify.storage.work_folder import work_folder
from stream_train.audit.table import AUDIT_NAME
from stream_train.training.card import ROW_NAME, model_card
from stream_train.training.config import CONFIG_NAME
from stream_train.training.exports import BACKBONE_NAME, NETWORK_NAME
from stream_train.training.hub import split_hub_location, upload_to_hub
from stream_train.training.pictures import CURVES_NAME
from stream_train.training.validation import RESULT_NAME

CARD_NAME = "README.md"
NEEDED = (BACKBONE_NAME, CONFIG_NAME)
SHARED = (*NEEDED, NETWORK_NAME, CURVES_NAME, RESULT_NAME, AUDIT_NAME)


def export_run(run: str, out: str, *, card: bool, licence: str | None, upload: str | None = None) -> list[str]:
    """Copy a run's network, config, pictures and results to `out`, a folder or URL, with a model card if wanted.

    `upload`, such as `hf://user/name`, also puts the folder there. Returns the locations written.

    Raises:
        UsageError: if the run is not finished, or a location cannot be used.
        WorkError: if a file is damaged, or an upload fails.
    """
    if upload is not None:
        split_hub_location(upload)

    def wanted(name: str) -> bool:
        return name in SHARED or name.rpartition("/")[2] == ROW_NAME

    with work_folder(run, wanted, create=False) as source:
        for name in NEEDED:
            if not (source.path / name).is_file():
                raise UsageError(f"{run} holds no {name}; give the folder or URL of a finished `stream-train pretrain`")
        text = model_card(source.path, licence) if card else None
        with work_folder(out) as target:
            if not is_url(out) and target.path.resolve() == source.path.resolve():
                raise UsageError(f"--out {out} is the run itself; give another folder")
            store = FolderStore(target.path)
            names = [name for name in SHARED if (source.path / name).is_file()]
            for name in names:
                store.write(name, (source.path / name).read_bytes())
            if text is not None:
                store.write(CARD_NAME, text.encode())
                names.append(CARD_NAME)
            target.publish()
            written = [target.location_of(name) for name in names]
            if upload is not None:
                written.append(upload_to_hub(target.path, upload))
    return written

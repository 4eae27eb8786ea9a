"""The Hugging Face Hub: networks from it, folders to it. Needs the extra `hub` (huggingface_hub).

In: `hf://user/name`, with `@revision` if you like. Out: a local file, or the address of the upload.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from shardify.errors import UsageError, WorkError, one_line
from stream_train.training.exports import BACKBONE_NAME

HUB_SCHEME = "hf://"
LETTERS = 200
"""Of the Hub's errors, which may be long."""
_LOCATION = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?/?")


def split_hub_location(location: str) -> tuple[str, str | None]:
    """`hf://user/name@revision` -> (`user/name`, revision or None). Raises UsageError for another form."""
    match = _LOCATION.fullmatch(location)
    if match is None:
        raise UsageError(f"{location}: write it as hf://user/name, or hf://user/name@revision")
    return match[1], match[2]


def downloaded_from_hub(location: str) -> Path:
    """The network's file of a repository, from the Hub's cache on this machine or downloaded.

    Raises UsageError if there is no such repository or file, WorkError if the Hub does not answer.
    """
    repository, revision = split_hub_location(location)
    hub = _hub()
    try:
        return Path(hub.hf_hub_download(repository, BACKBONE_NAME, revision=revision))
    except (
        hub.errors.RepositoryNotFoundError,
        hub.errors.RevisionNotFoundError,
        hub.errors.EntryNotFoundError,
    ) as error:
        raise UsageError(f"{location}: {one_line(error)[:LETTERS]}; the repository needs a {BACKBONE_NAME}") from None
    except (hub.errors.HfHubHTTPError, hub.errors.LocalEntryNotFoundError, OSError) as error:
        raise WorkError(f"{location} cannot be downloaded: {one_line(error)[:LETTERS]}") from None


def upload_to_hub(folder: Path, location: str) -> str:
    """Upload a folder as one commit, into a repository that is made if it does not exist; returns its address.

    A new repository is private. Raises UsageError for a revision in the location, WorkError if the Hub refuses.
    """
    repository, revision = split_hub_location(location)
    if revision is not None:
        raise UsageError(f"{location}: an upload makes a new revision; write hf://{repository}")
    hub = _hub()
    api = hub.HfApi()
    try:
        api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="temporal-ssl export")
    except (hub.errors.HfHubHTTPError, OSError, ValueError) as error:
        raise WorkError(f"{location}: the upload failed: {one_line(error)[:LETTERS]}") from None
    return f"{HUB_SCHEME}{repository}"


def _hub() -> Any:
    """The library. Raises UsageError if it is not installed."""
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        raise UsageError(
            "hf:// needs the package huggingface_hub; install it with pip install 'temporal-ssl[hub]'"
        ) from None
    return huggingface_hub

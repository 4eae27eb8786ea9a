"""The model card of a run: data, recipe, results with intervals, limits, and how to load the network.

In: a local copy of a run's small files. Out: Markdown, in the form that the Hugging Face Hub reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from shardify.config import load_config
from shardify.errors import UsageError, counted
from stream_train.audit.table import AUDIT_NAME
from stream_train.tasks import build_task
from stream_train.tasks.base import ClipTask
from stream_train.training.config import CONFIG_NAME, InitConfig, InitTorchvision, PretrainConfig
from stream_train.training.exports import BACKBONE_NAME, load_backbone
from stream_train.training.metrics import SCORE_ENDINGS
from stream_train.training.validation import RESULT_NAME

ROW_NAME = "row.json"
"""The result of an evaluation, somewhere below the run; the package `eval` writes it."""


def model_card(folder: Path, licence: str | None) -> str:
    """The card of the run in a local folder, with the licence of its weights, if one is stated.

    Raises UsageError if the folder holds no finished run of `stream-train pretrain`.
    """
    backbone, metadata = load_backbone(folder / BACKBONE_NAME)
    try:
        config = load_config(PretrainConfig, folder / CONFIG_NAME)
    except UsageError as error:
        raise UsageError(f"{folder} is no run of `stream-train pretrain`: {error}") from None
    parts = (
        _front_matter(licence),
        f"# {metadata['network']['kind']}, pre-trained on {metadata['data_set.name']}",
        _network(metadata, sum(parameter.numel() for parameter in backbone.parameters())),
        _usage(),
        _data(metadata),
        _recipe(config),
        _results(folder, build_task(config.task, metadata["labels"])),
        *_audit(folder),
        _limits(config, metadata),
        _licence(licence),
    )
    return "\n\n".join(parts) + "\n"


def _licence(licence: str | None) -> str:
    own = licence or "not stated"
    return f"## Licence\n\nThe weights: {own}. The licences of the videos may limit what the weights may be used for."


def _front_matter(licence: str | None) -> str:
    tags = ("video", "self-supervised-learning", "temporal-transformations")
    lines = ["---", *([f"license: {licence}"] if licence else []), "library_name: temporal-ssl"]
    lines += ["pipeline_tag: video-classification", "tags:"]
    return "\n".join([*lines, *(f"- {tag}" for tag in tags), "---"])


def _network(metadata: Mapping[str, Any], num_parameters: int) -> str:
    crop, frames = metadata["crop"], metadata["num_frames"]
    return (
        f"A video network without a classifier, with {num_parameters:,} weights. It reads clips of "
        f"{frames} frames of {crop}x{crop} pixels and gives one feature vector per clip. temporal-ssl trained it on "
        f"the task `{metadata['task.kind']}`."
    )


def _usage() -> str:
    return (
        "## Use\n\n```python\nfrom stream_train import clips_of, from_pretrained\n\n"
        'network = from_pretrained("FOLDER")  # this folder, its s3:// URL, or hf://user/name\n'
        'features = network(clips_of("video.mp4", network))  # (clips, num_features)\n```'
    )


def _data(metadata: Mapping[str, Any]) -> str:
    split = metadata.get("split")
    which = f"split `{split}`" if split else "all videos"
    size = f"{metadata['data_set.height']}x{metadata['data_set.width']}"
    return (
        f"## Training data\n\n{metadata['data_set.num_samples']:,} videos of the data set "
        f"`{metadata['data_set.name']}` ({which}), as frames of {size} pixels (height x width). Fingerprint of "
        f"{'that split' if split else 'the shards'}: `{metadata['data_set.fingerprint']}`."
    )


def _recipe(config: PretrainConfig) -> str:
    begins = "random weights" if config.init is None else f"the weights of `{_origin(config.init)}`"
    labels = "action labels" if config.task.kind == "action_labels" else "no labels"
    length = f"{counted(config.epochs, 'epoch')}, {config.data.videos_per_batch} videos a step"
    lines = [
        f"- task `{config.task.kind}`, with {labels}",
        f"- {length}, from {begins}, seed {config.seed}",
        f"- AdamW, learning rate {config.optimizer.learning_rate:g}, weight decay {config.optimizer.weight_decay:g}",
    ]
    return "## Recipe\n\n" + "\n".join(lines) + f"\n\nEvery key is in `{CONFIG_NAME}`."


def _origin(init: InitConfig) -> str:
    return str(init.weights if isinstance(init, InitTorchvision) else init.path)


def _results(folder: Path, task: ClipTask) -> str:
    tables = [*_evaluations(folder), *_validation(folder, task)]
    nothing = "None are stored in the run: neither a validation nor an evaluation was run."
    return "## Results\n\n" + ("\n\n".join(tables) or nothing)


def _validation(folder: Path, task: ClipTask) -> Iterator[str]:
    """The scores of the pretext task beside what guessing gets; not those that only help to read them."""
    found = _read(folder / RESULT_NAME)
    if found:
        scores = {name: value for name, value in found["figures"].items() if name.endswith(SCORE_ENDINGS)}
        guesses = task.guesses(found["figures"])
        rows = [
            (name.replace("_", " "), f"{100 * value:.1f}", f"{100 * guesses[name]:.1f}" if name in guesses else "")
            for name, value in scores.items()
        ]
        where = f"`{found['split']}`" if found["split"] else "all videos"
        title = f"The pretext task on {found['num_videos']} held-out videos ({where}), in percent (no intervals):"
        yield f"{title}\n\n{_table(('metric', 'value', 'guessing'), rows)}"


def _audit(folder: Path) -> Iterator[str]:
    """The main score on each kind of changed clips, by observers without a network, and on parts of the videos."""
    found = _read(folder / AUDIT_NAME)
    if found:
        name = next(iter(found["rows"][0]["intervals"]))
        rows = []
        for row in found["rows"]:
            low, high = row["intervals"].get(name, (None, None))
            if name in row["scores"]:
                metric = {"value": row["scores"][name], "low": low, "high": high}
                rows.append((row["group"], row["name"], str(row["num_videos"]), _with_interval(metric, percent=True)))
        score = f"{name.replace('_', ' ')} in percent, with 95 % intervals over videos"
        title = f"Where the score of the pretext task comes from: {score}:"
        yield f"## Audit\n\n{title}\n\n{_table(('who or what', 'clips', 'videos', 'value'), rows)}"


def _evaluations(folder: Path) -> Iterator[str]:
    found = [_read(path) for path in sorted(folder.rglob(ROW_NAME))]
    rows = []
    for row in found:
        if row["network"] != "pretrained":
            continue
        name, metric = next(iter(row["metrics"].items()))
        rows.append(
            (
                f"{row['evaluation']} {row['variant']}",
                f"{row['data_set']} {row['test_split'] or 'all'}, {row['num_videos']} videos, seed {row['seed']}",
                name.replace("_", " "),
                _with_interval(metric, percent=name != "mae"),
                f"{100 * row['chance'][name]:.1f}" if name in row["chance"] else "",
            )
        )
    if rows:
        title = "Evaluations, in percent, with 95 % intervals over the sources of the test videos:"
        yield f"{title}\n\n{_table(('evaluation', 'test videos', 'metric', 'value', 'guessing'), rows)}"


def _with_interval(metric: Mapping[str, Any], *, percent: bool) -> str:
    scale, form = (100, "{:.1f}") if percent else (1, "{:.2f}")
    value = form.format(scale * metric["value"])
    if metric["low"] is None or metric["high"] is None:
        return value
    return f"{value} ({form.format(scale * metric['low'])} to {form.format(scale * metric['high'])})"


def _limits(config: PretrainConfig, metadata: Mapping[str, Any]) -> str:
    lines = [
        f"- It has seen {metadata['data_set.num_samples']:,} videos of one data set; yours may differ in many ways.",
        f"- Clips have {metadata['num_frames']} frames; longer actions need several clips.",
        "- The features were not tested for fairness, and are no basis for decisions about people.",
    ]
    if config.network.width != 1:
        lines.insert(0, f"- The network has {config.network.width:g} times the published width.")
    return "## Limits\n\n" + "\n".join(lines)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _read(path: Path) -> dict[str, Any]:
    """The values of a JSON file; empty without the file."""
    values: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    return values

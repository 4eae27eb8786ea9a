"""What the page says of a pre-training run: settings, progress, held-out validation, and what is not there.

In: the folder of `stream-train pretrain`. Out: :class:`Pretraining`, in words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from eval.report.pictures import Picture, in_order
from eval.report.words import Missing, as_percent, count_words
from eval.results.rows import ROW_NAME
from shardify.config import load_config
from shardify.errors import UsageError, WorkError
from shardify.inspection.preview import CONTACT_SHEET_NAME
from shardify.storage.locations import is_url
from stream_train.tasks import build_task
from stream_train.training.config import CONFIG_NAME, PretrainConfig
from stream_train.training.metrics import METRICS_NAME, Record, metric_names, read_metrics
from stream_train.training.pictures import CURVES_NAME
from stream_train.training.validation import RESULT_NAME, Validation, confusion_name
from stream_train.transformations.preview import TRANSFORMATIONS_NAME

_SIGNS = (CONFIG_NAME, METRICS_NAME, RESULT_NAME, CURVES_NAME, CONTACT_SHEET_NAME, TRANSFORMATIONS_NAME)
"""Any of these in a folder, and no result row, makes it one of pre-training."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of the pretext task, in words; "" where it is not known."""

    name: str
    held_out: str
    training: str
    guessing: str


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """A run of `stream-train pretrain`."""

    facts: tuple[tuple[str, str], ...]
    """Name and value."""
    problem: str
    """Why the settings could not be read; "" if they could."""
    figures: tuple[Figure, ...]
    judged: str
    """On what the held-out figures were measured; "" without a validation."""
    pictures: tuple[Picture, ...]
    missing: tuple[Missing, ...]
    headline: str
    """The run in half a sentence."""
    shards: str | None
    """Where the videos lay; None if the settings could not be read."""
    validation: Validation | None


def holds_pretraining(run: Path) -> bool:
    """Whether a folder holds anything of a pre-training run, rather than a result of an evaluation."""
    return any((run / name).is_file() for name in _SIGNS) and not (run / ROW_NAME).is_file()


def read_pretraining(run: Path, pictures: Sequence[Picture], location: str) -> Pretraining:
    """Everything that is known of a run.

    Args:
        run: its folder, on this machine.
        pictures: all that lie in it.
        location: where the user finds it.

    Raises:
        WorkError: if its validation.json is damaged.
    """
    config, problem = _read_config(run)
    records = read_metrics(run)
    validation = _read_validation(run)
    return Pretraining(
        facts=_facts(config, records) if config else (),
        problem=problem,
        figures=_figures(config, records, validation),
        judged=_validated_words(validation) if validation else "",
        pictures=in_order(pictures),
        missing=tuple(_missing(run, location, config, validation, {picture.name for picture in pictures})),
        headline=_headline(config, records) if config else "a pre-training run",
        shards=config.shards if config else None,
        validation=validation,
    )


def _read_config(run: Path) -> tuple[PretrainConfig | None, str]:
    """The settings, or why there are none; a report on an old run is better than none."""
    if not (run / CONFIG_NAME).is_file():
        return None, ""
    try:
        return load_config(PretrainConfig, run / CONFIG_NAME), ""
    except UsageError as error:
        return None, f"The settings are shown as they are, but could not be understood: {error}."


def _read_validation(run: Path) -> Validation | None:
    path = run / RESULT_NAME
    try:
        return TypeAdapter(Validation).validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise WorkError(f"{path} is damaged; delete it and run `stream-train validate {run}` again") from None


def _facts(config: PretrainConfig, records: Sequence[Record]) -> tuple[tuple[str, str], ...]:
    network = config.network.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})
    answers = build_task(config.task).class_names()
    return (
        ("network", ", ".join([config.network.kind, *(f"{key} {value}" for key, value in network.items())])),
        ("question", f"{config.task.kind}: " + "; ".join(f"{k} ({', '.join(v)})" for k, v in answers.items())),
        ("videos", f"{f'split {config.split}' if config.split else 'all samples'} of {config.shards}"),
        ("clips", f"16 frames, crops of {config.data.crop} pixels, {config.data.videos_per_batch} videos a batch"),
        ("progress", _progress_words(config, records)),
        ("seed", str(config.seed)),
    )


def _progress_words(config: PretrainConfig, records: Sequence[Record]) -> str:
    if not records:
        return f"not begun; {config.epochs} epochs are planned"
    step, epoch = records[-1]["step"], records[-1]["epoch"]
    state = "finished" if epoch >= config.epochs else f"not finished, {config.epochs} epochs are planned"
    return f"{epoch:.1f} epochs, {count_words(int(step), 'step')} ({state})"


def _headline(config: PretrainConfig, records: Sequence[Record]) -> str:
    videos = f"split {config.split}" if config.split else "all videos"
    done = f"{records[-1]['epoch']:.1f} of {config.epochs} epochs" if records else f"0 of {config.epochs} epochs"
    return f"{config.network.kind}, pre-trained on {videos} of {config.shards} for {done}"


def _validated_words(validation: Validation) -> str:
    draws = (
        "once" if validation.draws_per_video == 1 else f"{validation.draws_per_video} times, with other clips each time"
    )
    return (
        f"Held out: {count_words(validation.num_videos, 'video')} of split {validation.split or 'all'}, each looked at "
        f"{draws}, at step {validation.step:,}. These are shares of clips; several clips of a video are no independent "
        "evidence, so no interval is given."
    )


def _figures(
    config: PretrainConfig | None, records: Sequence[Record], validation: Validation | None
) -> tuple[Figure, ...]:
    held_out: Mapping[str, float] = validation.figures if validation else {}
    training = next((record for record in reversed(records) if "loss" in record), {})
    guesses = build_task(config.task).guesses(held_out) if config else {}
    names = dict.fromkeys([*held_out, *metric_names([training], ending="_accuracy")])
    return tuple(
        Figure(
            name=name.replace("_", " "),
            held_out=as_percent(held_out.get(name)),
            training=as_percent(training.get(name)),
            guessing=as_percent(guesses.get(name)),
        )
        for name in names
    )


def _missing(
    run: Path, location: str, config: PretrainConfig | None, validation: Validation | None, present: set[str]
) -> list[Missing]:
    """What a complete run has and this one has not."""
    can_go_on = config is not None and not is_url(location)
    go_on = f"stream-train pretrain {run / CONFIG_NAME if can_go_on else 'CONFIG'}"
    missing = []
    if not (run / CONFIG_NAME).is_file():
        missing.append(Missing(what=f"the run's settings ({CONFIG_NAME})", command=go_on))
    if not (run / METRICS_NAME).is_file():
        missing.append(Missing(what=f"the course of training ({METRICS_NAME})", command=go_on))
    if CURVES_NAME not in present:
        missing.append(Missing(what=f"the learning curves ({CURVES_NAME}, drawn when training ends)", command=go_on))
    validate = f"stream-train validate {location}"
    if config and config.validation is None:
        validate += " --set validation.split=SPLIT"
    if validation is None:
        missing.append(Missing(what=f"the validation on held-out videos ({RESULT_NAME})", command=validate))
    matrices = [confusion_name(name) for name in (validation.class_names if validation else ())]
    missing += [
        Missing(what=f"a confusion matrix ({name})", command=validate) for name in matrices if name not in present
    ]
    preview = f"preview {config.shards if config else 'SHARDS'} --out {location}"
    if TRANSFORMATIONS_NAME not in present:
        missing.append(
            Missing(what=f"the strips of transformations ({TRANSFORMATIONS_NAME})", command=f"stream-train {preview}")
        )
    if CONTACT_SHEET_NAME not in present:
        missing.append(Missing(what=f"the contact sheet ({CONTACT_SHEET_NAME})", command=f"shardify {preview}"))
    return missing

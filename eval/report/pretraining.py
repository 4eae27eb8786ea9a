"""The page's section about a pre-training run: settings, progress, validation, and missing parts.

In: the folder of `stream-train pretrain`. Out: :class:`Pretraining`, as text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from eval.report.pictures import Picture
from eval.report.words import Missing
from eval.results.paper_tables import TABLE_1
from eval.results.rows import ROW_NAME
from eval.results.words import epoch_words, number_words
from shardify.config import load_config
from shardify.errors import UsageError, WorkError, counted
from shardify.inspection.preview import CONTACT_SHEET_NAME
from shardify.storage.locations import is_url
from stream_train.audit.table import AUDIT_NAME, Audit, frames_until_clear
from stream_train.tasks import build_task
from stream_train.tasks.action_labels import ACTION
from stream_train.tasks.base import ClipTask
from stream_train.tasks.config import ActionLabelsConfig, MotionSpeedConfig, PaceConfig
from stream_train.training.config import CONFIG_NAME, PretrainConfig
from stream_train.training.metrics import METRICS_NAME, SCORE_ENDINGS, Record, metric_names, read_metrics, shown_names
from stream_train.training.pictures import CURVES_NAME
from stream_train.training.validation import RESULT_NAME, Validation, confusion_name
from stream_train.transformations.preview import TRANSFORMATIONS_NAME

Written = TypeVar("Written", Validation, Audit)
_SIGNS = (CONFIG_NAME, METRICS_NAME, RESULT_NAME, CURVES_NAME, CONTACT_SHEET_NAME, TRANSFORMATIONS_NAME)
"""A folder with one of these and without a result row is a pre-training run."""
_MANY_ANSWERS = 24
"""A question with more answers is shown without their names."""


@dataclass(frozen=True, kw_only=True)
class TaskMetric:
    """A metric of the pretext task, as text; unknown values are ""."""

    name: str
    held_out: str
    training: str
    guessing: str

    @property
    def is_complete(self) -> bool:
        """Whether the first paragraph can show it."""
        return bool(self.held_out and self.guessing)


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """A run of `stream-train pretrain`."""

    facts: tuple[tuple[str, str], ...]
    problem: str
    """Why the settings cannot be read; "" if they can."""
    metrics: tuple[TaskMetric, ...]
    validation: Validation | None
    audit: Audit | None
    pictures: Sequence[Picture]
    missing: tuple[Missing, ...]
    headline: str
    """The run in half a sentence."""
    config: PretrainConfig | None
    """None if the settings cannot be read."""
    records: Sequence[Record]
    """The lines of metrics.jsonl."""
    guesses: Mapping[str, float]
    """Metric of the validation -> what guessing gets."""

    @property
    def shards(self) -> str | None:
        """Location of the training data; None if the settings cannot be read."""
        return self.config.shards if self.config else None

    @property
    def is_finished(self) -> bool:
        """Whether the last line of metrics.jsonl is of the last epoch; True if the settings cannot be read."""
        return self.config is None or bool(self.records and self.records[-1]["epoch"] >= self.config.epochs)

    @property
    def progress(self) -> str:
        """`6 of 24 epochs`."""
        done = epoch_words(self.records[-1]["epoch"]) if self.records else "0"
        return f"{done} of {self.config.epochs} epochs" if self.config else f"{done} epochs"


def holds_pretraining(run: Path) -> bool:
    """Whether a folder holds files of a pre-training run, and no result of an evaluation."""
    return any((run / name).is_file() for name in _SIGNS) and not (run / ROW_NAME).is_file()


def read_pretraining(run: Path, pictures: Sequence[Picture], location: str) -> Pretraining:
    """All facts about a run in a local folder, which the user calls `location`.

    Raises WorkError if validation.json is damaged.
    """
    config, problem = _read_config(run)
    records = read_metrics(run)
    validation = _read_record(run, RESULT_NAME, Validation, "validate")
    task = _task_of(config, validation) if config else None
    guesses = task.guesses(validation.figures if validation else {}) if task else {}
    return Pretraining(
        facts=_facts(config, records, validation) if config else (),
        problem=problem,
        metrics=_metrics(records, validation, guesses),
        validation=validation,
        audit=_read_record(run, AUDIT_NAME, Audit, "audit"),
        pictures=pictures,
        missing=tuple(_missing(run, location, config, validation, {picture.name for picture in pictures})),
        headline=_headline(config, records) if config else "a pre-training run",
        config=config,
        records=records,
        guesses=guesses,
    )


def _read_config(run: Path) -> tuple[PretrainConfig | None, str]:
    """The settings, or why they cannot be read: settings of an old version do not stop the report."""
    if not (run / CONFIG_NAME).is_file():
        return None, ""
    try:
        return load_config(PretrainConfig, run / CONFIG_NAME), ""
    except UsageError as error:
        return None, f"The settings are shown as they are, but could not be understood: {error}."


def _read_record(run: Path, name: str, record: type[Written], command: str) -> Written | None:
    """What a command wrote into the run; None if it has not run. Raises WorkError if the file is damaged."""
    path = run / name
    try:
        return TypeAdapter(record).validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise WorkError(f"{path} is damaged; delete it and run `stream-train {command} {run}` again") from None


def _task_of(config: PretrainConfig, validation: Validation | None) -> ClipTask | None:
    """The task; None if it learns from labels and no validation names them."""
    labels = validation.class_names.get(ACTION, ()) if validation else ()
    is_known = not isinstance(config.task, ActionLabelsConfig) or len(labels) > 1
    return build_task(config.task, labels) if is_known else None


def _question_words(config: PretrainConfig, task: ClipTask | None) -> str:
    """`rotation: rotation (0, 90, 180, 270)`."""
    answers = [(name, shown_names(names)) for name, names in task.class_names().items()] if task else ()
    words = [f"{k} ({', '.join(v) if len(v) <= _MANY_ANSWERS else f'{len(v)} classes'})" for k, v in answers]
    return ": ".join(filter(None, (config.task.kind, "; ".join(words))))


def _facts(
    config: PretrainConfig, records: Sequence[Record], validation: Validation | None
) -> tuple[tuple[str, str], ...]:
    network = config.network.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})
    return (
        ("network", ", ".join([config.network.kind, *(f"{key} {value}" for key, value in network.items())])),
        ("question", _question_words(config, _task_of(config, validation))),
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
    return f"{epoch_words(epoch)} epochs, {counted(int(step), 'step')} ({state})"


def _headline(config: PretrainConfig, records: Sequence[Record]) -> str:
    videos = f"split {config.split}" if config.split else "all videos"
    done = (
        f"{epoch_words(records[-1]['epoch'])} of {config.epochs} epochs" if records else f"0 of {config.epochs} epochs"
    )
    return f"{config.network.kind}, pre-trained on {videos} of {config.shards} for {done}"


def _metrics(
    records: Sequence[Record], validation: Validation | None, guesses: Mapping[str, float]
) -> tuple[TaskMetric, ...]:
    held_out: Mapping[str, float] = validation.figures if validation else {}
    training = next((record for record in reversed(records) if "loss" in record), {})
    names = dict.fromkeys([*held_out, *metric_names([training], ending=SCORE_ENDINGS)])

    def words(name: str, values: Mapping[str, float]) -> str:
        return number_words(name, values[name]) if name in values else ""

    return tuple(
        TaskMetric(
            name=name.replace("_", " "),
            held_out=words(name, held_out),
            training=words(name, training),
            guessing=words(name, guesses),
        )
        for name in names
    )


def _missing(
    run: Path, location: str, config: PretrainConfig | None, validation: Validation | None, present: set[str]
) -> list[Missing]:
    """The parts of a complete run that this run lacks."""
    resume = f"stream-train pretrain {run / CONFIG_NAME if config is not None and not is_url(location) else 'CONFIG'}"
    validate = f"stream-train validate {location}"
    if config and config.validation is None:
        validate += " --set validation.split=SPLIT"
    preview = f"preview {config.shards if config else 'SHARDS'} --out {location}"
    files = {path.name for path in run.iterdir()}
    has_strips = config is None or isinstance(config.task, MotionSpeedConfig | PaceConfig)
    parts = [
        (files, CONFIG_NAME, "the run's settings ({})", resume),
        (files, METRICS_NAME, "the course of training ({})", resume),
        (present, CURVES_NAME, "the learning curves ({}, drawn when training ends)", resume),
        (files, RESULT_NAME, "the validation on held-out videos ({})", validate),
        *(
            (present, confusion_name(name), "a confusion matrix ({})", validate)
            for name in (validation.class_names if validation else ())
        ),
        *(
            [(present, TRANSFORMATIONS_NAME, "the strips of transformations ({})", f"stream-train {preview}")]
            * has_strips
        ),
        (present, CONTACT_SHEET_NAME, "the contact sheet ({})", f"shardify {preview}"),
    ]
    return [
        Missing(what=what.format(name), command=command) for there, name, what, command in parts if name not in there
    ]


def frames_rows(audit: Audit) -> list[tuple[str, list[float], int | None, list[str]]]:
    """Each class's line of "how many frames are needed": name, shares, frames that are enough, and the paper's results.

    The paper's are those of Table 1 for this motion type alone beside speed, without and with the speed loss: percent
    with frozen convolutions on UCF101 / fine-tuned on HMDB51. Empty for other tasks' classes.
    """
    guessing = 1 / max(1, len(audit.frames_needed))
    alone: dict[str, list[str]] = defaultdict(list)
    for row in TABLE_1.rows:
        if row.kind == "ours" and len(row.motions) == 1:
            alone[row.motions[0]].append(" / ".join(f"{100 * cell['accuracy']:.1f}" for cell in row.results.values()))
    return [
        (name, list(shares.values()), frames_until_clear(shares, guessing), alone.get(name, []))
        for name, shares in zip(shown_names(audit.frames_needed), audit.frames_needed.values(), strict=True)
    ]

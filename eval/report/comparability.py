"""What keeps runs, or their results, from being compared: other data, other splits, other settings.

In: runs, or results of one evaluation by run. Out: sentences; none if nothing known differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from eval.report.runs import RunOf, settings_of
from eval.report.writing import DIGEST_LETTERS
from eval.results.combined import DATA_KEYS, SEED_KEYS, Combined, split_of
from stream_train.training.exports import frame_size_of

_TASK, _KIND = "task.", "task.kind"
_QUESTION = (_TASK, "data.crop", "data.resize", "data.test_resize", "validation.draws_per_video")
"""Starts of the keys of a run's config that decide what its validations ask."""
_OWN = ("network", *DATA_KEYS, *SEED_KEYS)
"""Keys of a row's config that are no settings: the network, the data and the seeds. They are compared elsewhere."""


def warnings_about(runs: Sequence[RunOf]) -> list[str]:
    """Sentences about the runs' training and their held-out results."""
    trained = {run.name: digest for run in runs if (digest := run.identity.get("data_set.fingerprint"))}
    sizes = {run.name: " × ".join(map(str, size)) for run in runs if (size := frame_size_of(run.identity))}
    resized = {
        run.name: run.identity.get("data_set.resizing", "of an earlier version") for run in runs if _resizes(run)
    }
    validations = {run.name: run.pretraining.validation for run in runs if run.pretraining}
    held_out = {
        name: f"split {found.split or 'all'} of {found.num_videos} videos, {_short(found.shards_fingerprint)}"
        for name, found in validations.items()
        if found
    }
    sentences = [
        ("The networks learnt from other videos, by fingerprint", {n: _short(digest) for n, digest in trained.items()}),
        ("The networks saw frames of other sizes before the crop", sizes),
        ("Frames were resized by other code", resized),
        ("The held-out videos differ", held_out),
    ]
    warnings = [f"{what}: {who(values)}." for what, values in sentences if len(set(values.values())) > 1]
    if asked := _asked(runs):
        warnings.append(f"The held-out results answer other questions; these keys differ: {', '.join(asked)}.")
    return warnings


def result_differences(results: Mapping[str, Combined]) -> list[str]:
    """What differs between the results of one evaluation, by run, besides the networks."""
    return [f"{what}: {who(values)}" for what, values in _compared(results) if len(set(values.values())) > 1]


def who(values: Mapping[str, str]) -> str:
    """The runs of each value: {"a": "1", "b": "2", "c": "1"} -> "1 (a, c); 2 (b)"."""
    return "; ".join(
        f"{value} ({', '.join(name for name, other in values.items() if other == value)})"
        for value in dict.fromkeys(values.values())
    )


def _compared(results: Mapping[str, Combined]) -> Iterator[tuple[str, dict[str, str]]]:
    """What is compared, and the value of each run that has one."""
    rows = {name: [row for _, row in result.rows] for name, result in results.items()}
    yield "splits", {name: ", ".join(sorted({split_of(row) for row in own})) for name, own in rows.items()}
    yield "test videos", {name: _shorts(row.fingerprint for row in own) for name, own in rows.items()}
    for key in DATA_KEYS:
        found = {name: _shorts(str(row.config[key]) for row in own if key in row.config) for name, own in rows.items()}
        yield "training videos", {name: words for name, words in found.items() if words}
    settings = {
        name: settings_of({key: value for key, value in result.row.config.items() if key not in _OWN})
        for name, result in results.items()
    }
    for key in dict.fromkeys(key for own in settings.values() for key in own):
        yield key, {name: own.get(key, "none") for name, own in settings.items()}


def _asked(runs: Sequence[RunOf]) -> list[str]:
    """The keys of validated runs that decide the question and differ."""
    validated = [run.settings for run in runs if run.pretraining and run.pretraining.validation and run.settings]
    keys = dict.fromkeys(key for settings in validated for key in settings if key.startswith(_QUESTION))
    differing = [key for key in keys if len({settings.get(key) for settings in validated}) > 1]
    if _KIND in differing:  # then the task's other keys differ, too
        return [_KIND, *(key for key in differing if not key.startswith(_TASK))]
    return differing


def _resizes(run: RunOf) -> bool:
    return bool(run.identity.get("data.resize") or run.identity.get("data.scale"))


def _short(digest: str) -> str:
    return digest[:DIGEST_LETTERS]


def _shorts(digests: Iterator[str]) -> str:
    return ", ".join(sorted({_short(digest) for digest in digests}))

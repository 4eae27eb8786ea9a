"""The files of a result: `row.json` holds the row, and `videos.csv` the scores of every test video.

In: a row, and the scores of its videos. Out: both files in one folder, each written atomically; reading gives the same
values. Nothing depends on time or machine, so equal results give equal bytes.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from shardify.arrays import FloatArray, IntArray
from shardify.errors import UsageError, WorkError, one_line
from shardify.storage.folder_store import FolderStore
from shardify.storage.locations import join_location

ROW_NAME = "row.json"
SCORES_NAME = "videos.csv"
SEAM_METRIC = "seam_accuracy"
"""Metric of before-after: the accuracy of a guess from the seam between the pieces, without the network."""
OTHER_TASK = "pretext_task_"
"""Start of `pretraining["question"]` for pretext tasks that are not the paper's; `task.kind` follows."""

_UCF101_CLIP = re.compile(r"(?P<group>.+_g\d+)_c\d+(-[0-9a-f]{10})?")
"""A file name of UCF101; keys that would repeat end in a digest."""
_HMDB51_TAIL = r"[fhlu]_(cm|nm)_np\d+_(ba|fr|le|ri)_(goo|med|bad)_\d+(-[0-9a-f]{10})?"
"""HMDB51's words for body parts, camera motion, people, viewpoint and quality, then the clip's number."""
_FIXED_COLUMNS = ("key", "group", "label", "predicted")


@dataclass(frozen=True, kw_only=True)
class VideoScores:
    """The scores of V >= 1 test videos. Raises ValueError if a length or type is wrong, or a value is not finite."""

    keys: tuple[str, ...]
    groups: tuple[str, ...]
    """The source of each video, see :func:`group_of_key`; intervals resample the groups."""
    labels: IntArray
    """int64 (V,) class numbers, -1 where there is none."""
    predicted: IntArray | None
    """int64 (V,) class numbers; None if the evaluation predicts no class, such as retrieval."""
    values: dict[str, FloatArray]
    """Metric -> float64 (V,), whose mean is the metric; the first is the main metric."""

    def __post_init__(self) -> None:
        if not self.keys or not self.values:
            raise ValueError(f"there is no {'metric' if self.keys else 'test video'}")
        if len(self.groups) != len(self.keys):
            raise ValueError(f"groups has {len(self.groups)} entries, but there are {len(self.keys)} videos")
        self._check("labels", self.labels, np.int64)
        if self.predicted is not None:
            self._check("predicted", self.predicted, np.int64)
        for name, values in self.values.items():
            self._check(name, values, np.float64)
            if not np.isfinite(values).all():
                raise ValueError(f"{name} of {self.keys[int(np.isfinite(values).argmin())]} is not a finite number")

    def _check(self, name: str, column: npt.NDArray[Any], dtype: type[np.generic]) -> None:
        if column.shape != (len(self.keys),) or column.dtype != dtype:
            expected = f"{np.dtype(dtype)} ({len(self.keys)},)"
            raise ValueError(f"{name} is {column.dtype} {column.shape}, but {expected} is needed, one for each video")


def group_of_key(key: str, class_name: str | None = None) -> str:
    """The source of a video; any other key is its own group.

    UCF101's key `..._gXX_cYY` gives `..._gXX`. HMDB51's source is what stands before `_<class>_`, so its videos need
    their class: `April_09_brush_hair_u_nm_np1_ba_goo_0` of class brush_hair gives `April_09`.
    """
    if match := _UCF101_CLIP.fullmatch(key):
        return match["group"]
    if class_name is not None:
        name = re.escape(class_name)
        if match := re.fullmatch(rf"({name}__)?(?P<group>.+)_{name}_{_HMDB51_TAIL}", key):
            return match["group"]
    return key


def _bound(value: object) -> object:
    """Read null as NaN, an unknown bound: JSON has no NaN."""
    return math.nan if value is None else value


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number with its 95 % interval: an accuracy in [0, 1], or a mean absolute error in steps."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    value: float
    low: Annotated[float, BeforeValidator(_bound)]
    """NaN, as is `high`, if there is no interval."""
    high: Annotated[float, BeforeValidator(_bound)]

    @property
    def has_interval(self) -> bool:
        return not (math.isnan(self.low) or math.isnan(self.high))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One result: a network in a variant of an evaluation, on one test split, with one seed.

    Raises ValueError if there is no metric, or `pretraining` has no question.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    evaluation: str
    """transfer, probe, retrieval, sync, before_after or still."""
    variant: str
    """transfer: finetune; probe: fc-all, linear-10pct, knn-all ...; retrieval: pooled; sync and before_after:
    frozen, finetune; still: still, moving."""
    network: str
    """The network's name in the config: pretrained, random, supervised ..."""
    architecture: str
    """c3d, r3d18 ...; "none" for features without a network."""
    pretraining: dict[str, Any] | None
    """None for random weights; else `question` (transformations; transfer, which uses action labels; torchvision;
    pretext_task_rotation ...) and, if known, `data_set`, `split`, `motions`, `speed_loss`, `epochs`, `step`; `changes`,
    the settings that differ from the paper's, or for other pretext tasks from our common recipe; `learning_rate`, of a
    network trained with labels."""
    weights: str
    """sha256 of the weights, or torchvision's name for them; "" for random weights and without a network."""
    data_set: str
    fingerprint: str
    """The fingerprint of the test split."""
    train_split: str | None
    test_split: str | None
    seed: int
    num_videos: int
    num_groups: int
    num_left_out: int
    """Test videos that are too short for the question."""
    num_classes: int
    chance: dict[str, float]
    """Metric -> the value of guessing."""
    metrics: dict[str, Metric]
    """The first is the main metric."""
    reported: dict[str, float]
    """Metric -> the paper's number for this experiment, when the row was written; empty if there was none.
    Tables and reports look it up again (:func:`eval.results.paper.find_reported`)."""
    config: dict[str, Any]
    """The resolved settings of this row, as JSON values."""
    network_config: dict[str, Any] = field(default_factory=dict)
    """The network's config: kind, variant, width ...; empty without a network, and in rows of earlier versions."""

    @property
    def options(self) -> Mapping[str, Any]:
        """`network_config`; rows of earlier versions have it for random weights only."""
        found: Mapping[str, Any] = self.network_config or self.config.get("network", {})
        return found

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ValueError("there is no metric")
        if self.pretraining is not None and not isinstance(self.pretraining.get("question"), str):
            raise ValueError(f"pretraining is {self.pretraining!r}, which does not name its question")


def write_row(folder: Path, row: Row, scores: VideoScores) -> None:
    """Write `videos.csv`, then `row.json`, each atomically; a folder with a `row.json` is complete.

    Creates the folder, and replaces an earlier row. Raises ValueError if row and scores differ in the metrics or their
    order, or in the numbers of videos or groups.
    """
    if list(row.metrics) != list(scores.values):
        raise ValueError(f"the row has the metrics {list(row.metrics)}, the videos {list(scores.values)}")
    counts = (row.num_videos, row.num_groups)
    found = (len(scores.keys), len(set(scores.groups)))
    if counts != found:
        raise ValueError(f"the row has {counts} videos and groups, but there are {found}")
    folder.mkdir(parents=True, exist_ok=True)
    store = FolderStore(folder)
    store.delete(ROW_NAME)
    store.write(SCORES_NAME, _scores_csv(scores).encode())
    store.write(ROW_NAME, (json.dumps(row_values(row), indent=1, allow_nan=False) + "\n").encode())


def read_row(folder: Path, location: str | None = None) -> Row:
    """The row in a local folder. Raises WorkError, with the user's `location`, if `row.json` is missing or damaged."""
    path = join_location(location or folder, ROW_NAME)
    try:
        return TypeAdapter(Row).validate_json((folder / ROW_NAME).read_bytes())
    except FileNotFoundError:
        raise WorkError(f"{path} does not exist; the evaluation did not finish; run it again") from None
    except ValidationError as error:
        raise WorkError(
            f"{path} is damaged or not a result row ({problem_words(error)}); delete it and run the evaluation again"
        ) from None


def problem_words(error: ValidationError) -> str:
    """The first three problems of a damaged file, each with its place there."""
    problems = [
        f"{'.'.join(map(str, problem['loc'])) or 'the file'}: {problem['msg']}"
        for problem in error.errors(include_url=False)
    ]
    return one_line("; ".join(problems[:3]))


def read_scores(folder: Path) -> VideoScores:
    """The scores of a row's videos. Raises WorkError if `videos.csv` is missing or damaged."""
    path = folder / SCORES_NAME
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *lines = csv.reader(file, strict=True)
        return _parse_scores(header, lines)
    except FileNotFoundError:
        raise WorkError(f"{path} does not exist; run the evaluation again") from None
    except (ValueError, csv.Error) as error:
        reason = one_line(error)
        raise WorkError(
            f"{path} is damaged or not a list of test videos ({reason}); delete its folder and run the evaluation again"
        ) from None


def find_rows(root: Path) -> list[Path]:
    """All folders at or below `root` with a `row.json`, sorted. Raises UsageError if `root` is no folder."""
    if not root.is_dir():
        reason = "is not a folder" if root.exists() else "does not exist"
        raise UsageError(f"{root} {reason}; give a folder that evaluations wrote their results below")
    return sorted(path.parent for path in root.rglob(ROW_NAME))


def is_of_rows(name: str) -> bool:
    """Whether a name or path is that of a file from :func:`write_row`."""
    return name.rpartition("/")[2] in (ROW_NAME, SCORES_NAME)


def row_values(row: Row) -> dict[str, Any]:
    """A row as JSON values, as in `row.json`; unknown bounds are None."""
    values = asdict(row)
    for metric in values["metrics"].values():
        metric |= {name: None for name in ("low", "high") if math.isnan(metric[name])}
    return values


def _scores_csv(scores: VideoScores) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FIXED_COLUMNS, *scores.values])
    predicted = [""] * len(scores.keys) if scores.predicted is None else scores.predicted.tolist()
    columns = [values.tolist() for values in scores.values.values()]
    writer.writerows(zip(scores.keys, scores.groups, scores.labels.tolist(), predicted, *columns, strict=True))
    return text.getvalue()


def _parse_scores(header: list[str], lines: list[list[str]]) -> VideoScores:
    """Raises ValueError if this is no table of test videos."""
    if tuple(header[: len(_FIXED_COLUMNS)]) != _FIXED_COLUMNS:
        raise ValueError(f"the columns are {header}")
    if wrong := [number for number, line in enumerate(lines, start=2) if len(line) != len(header)]:
        raise ValueError(f"line {wrong[0]} has {len(lines[wrong[0] - 2])} columns, the first has {len(header)}")
    keys, groups, labels, predicted, *values = zip(*lines, strict=True) if lines else [()] * len(header)
    return VideoScores(
        keys=keys,
        groups=groups,
        labels=np.array(labels, dtype=np.int64),
        predicted=np.array(predicted, dtype=np.int64) if any(predicted) else None,
        values={name: np.array(column, dtype=np.float64) for name, column in zip(header[4:], values, strict=True)},
    )

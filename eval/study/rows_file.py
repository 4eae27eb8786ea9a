"""All results of a study in one small text file, from which its tables and pictures can be made again.

In: a folder of results. Out: JSON lines, and from them the same folder. A line with `videos` describes test videos:
their keys, groups and labels. A line with `row` is a result: its folder, its row, the place of its videos among the
lines with `videos`, and the scores of each. A line with `audit` is the audit.json of a pre-training. Lines of one kind
are sorted by folder, so later results change few lines.
"""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from eval.results.combined import Combined
from eval.results.rows import Row, VideoScores, problem_words, read_scores, row_values, write_row
from eval.study.audits import read_audit
from eval.suite import EVALUATIONS
from shardify.errors import UsageError, WorkError, one_line
from shardify.storage.work_folder import downloaded
from stream_train.audit.table import AUDIT_NAME, Audit, write_audit

ROWS_NAME = "rows.jsonl"
_GZIP = b"\x1f\x8b"
_LEVELS_OF_JOB = 2
"""The results and the audit of a job lie in or below ROW/SEED."""
_DAMAGE = (
    *(gzip.BadGzipFile, EOFError, zlib.error),
    *(ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError),
)
"""What a damaged file may raise."""


def rows_text(results: list[Combined], root: Path) -> str:
    """The file of some results, whose folders lie below `root`, and of all audits there.

    Raises WorkError if a result or an audit is damaged.
    """
    folders = sorted((folder, row) for result in results for folder, row in result.rows)
    tests: list[dict[str, Any]] = []
    rows = []
    for folder, row in folders:
        scores = read_scores(folder)
        videos = {"keys": scores.keys, "groups": scores.groups, "labels": scores.labels.tolist()}
        if videos not in tests:
            tests.append(videos)
        rows.append(
            {
                "folder": folder.resolve().relative_to(root.resolve()).as_posix(),
                "row": row_values(row),
                "videos": tests.index(videos),
                "predicted": None if scores.predicted is None else scores.predicted.tolist(),
                "values": {name: values.tolist() for name, values in scores.values.items()},
            }
        )
    audits = [
        {"folder": path.parent.relative_to(root).as_posix(), "audit": asdict(read_audit(path))}
        for path in sorted(root.rglob(AUDIT_NAME))
    ]
    lines = [*({"videos": videos} for videos in tests), *audits, *rows]
    return "".join(json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n" for line in lines)


def unpack_rows(location: str | Path, folder: Path) -> None:
    """Write the results of a file or URL, also one compressed with gzip, below a folder.

    Raises UsageError if it is a folder, WorkError if it is missing or damaged.
    """
    path = str(location)
    if Path(path).is_dir():
        raise UsageError(f"{path} is a folder; give the file {ROWS_NAME} that a study wrote beside its tables")
    try:
        with downloaded(location) as file:
            data = file.read_bytes()
        text = gzip.decompress(data) if data.startswith(_GZIP) else data
        lines = text.decode("utf-8").splitlines()
        tests: list[dict[str, Any]] = []
        for line in map(json.loads, lines):
            if "row" in line:
                write_row(_below(folder, line), *_result(line, tests))
            elif "audit" in line:
                write_audit(_below(folder, line), TypeAdapter(Audit).validate_json(json.dumps(line["audit"])))
            else:
                tests.append(line["videos"])
    except FileNotFoundError:
        raise WorkError(f"{path} does not exist; give the {ROWS_NAME} that a study wrote beside its tables") from None
    except _DAMAGE as error:
        reason = problem_words(error) if isinstance(error, ValidationError) else one_line(error)
        raise WorkError(f"{path} is damaged or not the {ROWS_NAME} of a study ({reason})") from None


def _below(folder: Path, line: dict[str, Any]) -> Path:
    place = PurePosixPath(line["folder"])
    if place.is_absolute() or ".." in place.parts:
        raise ValueError(f"folder {line['folder']!r} leads out of the study")
    if len(place.parts) < _LEVELS_OF_JOB:
        raise ValueError(f"folder {line['folder']!r} is not of the form ROW/seed0/...")
    return folder / place


def _result(line: dict[str, Any], tests: list[dict[str, Any]]) -> tuple[Row, VideoScores]:
    number, predicted = line["videos"], line["predicted"]
    if number not in range(len(tests)):
        raise ValueError(f"videos is {number!r}, but {len(tests)} lines with test videos precede")
    videos = tests[number]
    scores = VideoScores(
        keys=tuple(videos["keys"]),
        groups=tuple(videos["groups"]),
        labels=np.array(videos["labels"], dtype=np.int64),
        predicted=None if predicted is None else np.array(predicted, dtype=np.int64),
        values={name: np.array(values, dtype=np.float64) for name, values in line["values"].items()},
    )
    row = TypeAdapter(Row).validate_json(json.dumps(line["row"]))
    known = [evaluation.name for evaluation in EVALUATIONS if evaluation.makes_rows]
    if row.evaluation not in known:
        raise ValueError(f"there is no evaluation {row.evaluation!r}; there are: {', '.join(known)}")
    return row, scores

"""All results of a study in one small text file, from which its tables and pictures can be made again.

In: a folder of results. Out: JSON lines, and from them the same folder. A line with `videos` describes test videos:
their keys, groups and labels. A line with `row` is a result: its folder, its row, the place of its videos among the
lines with `videos`, and the scores of each. Lines are sorted by folder, so later results change few lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from eval.results.combined import Combined
from eval.results.rows import Row, VideoScores, read_scores, row_values, write_row
from shardify.errors import WorkError, one_line
from shardify.storage.work_folder import downloaded

ROWS_NAME = "rows.jsonl"


def rows_text(results: list[Combined], root: Path) -> str:
    """The file of some results, whose folders lie below `root`. Raises WorkError if a result is damaged."""
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
    lines = [*({"videos": videos} for videos in tests), *rows]
    return "".join(json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n" for line in lines)


def unpack_rows(location: str | Path, folder: Path) -> None:
    """Write the results of a file or URL below a folder. Raises WorkError if it is missing or damaged."""
    path = str(location)
    try:
        with downloaded(location) as file:
            lines = file.read_text(encoding="utf-8").splitlines()
        for place, row, scores in _parsed(lines):
            write_row(folder / place, row, scores)
    except FileNotFoundError:
        raise WorkError(f"{path} does not exist; give the {ROWS_NAME} that a study wrote to its out") from None
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise WorkError(f"{path} is damaged or not the {ROWS_NAME} of a study ({one_line(error)})") from None


def _parsed(lines: list[str]) -> Iterator[tuple[str, Row, VideoScores]]:
    tests: list[dict[str, Any]] = []
    for line in map(json.loads, lines):
        if "row" not in line:
            tests.append(line["videos"])
            continue
        place = PurePosixPath(line["folder"])
        if place.is_absolute() or ".." in place.parts:
            raise ValueError(f"folder {line['folder']!r} leads out of the study")
        videos, predicted = tests[line["videos"]], line["predicted"]
        scores = VideoScores(
            keys=tuple(videos["keys"]),
            groups=tuple(videos["groups"]),
            labels=np.array(videos["labels"], dtype=np.int64),
            predicted=None if predicted is None else np.array(predicted, dtype=np.int64),
            values={name: np.array(values, dtype=np.float64) for name, values in line["values"].items()},
        )
        yield line["folder"], TypeAdapter(Row).validate_json(json.dumps(line["row"])), scores

"""The report sets the frames that each transformation needs beside the paper's results."""

from __future__ import annotations

import pytest

from eval.report.pretraining import frames_rows
from stream_train.audit.table import Audit


def audit_of(frames_needed: dict[str, dict[int, float]]) -> Audit:
    return Audit(
        task="transformations",
        step=1,
        split="test1",
        shards_fingerprint="",
        num_videos=1,
        guesses={},
        rows=(),
        frames_needed=frames_needed,
    )


@pytest.mark.parametrize(
    ("motion", "reported"),
    [
        ("random", ["44.5 / 31.7", "55.1 / 33.2"]),
        ("periodic", ["40.6 / 29.5", "56.5 / 36.1"]),
        ("warp", ["43.5 / 32.6", "55.8 / 36.9"]),
        ("speed", []),  # in all lines of Table 1
        ("forwards", []),  # of another task
    ],
)
def test_what_the_paper_reports_for_a_transformation_alone(motion: str, reported: list[str]) -> None:
    shares = {2: 0.5, 8: 0.9, 16: 1.0}
    assert frames_rows(audit_of({motion: shares, "speed 2": {2: 0.5, 8: 0.5, 16: 0.5}})) == [
        (motion, [0.5, 0.9, 1.0], 16, reported),
        ("4x", [0.5, 0.5, 0.5], None, []),
    ]

"""The script .ci/run: which steps it takes, and what it demands where the real clips are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from test_makefile import ROOT, run


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Only the script, in a folder of its own."""
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    return tmp_path


def run_ci(checkout: Path, failing: str = "", **variables: str) -> tuple[int, list[str]]:
    """Run .ci/run with a `make` that only notes its target and the variable that demands real clips."""
    log = checkout / "make.log"
    log.write_text("", encoding="utf-8")
    fake = checkout / "bin" / "make"
    fake.parent.mkdir(exist_ok=True)
    demand = "${TEMPORAL_SSL_REQUIRE_DATA:-0}"  # 0 if unset or empty
    fake.write_text(f'#!/bin/sh\necho "$1 {demand}" >> "{log}"\n[ "$1" != "{failing}" ]\n', encoding="utf-8")
    fake.chmod(0o755)
    shutil.copy(fake, fake.with_name("chromium"))  # so that none is fetched for a test
    path = f"{fake.parent}{os.pathsep}{os.environ['PATH']}"
    plain = {"TEMPORAL_SSL_REQUIRE_DATA": ""}  # whoever runs these tests may demand the clips already
    result = run("bash", ".ci/run", cwd=checkout, PATH=path, CI="true", **plain, **variables)
    return result.returncode, log.read_text(encoding="utf-8").splitlines()


def test_ci_runs_everything_and_demands_the_clips_where_they_are(checkout: Path, tmp_path: Path) -> None:
    steps = ("install", "check", "docs", "test", "test-slow")
    absent = str(tmp_path / "nowhere")
    assert run_ci(checkout, TEMPORAL_SSL_TEST_DATA=absent) == (0, [f"{step} 0" for step in steps])
    assert run_ci(checkout, TEMPORAL_SSL_TEST_DATA=str(tmp_path)) == (0, [f"{step} 1" for step in steps])


def test_ci_fails_with_its_first_failing_step(checkout: Path) -> None:
    status, steps = run_ci(checkout, failing="check")
    assert status != 0
    assert [step.split()[0] for step in steps] == ["install", "check"]

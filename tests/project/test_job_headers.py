"""The headers of the job files in configs/jobs agree with what the files do."""

from __future__ import annotations

import re
import shlex
import shutil

import pytest
from test_jobs import JOBS, PRETRAIN, SHARDS, planned, script
from test_makefile import TARGETS

from shardify.storage.clouds import CLOUDS

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def header_of(name: str) -> str:
    comments = (line[1:].strip() for line in (JOBS / name).read_text().splitlines() if line.startswith("# "))
    return " ".join(comments)


def test_every_job_file_is_tested_and_says_how_it_is_used() -> None:
    files = {path.name for path in JOBS.iterdir()}
    assert files == {*SHARDS, *PRETRAIN, "Containerfile", "Containerfile.wheel"}
    for name in files:
        header = [line for line in (JOBS / name).read_text().splitlines()[:20] if line.startswith("# ")]
        assert len(header) >= 4, name
        assert any("Expect" in line for line in header), name
        assert any(name in line for line in header), f"{name}: its command"


def test_the_commands_of_the_headers_exist() -> None:
    found = 0
    for path in JOBS.iterdir():
        for command in re.findall(r"\bmake ([a-z][^`'#&,]*)", header_of(path.name)):
            target, *variables = shlex.split(command.replace("$BUCKET", "s3://b"))
            assert target in TARGETS, path.name
            given = [word for word in variables if re.match(r"[A-Z]+=", word)]
            assert target in {"install", "help"} or planned([target, *given])
            found += 1
    assert found >= 5


@pytest.mark.parametrize("name", [*SHARDS, *PRETRAIN])
def test_a_job_says_at_its_top_what_is_to_be_edited(name: str) -> None:
    """Each word of the command that names the example's data, bucket or recipe, or what a user gives instead."""
    shell = re.sub(r"^#.*\n", "", script(name), flags=re.MULTILINE)
    words = dict(re.findall(r"\b([A-Z]+)=(\S+)", shell))
    fixed = {"CONFIG", "SHARDS", "OUT", "SET"} if name in PRETRAIN else {"DATASET", "VIDEOS", "LISTS", "OUT"}
    if name == "demo.yaml":
        assert not fixed & words.keys()
        assert "nothing to edit" in header_of(name)
    elif name == "slurm_shards.sbatch":
        assert all("$" in words[key] for key in fixed)
        assert {"BUCKET", "VIDEOS", "LISTS", "DATASET"} <= set(re.findall(r"\b([A-Z]+)=", header_of(name)))
        assert not re.search(r"export [^A]", header_of(name)), "what make would read afterwards, too"
    else:
        assert fixed <= words.keys()
        (edited,) = re.findall(r"(?:edit:?|editing) ([^.]*(?:OUT)[^.]*)", header_of(name))
        assert fixed <= set(re.findall(r"\b[A-Z]+\b", edited)), edited


def test_variables_of_clouds_that_are_named_are_read() -> None:
    read = {name for cloud in CLOUDS.values() for name in (*cloud.endpoint, *cloud.access)}
    for name in (*SHARDS, *PRETRAIN):
        named = set(re.findall(r"\b(?:AWS|AZURE|GOOGLE)_[A-Z_]*[A-Z]\b", (JOBS / name).read_text()))
        assert named <= read, name
        assert name == "demo.yaml" or len(named) >= 3, name
        if name.startswith(("kubernetes", "skypilot")):
            assert {"AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "GOOGLE_SERVICE_ACCOUNT_KEY"} <= named

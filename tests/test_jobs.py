"""The job files of configs/jobs: what they would run, as far as `make -n`, the commands' own parsers and bash go."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from helpers_shards import contents
from test_makefile import TARGETS, VARIABLES, commands, overrides
from torch.distributed.run import get_args_parser

from shardify.build_config import BuildConfig
from shardify.cli import main as shardify
from shardify.config import load_config
from shardify.part import parse_part
from stream_train.cli import main as stream_train
from stream_train.config import PretrainConfig

ROOT = Path(__file__).resolve().parent.parent
JOBS = ROOT / "configs" / "jobs"
BUCKET = {"BUCKET": "s3://b", "VIDEOS": "s3://b/videos", "LISTS": "s3://b/list.csv"}
"""What the user sets, where a file asks for it."""
SLURM_SHARDS = {"SLURM_ARRAY_TASK_COUNT": "16", "SLURM_CPUS_PER_TASK": "4"}
PRETRAIN_NODES = 2

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((JOBS / name).read_text()))


def container(job: dict[str, Any]) -> dict[str, Any]:
    (found,) = job["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def script(name: str) -> str:
    """What a job's shell runs."""
    if name.endswith(".yaml") and name.startswith("skypilot"):
        return str(documents(name)[0]["run"])
    if name.endswith(".yaml"):
        job = documents(name)[-1]
        command = container(job)["command"] + container(job)["args"]
        assert command[:2] == ["bash", "-c"]
        return str(command[2])
    return (JOBS / name).read_text()


def made(name: str, tmp_path: Path, **environment: str) -> list[str]:
    """The words that a job's script calls `make` with, in an environment like its job system's."""
    notes, bin_folder = tmp_path / "notes", tmp_path / "bin"
    bin_folder.mkdir(exist_ok=True)
    notes.unlink(missing_ok=True)
    fakes = {
        "make": f'#!/bin/sh\nfor word; do printf "%s\\n" "$word"; done > {shlex.quote(str(notes))}\n',
        "srun": '#!/bin/sh\nshift\nexec "$@"\n',
        "scontrol": '#!/bin/sh\nprintf "node1\\nnode2\\n"\n',
    }
    for fake, text in fakes.items():
        (bin_folder / fake).write_text(text)
        (bin_folder / fake).chmod(0o755)
    variables = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "USER": "me", **BUCKET, **environment}
    result = subprocess.run(
        ["bash", "-u", "-c", script(name)], env=variables, capture_output=True, text=True, timeout=20, check=False
    )
    assert result.returncode == 0, result.stderr
    return notes.read_text().splitlines()


def planned(words: list[str]) -> list[str]:
    """The command that make would run for such words, whose targets and variables all exist."""
    target, *variables = words
    assert target in TARGETS
    names = [variable.partition("=")[0] for variable in variables]
    assert set(names) <= set(VARIABLES), names
    assert all(variable.partition("=")[2] for variable in variables), variables
    return commands(*words)[-1]


def parsed(group: click.Group, words: list[str]) -> dict[str, Any]:
    """What a command's own parser makes of its words."""
    command = group.commands[words[0]]
    return command.make_context(words[0], list(words[1:])).params


SHARDS = ("slurm_shards.sbatch", "kubernetes_shards.yaml", "ray_shards.sh", "skypilot_shards.yaml", "demo.yaml")
PRETRAIN = ("slurm_pretrain.sbatch", "kubernetes_pretrain.yaml", "skypilot_pretrain.yaml")


def test_every_job_file_is_tested_and_says_how_it_is_used() -> None:
    files = {path.name for path in JOBS.iterdir()}
    assert files == {*SHARDS, *PRETRAIN, "Containerfile"}
    for name in files:
        header = [line for line in (JOBS / name).read_text().splitlines()[:9] if line.startswith("# ")]
        assert len(header) >= 4, name
        assert any("Expect" in line for line in header), name
        assert any(name in line for line in header), f"{name}: its command"


def parts_of(name: str, tmp_path: Path) -> list[dict[str, str]]:
    """The environments of all the machines of a shards job."""
    if name.startswith("slurm"):
        first, last = map(int, re.findall(r"--array=(\d+)-(\d+)", (JOBS / name).read_text())[0])
        count = {"SLURM_ARRAY_TASK_COUNT": str(last - first + 1)}
        return [{**SLURM_SHARDS, **count, "SLURM_ARRAY_TASK_ID": str(i)} for i in range(first, last + 1)]
    if name.startswith("skypilot"):
        count = documents(name)[0]["num_nodes"]
        return [{"SKYPILOT_NODE_RANK": str(i), "SKYPILOT_NUM_NODES": str(count)} for i in range(count)]
    if name.startswith("ray"):
        return [{}]
    spec = documents(name)[-1]["spec"]
    assert spec["completions"] == spec["parallelism"]
    return [{"JOB_COMPLETION_INDEX": str(i)} for i in range(spec["completions"])]


@pytest.mark.parametrize("name", SHARDS)
def test_shards_jobs_build_every_part_once(name: str, tmp_path: Path) -> None:
    machines = parts_of(name, tmp_path)
    built: Counter[int] = Counter()
    for machine in (machines[0], machines[-1]):
        command = planned(made(name, tmp_path, **machine))
        values = parsed(shardify, command[3:])
        load_config(BuildConfig, ROOT / values["config"], overrides(command))
    for machine in machines:
        words = dict(word.split("=", 1) for word in made(name, tmp_path, **machine)[1:])
        if "PART" in words:
            part = parse_part(words["PART"])
            assert part.count == len(machines)
            built.update(part.of(range(1000)))
        else:
            assert words["ENGINE"] == "ray"
            built.update(range(1000))
    assert built == Counter(range(1000))


@pytest.mark.parametrize("name", PRETRAIN)
def test_pretraining_jobs_start_every_node_once(name: str, tmp_path: Path) -> None:
    ranks, masters = [], set()
    for node in range(PRETRAIN_NODES):
        machine = {
            "slurm": {"SLURM_NODEID": str(node), "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "8",
                      "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_ID": "7"},
            "kubernetes": {"JOB_COMPLETION_INDEX": str(node)},
            "skypilot": {"SKYPILOT_NODE_RANK": str(node), "SKYPILOT_NUM_NODES": "2",
                         "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NUM_GPUS_PER_NODE": "8"},
        }[name.partition("_")[0]]  # fmt: skip
        command = planned(made(name, tmp_path, **machine))
        assert command[0] == ".venv/bin/torchrun"
        launch = get_args_parser().parse_args(command[1:])
        assert (launch.nnodes, launch.nproc_per_node, launch.module) == ("2", "8", True)
        assert launch.training_script == "stream_train"
        values = parsed(stream_train, launch.training_script_args)
        config = load_config(PretrainConfig, ROOT / values["config"], overrides(command))
        assert config.shards.startswith("s3://")
        assert config.out.startswith("s3://")
        ranks.append(launch.node_rank)
        masters.add((launch.master_addr, launch.master_port))
    assert ranks == list(range(PRETRAIN_NODES))
    assert len(masters) == 1


def test_slurm_nodes_agree_with_the_header() -> None:
    text = (JOBS / "slurm_pretrain.sbatch").read_text()
    assert f"#SBATCH --nodes={PRETRAIN_NODES}" in text
    assert "#SBATCH --ntasks-per-node=1" in text


def test_slurm_requeues_a_run_that_was_told_to_stop(tmp_path: Path) -> None:
    """The shell passes the warning on, waits until the step has saved, and only then asks to start over."""
    log = tmp_path / "log"
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    fakes = {
        "srun": f'#!/bin/bash\ntrap "sleep 0.5; echo saved >> {log}; exit 1" TERM\nkill -USR1 $PPID\n'
        "for i in $(seq 100); do sleep 0.1; done\n",
        "scontrol": f'#!/bin/sh\ncase "$1" in show) echo node1;; *) echo "$@" >> {log};; esac\n',
    }
    for fake, text in fakes.items():
        (bin_folder / fake).write_text(text)
        (bin_folder / fake).chmod(0o755)
    environment = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "USER": "me", **BUCKET}
    environment |= {"SLURM_JOB_NODELIST": "node1", "SLURM_JOB_ID": "7"}
    path = JOBS / "slurm_pretrain.sbatch"
    result = subprocess.run(["bash", path], env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 0, result.stderr
    assert log.read_text().splitlines() == ["saved", "requeue 7"]


@pytest.mark.parametrize("name", [name for name in (*SHARDS, *PRETRAIN) if name.startswith(("kubernetes", "demo"))])
def test_kubernetes_jobs_have_what_they_need(name: str) -> None:
    *others, job = documents(name)
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert spec["completionMode"] == "Indexed"
    assert pod["restartPolicy"] == "Never"
    assert {"name", "image", "command", "args", "resources"} <= container(job).keys()
    mounts = {mount["name"] for mount in container(job).get("volumeMounts", [])}
    assert mounts == {volume["name"] for volume in pod.get("volumes", [])}
    secrets = [source["secretRef"]["name"] for source in container(job).get("envFrom", [])]
    assert secrets == ([] if name == "demo.yaml" else ["bucket"])
    for service in others:
        assert (service["apiVersion"], service["kind"]) == ("v1", "Service")
        assert service["spec"] == {"clusterIP": "None", "selector": {"job-name": job["metadata"]["name"]}}
        assert service["metadata"]["name"] == pod["subdomain"]
        assert f"MASTER={job['metadata']['name']}-0.{pod['subdomain']}:29500" in script(name)


def test_skypilot_tasks_have_what_they_need() -> None:
    for name in (*SHARDS, *PRETRAIN):
        if name.startswith("skypilot"):
            (task,) = documents(name)
            assert task.keys() == {"name", "num_nodes", "resources", "workdir", "envs", "setup", "run"}
            assert task["setup"].split() == ["make", "install"]


def test_the_image_is_made_by_the_makefile() -> None:
    lines = [line for line in (JOBS / "Containerfile").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0].startswith("FROM python:3.1")
    assert any(re.search(r"\bmake install\b", line) for line in lines)
    assert not [line for line in lines if "://" in line]
    assert {".venv", "data", "runs", ".git"} <= set((ROOT / ".dockerignore").read_text().split())


@pytest.mark.slow
def test_the_demo_job_builds_in_two_parts_what_one_build_makes(tmp_path: Path) -> None:
    """For real, with the commands that `make` prints, in a folder of its own."""
    for number in (0, 1):
        words = made("demo.yaml", tmp_path, JOB_COMPLETION_INDEX=str(number))
        for command in commands(*words):
            where = [word.replace("configs/", f"{ROOT}/configs/") for word in command[1:]]
            subprocess.run([sys.executable, *where], cwd=tmp_path, check=True, capture_output=True)
    parts = contents(tmp_path / "data/demo/shards")
    config = str(ROOT / "configs/shards/demo.yaml")
    whole = [sys.executable, "-m", "shardify", "build", config, "--set", "out=whole"]
    subprocess.run(whole, cwd=tmp_path, check=True, capture_output=True)
    assert parts == contents(tmp_path / "whole")
    assert "manifest.json" in parts

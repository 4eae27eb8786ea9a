"""The job files of configs/jobs: what they would run, by `make -n`, the commands' parsers and bash."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from helpers_shards import contents
from test_makefile import TARGETS, VARIABLES, commands, overrides, run
from torch.distributed.run import get_args_parser

from shardify.build.config import BuildConfig
from shardify.build.plan import parse_part
from shardify.cli import main as shardify
from shardify.config import load_config
from stream_train.cli import main as stream_train
from stream_train.data.order import slots_of_rank
from stream_train.training.config import PretrainConfig

ROOT = Path(__file__).resolve().parents[2]
JOBS = ROOT / "configs" / "jobs"
BUCKET = {"BUCKET": "s3://b", "VIDEOS": "s3://b/videos", "LISTS": "s3://b/list.csv"}
"""What a user sets."""
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
        "srun": '#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"\n',
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


def test_some_parts_of_a_slurm_array_alone_remain_those_parts(tmp_path: Path) -> None:
    alone = {**SLURM_SHARDS, "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_ID": "7"}
    assert "PART=7/16" in made("slurm_shards.sbatch", tmp_path, **alone, PARTS="16")


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
                      "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "64"},
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
        slots_of_rank(config.data.videos_per_batch, 0, int(launch.nnodes) * int(launch.nproc_per_node))
        ranks.append(launch.node_rank)
        masters.add((launch.master_addr, launch.master_port))
    assert ranks == list(range(PRETRAIN_NODES))
    assert len(masters) == 1


def test_pretraining_jobs_read_what_the_shards_jobs_build(tmp_path: Path) -> None:
    """One place in the bucket, and lists of every split that the recipe names."""
    built = set()
    for name in SHARDS:
        words = dict(word.split("=", 1) for word in made(name, tmp_path, **parts_of(name, tmp_path)[0])[1:])
        if name != "demo.yaml":
            built.add((words["DATASET"], words["OUT"].rpartition("/")[2]))
            assert not words["LISTS"].endswith(".csv") or name.startswith("slurm"), "a folder: a list for each split"
    ((data_set, place),) = built
    for name in PRETRAIN:
        assert f"_{data_set}.yaml" in script(name)
        assert re.search(rf"SHARDS=\S+/{place}\W", script(name))


STEP = """#!/bin/bash
# Like srun: a SIGTERM to itself kills the task. The task warns of the end, and takes a while to save when asked.
bash -c 'trap "sleep 0.5; echo saved >> {folder}/log; exit {status}" TERM; echo $$ > {folder}/task; {before}
    for i in $(seq 50); do sleep 0.1; done' task $PPID &
task=$!
trap 'kill -KILL $task; exit 137' TERM
wait $task
"""


@pytest.mark.parametrize(
    ("before", "status", "expected", "lines"),
    [
        pytest.param("kill -USR1 $1;", 2, 0, ["saved", "requeue 7"], id="asked to stop"),
        pytest.param("kill -USR1 $1;", 0, 0, ["saved"], id="done when asked to stop"),
        pytest.param("exit 2;", 2, 2, [], id="failed"),
        pytest.param("exit 0;", 0, 0, [], id="done"),
    ],
)
def test_slurm_requeues_only_a_run_that_was_asked_to_stop(
    tmp_path: Path, before: str, status: int, expected: int, lines: list[str]
) -> None:
    """The shell passes the warning on, waits until the step has saved, and only then requeues the job."""
    log, bin_folder = tmp_path / "log", tmp_path / "bin"
    log.touch()
    bin_folder.mkdir()
    fakes = {
        "srun": STEP.format(folder=tmp_path, before=before, status=status),
        "scancel": f'#!/bin/sh\n[ "$*" = "--signal=TERM 7.0" ] && kill -TERM "$(cat {tmp_path}/task)"\n',
        "scontrol": f'#!/bin/sh\ncase "$1" in show) echo node1;; *) echo "$@" >> {log};; esac\n',
    }
    for fake, text in fakes.items():
        (bin_folder / fake).write_text(text)
        (bin_folder / fake).chmod(0o755)
    environment = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "USER": "me", **BUCKET}
    environment |= {"SLURM_JOB_NODELIST": "node1", "SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "8"}
    path = JOBS / "slurm_pretrain.sbatch"
    result = subprocess.run(["bash", path], env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == expected, result.stderr
    assert log.read_text().splitlines() == lines


def settings(name: str) -> dict[str, str]:
    """The environment variables that a pretraining job sets for its processes."""
    if name.startswith("kubernetes"):
        return {entry["name"]: entry["value"] for entry in container(documents(name)[-1])["env"]}
    if name.startswith("skypilot"):
        return dict(documents(name)[0]["envs"])
    return dict(re.findall(r"^export (\w+)=(.+)$", script(name), flags=re.MULTILINE))


def test_torchrun_waits_for_a_checkpoint_but_ends_before_the_machine() -> None:
    (seconds,) = {settings(name)["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] for name in PRETRAIN}
    (warned,) = re.findall(r"--signal=B:USR1@(\d+)", script("slurm_pretrain.sbatch"))
    pod = documents("kubernetes_pretrain.yaml")[-1]["spec"]["template"]["spec"]
    assert 30 < int(seconds) < min(int(warned), pod["terminationGracePeriodSeconds"])


@pytest.mark.parametrize(
    ("name", "lacking"),
    [("slurm_pretrain.sbatch", "BUCKET"), ("slurm_shards.sbatch", "BUCKET"), ("slurm_shards.sbatch", "VIDEOS")],
)
def test_slurm_jobs_name_a_missing_variable(name: str, lacking: str) -> None:
    given = {key: value for key, value in BUCKET.items() if key != lacking}
    environment = {"PATH": os.environ["PATH"], "USER": "me", "SLURM_JOB_ID": "7", **SLURM_SHARDS, **given}
    result = subprocess.run(["bash", JOBS / name], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert re.fullmatch(rf"\S+: line \d+: {lacking}: .+\n", result.stderr), result.stderr


def test_two_jobs_on_a_slurm_node_use_different_ports(tmp_path: Path) -> None:
    machine = {"SLURM_NODEID": "0", "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "4", "SLURM_CPUS_PER_TASK": "32"}
    machine |= {"SLURM_JOB_NODELIST": "node[1-2]"}
    numbers = ("7", "8", "19999999")
    made_words = [made("slurm_pretrain.sbatch", tmp_path, **machine, SLURM_JOB_ID=number) for number in numbers]
    masters = [word for words in made_words for word in words if word.startswith("MASTER=")]
    assert masters == ["MASTER=node1:20007", "MASTER=node1:20008", "MASTER=node1:29999"]


@pytest.mark.parametrize("name", [name for name in (*SHARDS, *PRETRAIN) if name.startswith(("kubernetes", "demo"))])
def test_kubernetes_jobs_have_what_they_need(name: str) -> None:
    *others, job = documents(name)
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert spec["completionMode"] == "Indexed"
    assert pod["restartPolicy"] == "Never"
    mounts = {mount["name"] for mount in container(job).get("volumeMounts", [])}
    assert mounts == {volume["name"] for volume in pod.get("volumes", [])}
    secrets = [source["secretRef"]["name"] for source in container(job).get("envFrom", [])]
    assert secrets == ([] if name == "demo.yaml" else ["bucket"])
    assert len(others) == (name in PRETRAIN)


@pytest.mark.parametrize("name", ["pretrain", "other"])
def test_pods_find_each_other_in_a_second_job_too(name: str) -> None:
    """By the name that the Service, the Job and MASTER share, and that the header's command changes."""
    text = (JOBS / "kubernetes_pretrain.yaml").read_text()
    if name == "other":
        (command,) = re.findall(r"sed '[^']*'", text)
        text = subprocess.run(shlex.split(command), input=text, capture_output=True, text=True, check=True).stdout
    service, job = yaml.safe_load_all(text)
    pod = job["spec"]["template"]["spec"]
    assert (service["apiVersion"], service["kind"]) == ("v1", "Service")
    assert service["spec"] == {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"job-name": name}}
    assert service["metadata"]["name"] == job["metadata"]["name"] == pod["subdomain"] == name
    assert f"MASTER={name}-0.{name}:29500" in container(job)["args"][0]
    assert "exec make pretrain CONFIG=" in container(job)["args"][0]


def test_the_image_is_made_by_the_makefile() -> None:
    lines = [line for line in (JOBS / "Containerfile").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0].startswith("FROM python:3.1")
    assert any(re.search(r"\bmake install\b", line) for line in lines)
    assert any(line.startswith("ENV PATH=") and line.endswith(".venv/bin:$PATH") for line in lines)
    assert {".venv", "data", "runs", ".git"} <= set((ROOT / ".dockerignore").read_text().split())


def test_the_image_installs_only_what_jobs_need() -> None:
    text = (JOBS / "Containerfile").read_text()
    (extras,) = re.findall(r"^ARG EXTRAS=(\S+)$", text, flags=re.MULTILINE)
    (words,) = re.findall(r"^RUN make (install .*) &&", text, flags=re.MULTILINE)

    def installed(extras: str) -> str:
        new = "--what-if=pyproject.toml"
        printed = run("make", "--dry-run", new, *shlex.split(words.replace("$EXTRAS", extras)))
        assert printed.returncode == 0, printed.stderr
        (pip,) = [line for line in printed.stdout.splitlines() if " -m pip install " in line]
        return shlex.split(pip)[-1]

    assert installed(extras) == ".[aws,ray]"
    assert installed("") == "."


@pytest.mark.parametrize(("extras", "end"), [("aws,ray", "[aws,ray]"), ("", "")])
def test_the_image_of_the_wheel_installs_it_with_the_chosen_extras(tmp_path: Path, extras: str, end: str) -> None:
    """What the shell makes of the line: the one wheel, the tested versions, no root afterwards."""
    text = (JOBS / "Containerfile.wheel").read_text()
    assert {line.split()[1] for line in text.splitlines() if line.startswith("FROM ")} == {"python:3.12-slim"}
    assert text.index("\nRUN pip install") < text.index("\nUSER trainer\n") < text.index("\nCMD ")
    (words,) = re.findall(r"^RUN pip install (.*) \\\n", text, flags=re.MULTILINE)
    (tmp_path / "temporal_ssl-0.1.0-py3-none-any.whl").touch()
    script = f"printf '%s\\n' {words.replace('/wheels', str(tmp_path))}"
    printed = subprocess.run(["sh", "-c", script], env={"EXTRAS": extras}, capture_output=True, text=True, check=True)
    *_, option, constraints, wheel = printed.stdout.splitlines()
    assert (option, constraints) == ("--constraint", f"{tmp_path}/constraints.txt")
    assert wheel == f"{tmp_path}/temporal_ssl-0.1.0-py3-none-any.whl{end}"
    known = re.findall(r"^ARG EXTRAS=(\S+)$", text, flags=re.MULTILINE)[0].split(",")
    assert set(known) <= set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def run_printed(folder: Path, words: list[str]) -> None:
    """Run for real what `make` prints for such words, in a folder of its own."""
    for command in commands(*words):
        where = [word.replace("configs/", f"{ROOT}/configs/") for word in command[1:]]
        subprocess.run([sys.executable, *where], cwd=folder, check=True, capture_output=True)


@pytest.mark.slow
def test_jobs_build_in_two_parts_what_one_build_makes(tmp_path: Path) -> None:
    """The demo's Job on Kubernetes, which makes its videos, and Slurm's array, with the end that its header names."""
    for number in (0, 1):
        run_printed(tmp_path, made("demo.yaml", tmp_path, JOB_COMPLETION_INDEX=str(number)))
    source = {"VIDEOS": "data/demo/videos", "LISTS": "data/demo/ucfTrainTestlist"}
    array = {"DATASET": "demo", "BUCKET": "array", **source, **SLURM_SHARDS, "SLURM_ARRAY_TASK_COUNT": "2"}
    for number in (2, 1):
        run_printed(tmp_path, made("slurm_shards.sbatch", tmp_path, **array, SLURM_ARRAY_TASK_ID=str(number)))
    manifest = tmp_path / "array/demo/manifest.json"
    manifest.unlink()
    run_printed(tmp_path, ["finish", "DATASET=demo", "OUT=array/demo"])
    run_printed(tmp_path, ["verify", "SHARDS=array/demo"])
    run_printed(tmp_path, ["shards", "OUT=whole"])
    whole = contents(tmp_path / "whole")
    assert "manifest.json" in whole
    assert contents(tmp_path / "data/demo/shards") == whole
    assert contents(tmp_path / "array/demo") == whole

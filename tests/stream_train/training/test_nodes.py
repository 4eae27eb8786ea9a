"""Several machines: torchrun's agents that meet over the network, share no folder, and keep the run in a bucket."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers_processes import descendants
from helpers_stream import read_stream
from helpers_training import VALIDATED, assert_same_run, tiny_values

from shardify.storage.work_folder import work_folder
from stream_train.training.checkpoint import CheckpointFolder

pytestmark = pytest.mark.slow

SECONDS = 900
VIDEOS = 7
"""In a batch: 4 and 3 over two ranks."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Node:
    """One machine: an agent of torchrun in a folder of its own."""

    def __init__(self, folder: Path, config: Path, launcher: list[str], log: Path, *overrides: str) -> None:
        folder.mkdir(parents=True)
        log.mkdir(exist_ok=True)
        (folder / "tmp").mkdir()
        self.folder = folder
        module = Path(__file__).parents[2] / "helpers" / "helpers_logged_training.py"
        words = [word for override in overrides for word in ("--set", override)]
        variables = {"OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "tmp"), "CLIP_LOG": str(log)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *launcher, str(module), "pretrain", str(config), *words],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | variables,
        )

    def finish(self) -> str:
        output, _ = self.process.communicate(timeout=SECONDS)
        return output

    def ranks(self) -> list[int]:
        """Process ids of its ranks."""
        return [
            pid for pid in descendants(self.process.pid) if b"pretrain" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]


def one_node(folder: Path, config: Path, ranks: int, log: Path, *overrides: str) -> Node:
    return Node(folder, config, ["--standalone", "--nproc-per-node", str(ranks)], log, *overrides)


def two_nodes(folder: Path, config: Path, log: Path, *overrides: str) -> tuple[Node, Node]:
    """Two machines with a rank each, that meet at the first one's port."""
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--rdzv-id", folder.name]
    launcher = ["--nnodes", "2", "--nproc-per-node", "1", "--local-addr", "127.0.0.1", *meeting]
    first, second = (Node(folder / name, config, launcher, log, *overrides) for name in ("first", "second"))
    return first, second


def write_config(path: Path, shards: Path, out: str, **changes: Any) -> Path:
    values = tiny_values(shards, out, data__videos_per_batch=VIDEOS, **{"epochs": 4} | changes)
    values["validation"] = VALIDATED | {"every_epochs": 2}
    path.write_text(yaml.safe_dump(values))
    return path


def seen_by(log: Path) -> dict[int, set[str]]:
    """What the network saw at each place of the stream, over all ranks of all attempts."""
    return read_stream(list(log.iterdir()))


def wait_for_step(url: str, step: int, *nodes: Node) -> None:
    deadline = time.monotonic() + SECONDS
    while not any(saved >= step for saved in CheckpointFolder(folder=url).steps()):
        for node in nodes:
            assert node.process.poll() is None, node.finish()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_machines_train_what_one_does(small_dataset: Path, tmp_path: Path, s3_url: str) -> None:
    """Two ranks either way, each machine with nothing of its own but a folder for temporary files."""
    here = write_config(tmp_path / "here.yaml", small_dataset, str(tmp_path / "run"))
    there = write_config(tmp_path / "there.yaml", small_dataset, f"{s3_url}/run")
    alone = one_node(tmp_path / "alone", here, 2, tmp_path / "log-alone")
    output = alone.finish()
    assert alone.process.returncode == 0, output
    nodes = two_nodes(tmp_path / "nodes", there, tmp_path / "log-nodes")
    outputs = [node.finish() for node in nodes]
    assert [node.process.returncode for node in nodes] == [0, 0], outputs
    assert "".join(outputs).count("backbone.safetensors") == 1, "only the main process speaks"
    assert seen_by(tmp_path / "log-nodes") == seen_by(tmp_path / "log-alone")
    with work_folder(f"{s3_url}/run", lambda _: True) as folder:
        assert_same_run(folder.path, tmp_path / "run")
        for name in ("backbone.safetensors", "network.safetensors", "validation.json"):
            assert (folder.path / name).read_bytes() == (tmp_path / "run" / name).read_bytes(), name
    for node in nodes:
        assert not list(node.folder.rglob("temporal-ssl-*")), "no copies are left"


def test_a_lost_machine_ends_the_others_and_any_number_of_ranks_goes_on(
    small_dataset: Path, tmp_path: Path, s3_url: str
) -> None:
    """kill -9 of one machine's rank; then three ranks of one machine, then one process: the clips of a quiet run."""
    whole = write_config(tmp_path / "whole.yaml", small_dataset, str(tmp_path / "run"), epochs=12)
    quiet = one_node(tmp_path / "quiet", whole, 1, tmp_path / "log-quiet")
    output = quiet.finish()
    assert quiet.process.returncode == 0, output
    log, url = tmp_path / "log", f"{s3_url}/run"
    config = write_config(tmp_path / "broken.yaml", small_dataset, url, epochs=12)
    nodes = two_nodes(tmp_path / "nodes", config, log)
    wait_for_step(url, 4, *nodes)
    (victim,) = nodes[1].ranks()
    os.kill(victim, signal.SIGKILL)
    outputs = [node.finish() for node in nodes]
    assert [node.process.returncode for node in nodes] == [1, 1], outputs
    errors = re.findall(r"error: rank \d lost another process of this run .*; run the same command again", outputs[0])
    assert len(errors) == 1, outputs[0]
    three = one_node(tmp_path / "three", config, 3, log)
    wait_for_step(url, CheckpointFolder(folder=url).steps()[-1] + 8, three)
    for pid in [*descendants(three.process.pid), three.process.pid]:
        os.kill(pid, signal.SIGKILL)
    three.finish()
    last = one_node(tmp_path / "last", config, 1, log)
    output = last.finish()
    assert last.process.returncode == 0, output
    assert "continuing" in output
    assert seen_by(log) == seen_by(tmp_path / "log-quiet"), "also where steps were done again"
    assert len(seen_by(log)) == 40 * VIDEOS

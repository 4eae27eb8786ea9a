"""A training run in a bucket: complete at every checkpoint, waits out short outages, stops with a clear line."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers_fault_proxy import FaultProxy
from helpers_processes import finish, kill_all, start
from helpers_s3 import S3Server
from helpers_training import VALIDATED, assert_same_run, records, run_tiny, tiny_config, tiny_values, without_rendering

from shardify.errors import UsageError, WorkError
from shardify.storage import open_store
from shardify.storage.retrying import RETRY_VARIABLE
from shardify.storage.work_folder import work_folder
from stream_train.training.checkpoint import Checkpoint, CheckpointFolder
from stream_train.training.loop import pretrain, save


@pytest.fixture
def proxy(s3_server: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server.endpoint) as proxy:
        s3_server.set_environment(monkeypatch, proxy.endpoint)
        yield proxy


def assert_same(url: str, folder: Path) -> None:
    with work_folder(url, lambda _: True) as copy:
        assert_same_run(copy.path, folder)
        for name in ("backbone.safetensors", "network.safetensors", "validation.json"):
            assert (copy.path / name).read_bytes() == (folder / name).read_bytes(), name


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, action: Any) -> None:
    """Do something just before the checkpoint of a step is saved."""

    def do_and_save(run: Any, *arguments: Any) -> None:
        if run.step == step:
            action()
        save(run, *arguments)

    monkeypatch.setattr("stream_train.training.loop.save", do_and_save)


@pytest.mark.slow
def test_what_is_in_the_bucket_is_complete_at_every_checkpoint(
    small_dataset: Path, validated_run: Path, s3_url: str, proxy: FaultProxy
) -> None:
    """The config comes first, and before each checkpoint the metrics that it goes on from."""
    run_tiny(small_dataset, f"{s3_url}/run", validation=VALIDATED)
    puts = [path.rpartition("/")[2] for method, path in proxy.requests if method == "PUT"]
    kinds = [re.sub(r"events.*", "events", name) for name in puts]
    assert kinds[0] == "config.yaml"
    places = [i for i, kind in enumerate(kinds) if kind.startswith("checkpoint")]
    assert [kinds[i] for i in places] == [f"checkpoint-{step:08d}.pt" for step in (4, 8, 10)]
    for start_place, end in zip([0, *places], places, strict=False):
        assert {"metrics.jsonl", "events"} <= set(kinds[start_place:end])
    assert kinds.count("config.yaml") == 1, "what has not changed is not sent again"
    assert_same(f"{s3_url}/run", validated_run)


@pytest.mark.slow
def test_a_short_outage_is_waited_out(
    small_dataset: Path, validated_run: Path, s3_url: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_for_a_while() -> None:
        proxy.refuse()
        proxy.fail(503)

    at_step(monkeypatch, 8, break_for_a_while)
    run_tiny(small_dataset, f"{s3_url}/run", validation=VALIDATED)
    assert proxy.counts == {"refuse": 1, "fail": 1}
    assert_same(f"{s3_url}/run", validated_run)


@pytest.mark.slow
def test_a_long_outage_is_one_clear_error_and_the_run_continues_later(
    small_dataset: Path, validated_run: Path, s3_url: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down() -> None:
        proxy.is_out = True

    monkeypatch.setenv(RETRY_VARIABLE, "0.2")
    with monkeypatch.context() as patches:
        at_step(patches, 8, break_down)
        with pytest.raises(WorkError, match=r"s3://.*: .*run the same command again"):
            run_tiny(small_dataset, f"{s3_url}/run", validation=VALIDATED)
    proxy.is_out = False
    assert CheckpointFolder(folder=f"{s3_url}/run").steps() == [4]
    said = run_tiny(small_dataset, f"{s3_url}/run", validation=VALIDATED)
    assert said[0] == f"continuing {s3_url}/run after step 4 of 10"
    assert_same(f"{s3_url}/run", validated_run)


@pytest.mark.parametrize("url", ["s3://no-such-bucket-here/run", "https://example.org/run"])
def test_a_location_that_cannot_be_written_is_noticed_before_the_first_step(
    small_dataset: Path, monkeypatch: pytest.MonkeyPatch, s3_url: str, url: str
) -> None:
    monkeypatch.setattr("stream_train.training.loop.compute_gradients", None)
    with pytest.raises(UsageError, match=r"no such bucket|can only be read"):
        run_tiny(small_dataset, url)


def test_wrong_credentials_are_noticed_before_the_first_step(
    small_dataset: Path, monkeypatch: pytest.MonkeyPatch, real_s3_url: str
) -> None:
    monkeypatch.setattr("stream_train.training.loop.compute_gradients", None)
    with monkeypatch.context() as patches:
        patches.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(UsageError, match="access is denied"):
            run_tiny(small_dataset, f"{real_s3_url}/run")


@pytest.mark.parametrize("comes_later", [False, True])
def test_a_second_trainer_in_the_same_place_ends_one_of_them(
    small_dataset: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch, comes_later: bool
) -> None:
    """Object stores have no locks: a checkpoint that this run has not written shows the other, and each names it."""
    url = f"{s3_url}/run"

    def begin_as_another() -> None:
        with monkeypatch.context() as patch:
            patch.setattr("stream_train.training.checkpoint.this_process", lambda: "process 7 on elsewhere")
            CheckpointFolder(folder=url).announce()

    def save_as_another() -> None:
        if comes_later:
            begin_as_another()
        theirs = CheckpointFolder(folder=url)
        checkpoint = theirs.newest()
        assert checkpoint is not None
        theirs.save(Checkpoint(**vars(checkpoint) | {"step": 9}))
        open_store(url).write("metrics.jsonl", b"theirs")

    if not comes_later:
        begin_as_another()
    at_step(monkeypatch, 8, save_as_another)
    message = r"another process \(process 7 on elsewhere\) is training in s3://.*/run: it has saved checkpoint-00000009"
    with pytest.raises(WorkError, match=message):
        run_tiny(small_dataset, url)
    assert open_store(url).read("metrics.jsonl") == b"theirs"  # the newer ones, beside the newer checkpoint


def test_what_a_run_moves_is_written_down_and_said(small_dataset: Path, s3_url: str) -> None:
    """Uploads too: a checkpoint's are of the record after it, and all are of the last line."""
    said: list[str] = []
    with without_rendering():
        pretrain(tiny_config(small_dataset, f"{s3_url}/run"), said.append)
    with work_folder(f"{s3_url}/run", ("metrics.jsonl",)) as folder:
        written = {record["step"]: record.get("data_bytes_written", 0) for record in records(folder.path, traffic=True)}
    size = open_store(f"{s3_url}/run").sizes()["checkpoint-00000010.pt"]
    assert {step for step, num_bytes in written.items() if num_bytes >= size} == {6, 9}  # those of steps 4 and 8
    (line,) = (line for line in said if line.startswith("in all: read "))
    assert float(line.partition("wrote ")[2].split()[0]) * 1e6 > 3 * size


@pytest.mark.slow
def test_kill_9_at_any_time_and_the_same_command_again_is_bit_identical(
    small_dataset: Path, tmp_path: Path, s3_url: str
) -> None:
    """The process is killed while it trains, or while it uploads something."""
    changes: dict[str, Any] = {"epochs": 12, "checkpoint__every_steps": 2, "validation": VALIDATED}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tiny_values(small_dataset, tmp_path / "run", **changes)))
    run_tiny(small_dataset, tmp_path / "run", **changes)
    url = f"{s3_url}/run"
    for moment in (0.0, 0.1):
        process = start("stream_train", "pretrain", tmp_path / "config.yaml", "--set", f"out={url}")
        first = (CheckpointFolder(folder=url).steps() or [0])[-1]
        while (CheckpointFolder(folder=url).steps() or [0])[-1] < first + 8:
            assert process.poll() is None, finish(process)
            time.sleep(0.005)
        time.sleep(moment)
        kill_all(process)
    process = start("stream_train", "pretrain", tmp_path / "config.yaml", "--set", f"out={url}")
    _, said = finish(process)
    assert process.returncode == 0, said
    assert "continuing" in said
    assert_same(url, tmp_path / "run")

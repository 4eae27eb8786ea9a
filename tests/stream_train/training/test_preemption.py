"""Stop requests: a run saves between two steps, and the next one continues as if it had not stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers_training import VALIDATED, assert_same_run, records, run_tiny

from shardify import process as process_module
from shardify.errors import WorkError
from shardify.process import SIGNALS, STOP_SIGNALS, STOPPED_EXIT_CODE, outlive_stop_signals
from shardify.storage.work_folder import work_folder
from stream_train.data.batch import Batch
from stream_train.data.loader import ClipStream
from stream_train.training.checkpoint import CheckpointFolder
from stream_train.training.loop import compute_gradients
from stream_train.training.preemption import Aside, Stopped, StopRequest, promise_to_save
from stream_train.training.run import Run
from stream_train.training.validation import validate


def signal_in_step(monkeypatch: pytest.MonkeyPatch, step: int, number: int = signal.SIGTERM) -> None:
    """Send this process a signal in the middle of a step."""

    def compute(run: Run, batch: Batch) -> Any:
        if run.step + 1 == step:
            os.kill(os.getpid(), number)
        return compute_gradients(run, batch)

    monkeypatch.setattr("stream_train.training.loop.compute_gradients", compute)


def stopped_run(shards: Path, out: Path | str, exit_code: int = STOPPED_EXIT_CODE, **changes: Any) -> list[str]:
    """Train until stopped; returns what was said."""
    said: list[str] = []

    def train() -> None:
        run_tiny(shards, out, validation=VALIDATED, said=said, **changes)

    with pytest.raises(Stopped) as caught:
        train()
    assert caught.value.code == exit_code
    return said


@pytest.mark.parametrize(
    ("step", "steps", "number"),
    [
        (3, [3], signal.SIGINT),
        (4, [4], signal.SIGUSR1),
        (5, [4, 5], signal.SIGTERM),
    ],
    ids=["recorded", "saved", "validated"],
)
def test_a_stopped_run_continues_as_if_never_stopped(
    small_dataset: Path,
    validated_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    steps: list[int],
    number: signal.Signals,
) -> None:
    """Weights, optimiser and every line of metrics.jsonl are bit-identical, wherever it stopped."""
    handlers = [signal.getsignal(each) for each in SIGNALS]
    with monkeypatch.context() as patches:
        signal_in_step(patches, step, number)
        said = stopped_run(small_dataset, tmp_path / "run", 130 if number == signal.SIGINT else 75)
    assert said == [f"stopped by {number.name} after step {step} of 10; the same command continues"]
    assert CheckpointFolder(folder=tmp_path / "run").steps() == steps
    assert [record["step"] for record in records(tmp_path / "run") if "loss" in record] == [
        each for each in (3, 4, 5, 6, 8, 9) if each <= step
    ]
    assert [signal.getsignal(each) for each in SIGNALS] == handlers
    said = run_tiny(small_dataset, tmp_path / "run", validation=VALIDATED)
    assert said[0] == f"continuing {tmp_path / 'run'} after step {step} of 10"
    assert_same_run(tmp_path / "run", validated_run)


def test_stopped_twice_in_one_interval(
    small_dataset: Path, validated_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2):
        with monkeypatch.context() as patches:
            signal_in_step(patches, step)
            stopped_run(small_dataset, tmp_path / "run")
    run_tiny(small_dataset, tmp_path / "run", validation=VALIDATED)
    assert_same_run(tmp_path / "run", validated_run)


def test_a_signal_in_the_last_step_lets_the_run_finish(
    small_dataset: Path, validated_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless there is still something to judge, which may take long."""
    signal_in_step(monkeypatch, 10)
    run_tiny(small_dataset, tmp_path / "run")
    assert (tmp_path / "run" / "backbone.safetensors").read_bytes() == (
        validated_run / "backbone.safetensors"
    ).read_bytes()


def test_a_run_in_an_object_store_stops_and_goes_on(
    small_dataset: Path, validated_run: Path, tmp_path: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patches:
        signal_in_step(patches, 5)
        stopped_run(small_dataset, f"{s3_url}/run")
    assert CheckpointFolder(folder=f"{s3_url}/run").steps() == [4, 5]
    assert (
        run_tiny(small_dataset, f"{s3_url}/run", validation=VALIDATED)[0]
        == f"continuing {s3_url}/run after step 5 of 10"
    )
    with work_folder(f"{s3_url}/run", lambda _: True) as folder:
        assert_same_run(folder.path, validated_run)
        assert (folder.path / "backbone.safetensors").read_bytes() == (
            validated_run / "backbone.safetensors"
        ).read_bytes()


def test_a_signal_ends_the_wait_for_a_batch(
    small_dataset: Path, validated_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data stall for a minute; the process is given less."""
    original = ClipStream.requests
    began: list[float] = []

    def requests(self: ClipStream) -> Any:
        for request in original(self):
            if request.number == 6:
                began.append(time.monotonic())
                threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
                time.sleep(60)
            yield request

    with monkeypatch.context() as patches:
        patches.setattr(ClipStream, "requests", requests)
        said = stopped_run(small_dataset, tmp_path / "run")
    assert time.monotonic() - began[0] < 10
    assert said == ["stopped by SIGTERM after step 6 of 10; the same command continues"]
    run_tiny(small_dataset, tmp_path / "run", validation=VALIDATED)
    assert_same_run(tmp_path / "run", validated_run)


@pytest.mark.parametrize(("validation", "step"), [(1, 5), (2, 10)])
def test_a_signal_while_held_out_videos_are_judged(
    small_dataset: Path,
    validated_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    validation: int,
    step: int,
) -> None:
    """The validation is left, the step that it is about is saved, and the next run begins with it; twice."""
    judged = [0]

    def validate_and_signal(*arguments: Any, **names: Any) -> Any:
        judged[0] += 1
        if judged[0] == validation:
            os.kill(os.getpid(), signal.SIGTERM)
        return validate(*arguments, **names)

    with monkeypatch.context() as patches:
        patches.setattr("stream_train.training.loop.validate", validate_and_signal)
        said = stopped_run(small_dataset, tmp_path / "run")
        assert said == [f"stopped by SIGTERM after step {step} of 10; the same command continues"]
        judged[0] = validation - 1
        said = stopped_run(small_dataset, tmp_path / "run")
        assert said[-1] == f"stopped by SIGTERM after step {step} of 10; the same command continues"
    assert CheckpointFolder(folder=tmp_path / "run").steps()[-1] == step
    assert [record["step"] for record in records(tmp_path / "run")][-1] == step
    assert "validation_motion_accuracy" not in records(tmp_path / "run")[-1]
    run_tiny(small_dataset, tmp_path / "run", validation=VALIDATED)
    assert_same_run(tmp_path / "run", validated_run)
    for name in ("validation.json", "confusion_motion.png"):
        assert (tmp_path / "run" / name).read_bytes() == (validated_run / name).read_bytes(), name


def test_a_broken_state_is_not_saved_on_the_way_out(
    small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal_in_step(monkeypatch, 1)
    with pytest.raises(WorkError, match="step 1: a weight is not a finite number"):
        run_tiny(small_dataset, tmp_path / "run", optimizer__learning_rate=1e39)
    assert CheckpointFolder(folder=tmp_path / "run").steps() == []


# The request alone


def send(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def test_signals_are_remembered_and_a_wait_is_left_soon() -> None:
    with StopRequest().listening() as request:
        numbers = Aside(lambda: iter((1, 2, 3)), request)
        assert (numbers.next(), numbers.next()) == (1, 2)
        send()
        assert request.signal_name == "SIGTERM"
        assert numbers.next() is None
        numbers.close()
    with StopRequest().listening() as request:
        stalled = Aside(endless, request)
        threading.Timer(0.1, send, (signal.SIGUSR1,)).start()
        begin = time.monotonic()
        assert stalled.next() is None
        assert 1 < time.monotonic() - begin < 10
        assert request.signal_name == "SIGUSR1"


def endless() -> Iterator[int]:
    time.sleep(30)
    yield 1


def test_an_iterator_in_a_thread_raises_where_it_is_asked() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise WorkError("no more")

    asked = Aside(broken, StopRequest())
    assert asked.next() == 1
    with pytest.raises(WorkError, match="no more"):
        asked.next()
    asked.close()
    with pytest.raises(ZeroDivisionError):
        Aside(lambda: iter([1 // 0]), StopRequest()).next()


@pytest.mark.parametrize("is_asked", [True, False])
def test_errors_after_a_stop_request_are_dropped(is_asked: bool) -> None:
    """The same signal may have ended a loader's process; saving goes on."""
    with StopRequest().listening() as request:

        def broken() -> Iterator[int]:
            yield from ()
            if is_asked:
                send()
            raise WorkError("a loader process died")

        asked = Aside(broken, request)
        if is_asked:
            assert asked.next() is None
        else:
            with pytest.raises(WorkError, match="a loader process died"):
                asked.next()
        asked.close()


@pytest.mark.slow
def test_a_fork_server_ignores_signals_and_ends_with_its_program() -> None:
    """The process that starts it still receives signals."""
    program = (
        "import signal, time, multiprocessing.forkserver as f; from stream_train.data import workers; "
        "workers._start_fork_server(); print(f._forkserver._forkserver_pid, flush=True); "
        "assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set(); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    server = Path("/proc") / process.stdout.readline().strip()
    for number in SIGNALS:
        os.kill(int(server.name), number)
    time.sleep(0.5)
    assert "forkserver" in (server / "cmdline").read_text()
    process.communicate("\n", timeout=300)
    assert process.returncode == 0
    deadline = time.monotonic() + 300
    while server.exists() and "Z" not in (server / "stat").read_text().rpartition(")")[2].split()[0]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def in_child(action: Callable[[], None]) -> int:
    """The status of a forked process that does something, and then waits for a moment."""
    child = os.fork()
    if child == 0:
        try:
            action()
            time.sleep(0.1)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_loader_process_outlives_stop_signals_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    def signalled(*numbers: int) -> Callable[[], None]:
        def act() -> None:
            outlive_stop_signals()
            for number in numbers:
                send(number)
                time.sleep(0.01)

        return act

    assert in_child(signalled(signal.SIGUSR1, signal.SIGINT, signal.SIGUSR1, signal.SIGTERM)) == 0
    assert in_child(signalled(signal.SIGTERM, signal.SIGTERM)) == -signal.SIGTERM
    monkeypatch.setattr(process_module, "WORKER_GRACE_SECONDS", 1)

    def forever() -> None:
        signalled(signal.SIGTERM)()
        while True:
            time.sleep(0.1)

    assert in_child(forever) == -signal.SIGALRM


@pytest.mark.parametrize("first", STOP_SIGNALS, ids=lambda number: number.name)
def test_only_a_second_ctrl_c_ends_at_once(first: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    with StopRequest(promise_to_save).listening() as request:
        for number in (first, *STOP_SIGNALS * 3, signal.SIGINT, *STOP_SIGNALS):
            send(number)
        assert request.signal_name == first.name
        assert "Ctrl-C again" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert capfd.readouterr().err == ""


def test_under_torchrun_ctrl_c_only_asks(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The terminal and torchrun may both deliver one Ctrl-C."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with StopRequest(promise_to_save).listening() as request:
        for _ in range(3):
            send(signal.SIGINT)
        assert request.signal_name == "SIGINT"
    assert "Ctrl-C again" not in capfd.readouterr().err


def test_a_shell_s_background_job_is_not_stopped_by_ctrl_c() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest().listening() as request:
            send(signal.SIGINT)
            send(signal.SIGUSR1)
        assert request.signal_name == "SIGUSR1"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_leaves_the_signals_alone() -> None:
    found = []

    def listen() -> None:
        with StopRequest().listening():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]

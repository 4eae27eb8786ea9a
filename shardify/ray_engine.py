"""A Ray cluster as the engine of a build: tasks go out to whatever machines it has, and again if a machine is lost.

In: tasks, whose source and store every machine of the cluster can reach (a bucket, or a shared folder at one path).
Out: the committed shards. The driver holds a few tasks a CPU and each finished task's frame counts, never the shards.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from itertools import islice
from typing import Any

from shardify.engine import TASKS_AHEAD, Task
from shardify.errors import UsageError, UserFacingError, WorkError, one_line
from shardify.writer import Report, VideoDone

MAX_RETRIES = 20
"""How often a task is begun again because its worker or machine was lost."""
POLL_SECONDS = 1.0
CONNECT_SECONDS = 10.0
_PASSED_ON = ("AWS_", "AZURE_", "GOOGLE_", "TEMPORAL_SSL_", "TMPDIR")
"""Beginnings of the environment variables that a worker needs for object stores."""


def run_on_ray(tasks: Iterable[Task], report: Report) -> None:
    """Write all shards on the cluster that RAY_ADDRESS names or that runs here, else on this machine.

    Args:
        tasks: drawn one by one.
        report: called in this process for each video, when its task is done.

    Raises:
        UsageError: if Ray is not installed, or the cluster cannot be reached.
        WorkError: if a task failed, or was lost too often.
    """
    ray = _import_ray()
    started = not ray.is_initialized()
    if started:
        _join_cluster(ray)
    try:
        _run(ray, tasks, report)
    finally:
        if started:
            ray.shutdown()


def _run(ray: Any, tasks: Iterable[Task], report: Report) -> None:
    write = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(write_and_count)
    waiting = iter(tasks)
    pending: list[Any] = []
    while True:
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        pending += [write.remote(task) for task in islice(waiting, (1 + TASKS_AHEAD) * cores - len(pending))]
        if not pending:
            return
        done, pending = ray.wait(pending, timeout=POLL_SECONDS)
        for reference in done:
            for num_frames in _result(ray, reference):
                report(VideoDone(num_frames=num_frames))


def write_and_count(task: Task) -> list[int]:
    """Run a task in a worker; the number of frames of each of its videos, 0 for a rejected one."""
    frames: list[int] = []
    task.write(lambda done: frames.append(done.num_frames))
    return frames


def _result(ray: Any, reference: Any) -> list[int]:
    try:
        frames: list[int] = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, UserFacingError):
            raise cause from None
        if isinstance(cause, OSError):
            where = f"{cause.filename}: " if cause.filename else ""
            raise WorkError(f"on a machine of the cluster: {where}{cause.strerror or cause}") from None
        raise
    except ray.exceptions.RayError as error:
        raise WorkError(
            f"a task was lost {MAX_RETRIES} times ({one_line(error)[:200]}); out of memory? Finished shards are kept, "
            "run the same command again"
        ) from None
    return frames


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise UsageError(
            "the engine ray needs the package ray: pip install 'temporal-ssl[ray]' (make install brings it)"
        ) from None
    return ray


def _require_answer(address: str) -> None:
    """Raise ConnectionError if nothing listens at a `host:port`; Ray itself would wait for it for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"nothing answers at {address} ({error})") from None


def _join_cluster(ray: Any) -> None:
    passed_on = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    options: dict[str, Any] = {
        "runtime_env": {"env_vars": passed_on},
        "log_to_driver": False,
        "logging_level": "error",
    }
    address = os.environ.get("RAY_ADDRESS", "auto")
    try:
        _require_answer(address)
        try:
            ray.init(address=address, **options)
        except ConnectionError:
            if address != "auto":
                raise
            ray.init(include_dashboard=False, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"no Ray cluster can be joined: {one_line(error)[:300]}; check RAY_ADDRESS") from None

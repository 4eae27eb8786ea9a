"""A Ray cluster as the engine of a build: tasks run on any of its machines, and run again if a machine is lost.

In: tasks; every machine must reach their source and store (a bucket, or a shared folder at the same path). Out: the
committed shards. The driver holds only a few tasks for each CPU and the frame counts of finished tasks.
"""

from __future__ import annotations

import functools
import hashlib
import os
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import click

from shardify import __version__
from shardify.build.description import DESCRIPTION_NAME
from shardify.build.pool import TASKS_AHEAD, Task
from shardify.build.shard_writer import Report, VideoDone
from shardify.errors import UsageError, UserFacingError, WorkError, counted, one_line
from shardify.frames.ffmpeg_command import ffmpeg_binary, ffmpeg_version
from shardify.process import Terminated, terminable
from shardify.storage import open_store
from shardify.storage.locations import is_url

MAX_RETRIES = 20
"""How often a task is repeated if its worker or machine is lost or has no memory left."""
POLL_SECONDS = 1.0
CONNECT_SECONDS = 10.0
NOTICE_SECONDS = 120.0
"""Time between notices while no task ends."""
OBJECT_STORE_BYTES = 100_000_000
"""For a Ray that is started here; the build stores no objects, and Ray's default is a third of the memory."""
_PASSED_ON = ("AWS_", "AZURE_", "GOOGLE_", "TEMPORAL_SSL_", "TMPDIR")
"""Prefixes of the environment variables that a worker needs for object stores."""


def run_on_ray(tasks: Iterable[Task], report: Report, surroundings: Surroundings | None = None) -> None:
    """Write all shards on the cluster at RAY_ADDRESS, else on one of this machine, else on a new Ray started here.

    `report` is called in this process for each video when its task is done. Each machine is compared with
    `surroundings` before its first task. Raises UsageError if Ray is not installed, the cluster cannot be reached, or a
    machine differs; WorkError if a task failed, or was lost too often.
    """
    ray = _import_ray()
    started = not ray.is_initialized()
    try:
        if started:
            _join_cluster(ray)
        with terminable():  # Ray has set its own handler
            _run(ray, tasks, report, surroundings)
    finally:
        if started:
            ray.shutdown()


def _run(ray: Any, tasks: Iterable[Task], report: Report, surroundings: Surroundings | None) -> None:
    # Given to each task: ray.init refuses variables that a submitted job has set already.
    passed_on = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    options = {"num_cpus": 1, "max_retries": MAX_RETRIES, "runtime_env": {"env_vars": passed_on}}
    write = ray.remote(**options)(write_and_count)
    waiting = iter(tasks)
    pending: list[Any] = []
    last_said = time.monotonic()
    while True:
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        room = max(0, (1 + TASKS_AHEAD) * cores - len(pending))  # 0 for a while when machines are lost
        pending += [write.remote(task, surroundings) for task in islice(waiting, room)]
        if not pending:
            return
        done, pending = ray.wait(pending, timeout=POLL_SECONDS)
        for reference in done:
            for num_frames in _result(ray, reference):
                report(VideoDone(num_frames=num_frames))
        now = time.monotonic()
        if done:
            last_said = now
        elif now - last_said >= NOTICE_SECONDS:
            last_said = now
            quiet = f"no task has ended for {NOTICE_SECONDS:.0f} s, the cluster is at {len(pending)}"
            click.echo(f"{quiet}; `ray status` shows its machines", err=True)


def write_and_count(task: Task, surroundings: Surroundings | None = None) -> list[int]:
    """Run a task in a worker; returns the number of frames of each video, 0 for a rejected one."""
    if surroundings is not None:
        require_fit(surroundings)
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
        if isinstance(cause, ray.exceptions.RaySystemError):
            raise UsageError(
                f"a machine of the cluster cannot begin a task ({_first_sentence(cause)}); all its machines need "
                "temporal-ssl and Ray in the versions of this one"
            ) from None
        raise
    except ray.exceptions.RayError as error:
        raise WorkError(
            f"Ray could not get a task done in {MAX_RETRIES} retries ({_first_sentence(error)}); out of memory? "
            "Finished shards are kept, run the same command again"
        ) from None
    return frames


def _first_sentence(error: Exception) -> str:
    """The first sentence of a Ray message, without its traceback and advice."""
    return one_line(str(error).partition("\ntraceback:")[0]).partition(". ")[0].removesuffix(".")[:200]


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_task_oom_retries", str(MAX_RETRIES))  # Ray's default is no limit
    try:
        import ray
    except ImportError:
        raise UsageError(
            "the engine ray needs the package ray: pip install 'temporal-ssl[ray]' (make install brings it)"
        ) from None
    return ray


def _require_answer(address: str) -> None:
    """Raise ConnectionError if nothing listens at a `host:port`; Ray would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"nothing answers at {address} ({error})") from None


def _join_cluster(ray: Any) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    here = {"address": "local", "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES, **quiet}
    address = os.environ.get("RAY_ADDRESS") or "auto"
    try:
        if address == "local":
            ray.init(**here)
        elif address == "auto":
            _refuse_forgotten_cluster()
            try:
                ray.init(address=address, **quiet)
            except ConnectionError:  # no cluster runs
                ray.init(**here)
        else:
            _require_answer(address)
            ray.init(address=address, **quiet)
    except SystemExit:  # raised by Ray's handler of SIGTERM
        raise Terminated from None
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"no Ray cluster can be joined: {one_line(error)[:300]}; check RAY_ADDRESS") from None
    where = address if ":" in address else ray.get_runtime_context().gcs_address
    machines = sum(node["Alive"] for node in ray.nodes())
    cores = int(ray.cluster_resources().get("CPU", 0))
    click.echo(f"Ray at {where}: {counted(machines, 'machine')}, {counted(cores, 'core')}", err=True)


def _refuse_forgotten_cluster() -> None:
    """Refuse a stale address: `ray start` leaves it in a file when the machine crashes, and Ray waits for minutes."""
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - as Ray does
    noted = Path(folder, "ray", "ray_current_cluster")
    try:
        address = noted.read_text(encoding="utf-8").strip()
    except OSError:
        return
    try:
        _require_answer(address)
    except ConnectionError as error:
        raise UsageError(
            f"{error}, where Ray runs according to {noted}; if that cluster is gone, remove the file, or set "
            "RAY_ADDRESS (local starts Ray on this machine)"
        ) from None


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Properties that all machines of a build must share; taken on one machine, checked on the others."""

    videos: str
    """Folder or URL of the videos."""
    location: str
    """The store to write to."""
    description_sha256: str
    """Of its build.json."""
    ffmpeg: str
    """The config's `frames.ffmpeg`."""
    ffmpeg_version: str
    version: str = __version__
    """Of this program."""

    @classmethod
    def here(cls, *, videos: str, location: str, ffmpeg: str) -> Surroundings:
        """This machine's surroundings; build.json must exist."""
        return cls(
            videos=videos,
            location=location,
            description_sha256=hashlib.sha256(open_store(location).read(DESCRIPTION_NAME)).hexdigest(),
            ffmpeg=ffmpeg,
            ffmpeg_version=ffmpeg_version(ffmpeg_binary(ffmpeg)),
        )


@functools.cache
def require_fit(given: Surroundings) -> None:
    """Check once per process that this machine has the same surroundings. Raises UsageError with the difference."""
    machine = f"the machine {socket.gethostname()}"
    if given.version != __version__:
        raise UsageError(
            f"{machine} has version {__version__} of temporal-ssl, the build was started with {given.version}; "
            "install the same one everywhere"
        )
    if not is_url(given.videos) and not Path(given.videos).exists():
        raise UsageError(f"{machine} does not see {given.videos}; the videos must be in a bucket or a shared folder")
    try:
        description = open_store(given.location).read(DESCRIPTION_NAME)
    except (UsageError, FileNotFoundError):
        if is_url(given.location):
            raise
        description = b""
    if hashlib.sha256(description).hexdigest() != given.description_sha256:
        raise UsageError(
            f"{machine} does not see this build's {DESCRIPTION_NAME} in {given.location}; out must be in a bucket or a "
            "shared folder"
        )
    version = ffmpeg_version(ffmpeg_binary(given.ffmpeg))
    if version != given.ffmpeg_version:
        raise UsageError(
            f"{machine} has ffmpeg {version}, the build was started with {given.ffmpeg_version}, and their bytes "
            "differ; install the same one everywhere (frames.ffmpeg=bundled takes imageio-ffmpeg's)"
        )

"""Who does which job: claims in a folder or an object store that several processes and machines share.

In: the names of jobs. Out: at most one holder for each job, also after a holder's death. A claim is an object
`JOB.0001.json`, which only one of many workers can create. While it works, the holder rewrites its own object every
BEAT_SECONDS. The claim of a dead worker is taken over by creating the next number; so is a job that ended, to do it
with other settings. The newest claim tells who works in the job's folder now, the newest of some settings how far the
job is with them. A worker on the same machine is dead if its process is gone; any other is dead if its claim stays the
same for LEASE_SECONDS of the watcher's own clock, so the clocks of two machines need not agree.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from shardify.errors import WorkError
from shardify.shards.record import dump_json
from shardify.storage.lock import this_process
from shardify.storage.store import Store

BEAT_SECONDS = 15.0
LEASE_SECONDS = 300.0
FOLDER = "claims"

State = Literal["running", "stopped", "failed", "done"]
"""`stopped`: by a signal; anyone may continue. `failed`: `reason` says why."""
_NAME = re.compile(r"(.+)\.(\d{4,})\.json")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The newest claim to a job."""

    job: str
    number: int
    worker: str
    """For people: `process 1234 on host`."""
    process: str
    """For programs on the same machine; see :func:`process_identity`."""
    digest: str
    """Of the job's settings, which differ between studies that share a folder."""
    state: State = "running"
    reason: str = ""
    seconds: float = 0.0
    """How long the holder has worked."""

    @property
    def file_name(self) -> str:
        return f"{self.job}.{self.number:04d}.json"


def with_settings(claims: Sequence[Claim], digest: str) -> Claim | None:
    """The newest of a job's claims with these settings, if there is one."""
    return next((claim for claim in reversed(claims) if claim.digest == digest), None)


def process_identity() -> str:
    """This process among all of the machine since it was started, and of its containers: boot, namespace, id, start."""
    return f"{_machine()} {os.getpid()} {_started(os.getpid())}"


def is_here(process: str) -> bool:
    """Whether this process can see whether that one lives: it belongs to this machine and container."""
    return process.startswith(f"{_machine()} ")


def is_gone(process: str) -> bool:
    """Whether a process of this machine has ended; False for processes of other machines and containers."""
    _, pid, started = process.split(" ")
    return is_here(process) and _started(int(pid)) != started


@cache
def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"


def _started(pid: int) -> str:
    """When a process started, in clock ticks since the boot; empty if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


@dataclass(eq=False)
class Claims:
    """All claims to the jobs of a study, as one worker sees them."""

    store: Store
    _seen: dict[str, tuple[Claim, float]] = field(default_factory=dict)
    """Job -> its claim, and when this worker first saw it like that (monotonic seconds)."""
    _first: dict[str, Claim] = field(default_factory=dict)
    """File name -> the claim as this worker first saw it."""
    _ended: dict[str, Claim] = field(default_factory=dict)
    """File name -> a claim that will not change any more."""

    def of_jobs(self) -> dict[str, list[Claim]]:
        """All claims to each job that has one, the newest last."""
        numbers: dict[str, list[int]] = defaultdict(list)
        for name in self.store.names():
            if match := _NAME.fullmatch(name):
                numbers[match[1]].append(int(match[2]))
        found = {job: [self._read(f"{job}.{number:04d}.json") for number in sorted(numbers[job])] for job in numbers}
        now = time.monotonic()
        for job, (*_, newest) in found.items():
            self._first.setdefault(newest.file_name, newest)
            if job not in self._seen or self._seen[job][0] != newest:
                self._seen[job] = (newest, now)
        return found

    def newest(self) -> dict[str, Claim]:
        """The newest claim to each job that has one."""
        return {job: claims[-1] for job, claims in self.of_jobs().items()}

    def _read(self, name: str) -> Claim:
        if name in self._ended:
            return self._ended[name]
        try:
            claim = TypeAdapter(Claim).validate_json(self.store.read(name))
        except ValidationError:
            raise WorkError(f"{self.store.url(name)} is no claim of this program; delete it") from None
        if claim.state != "running":
            self._ended[name] = claim
        return claim

    def is_dead(self, claim: Claim) -> bool:
        """Whether a running claim's holder has ended, as far as this worker can tell by now."""
        if is_here(claim.process):
            return is_gone(claim.process)
        return time.monotonic() - self._seen[claim.job][1] >= LEASE_SECONDS

    def is_alive(self, claim: Claim) -> bool:
        """Whether a running claim has shown a sign of life: its process is on this machine, or it has changed."""
        if is_here(claim.process):
            return not is_gone(claim.process)
        return claim != self._first[claim.file_name]

    def take(self, job: str, digest: str, before: Claim | None) -> Claim | None:
        """Claim a job after its newest claim `before`; None if another worker was quicker."""
        claim = Claim(
            job=job,
            number=before.number + 1 if before else 1,
            worker=this_process(),
            process=process_identity(),
            digest=digest,
        )
        return claim if self.store.create(claim.file_name, _bytes_of(claim)) else None

    @contextmanager
    def holding(self, claim: Claim, say: Callable[[str], None]) -> Iterator[Callable[[State, str], None]]:
        """Beat while the job runs; yields a function that ends the claim with a state and a reason.

        A claim that is not ended is left as `stopped`. If another worker took over, because this one stood still for
        LEASE_SECONDS, this process gets SIGTERM.
        """
        held = _Held(self.store, claim, say)
        try:
            with held.beating():
                yield held.end
        finally:
            if held.claim.state == "running":
                held.end("stopped", "")


@dataclass(eq=False)
class _Held:
    """A claim of this process."""

    store: Store
    claim: Claim
    say: Callable[[str], None]
    _begun: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def end(self, state: State, reason: str) -> None:
        self._write(state, reason)

    @contextmanager
    def beating(self) -> Iterator[None]:
        is_over = threading.Event()

        def beat() -> None:
            while not is_over.wait(BEAT_SECONDS):
                try:
                    if self.store.exists(replace(self.claim, number=self.claim.number + 1).file_name):
                        self.say(f"{self.claim.job}: another worker has taken over, because this one stood still")
                        os.kill(os.getpid(), signal.SIGTERM)
                        return
                    self._write("running", "")
                except WorkError as error:  # an outage: the next beat may come through
                    self.say(f"{self.claim.job}: the claim was not renewed: {error}")

        thread = threading.Thread(target=beat, daemon=True, name="claim")
        thread.start()
        try:
            yield
        finally:
            is_over.set()

    def _write(self, state: State, reason: str) -> None:
        with self._lock:
            if self.claim.state != "running":
                return
            seconds = round(time.monotonic() - self._begun, 1)
            claim = replace(self.claim, state=state, reason=reason, seconds=seconds)
            self.store.write(claim.file_name, _bytes_of(claim))
            self.claim = claim


def _bytes_of(claim: Claim) -> bytes:
    return dump_json(asdict(claim), indent=1)

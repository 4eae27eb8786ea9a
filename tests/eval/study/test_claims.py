from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from eval.study import claims as module
from eval.study.claims import Claim, Claims, is_gone, process_identity, with_settings
from shardify.errors import WorkError
from shardify.storage.folder_store import FolderStore
from shardify.storage.store import Store

ELSEWHERE = "another-boot/pid:[1] 7 99"


def say_nothing(_: str) -> None:
    pass


def take(claims: Claims, job: str = "job", digest: str = "d") -> Claim | None:
    return claims.take(job, digest, claims.newest().get(job))


def write(store: Store, claim: Claim) -> None:
    store.write(claim.file_name, module._bytes_of(claim))


def claim_elsewhere(store: Store, **changes: object) -> Claim:
    claim = Claim(job="job", number=1, worker="process 7 on other", process=ELSEWHERE, digest="d")
    claim = replace(claim, **changes)  # type: ignore[arg-type]
    write(store, claim)
    return claim


def test_only_one_of_many_workers_gets_a_job(tmp_path: Path) -> None:
    workers = [Claims(FolderStore(tmp_path)) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda claims: claims.take("job", "d", None), workers))
    assert [claim.number for claim in taken if claim] == [1]


def test_a_claim_says_how_its_job_ended(tmp_path: Path) -> None:
    claims = Claims(FolderStore(tmp_path))
    for job, state, reason in (("a", "done", ""), ("b", "failed", "no shards"), ("c", "stopped", "")):
        claim = take(claims, job)
        assert claim is not None
        with claims.holding(claim, say_nothing) as end:
            assert claims.newest()[job].state == "running"
            if state != "stopped":
                end(state, reason)  # type: ignore[arg-type]
        found = claims.newest()[job]
        assert (found.state, found.reason) == (state, reason)


def test_the_newest_claim_of_some_settings_is_found_below_later_ones_of_others(tmp_path: Path) -> None:
    claims = Claims(FolderStore(tmp_path))
    for digest, state in (("a", "failed"), ("a", "done"), ("b", "done")):
        claim = take(claims, digest=digest)
        assert claim is not None
        with claims.holding(claim, say_nothing) as end:
            end(state, "")  # type: ignore[arg-type]
    for worker in (claims, Claims(FolderStore(tmp_path))):
        of_job = worker.of_jobs()["job"]
        assert [claim.number for claim in of_job] == [1, 2, 3]
        newest = [with_settings(of_job, digest) for digest in "abc"]
        assert [(claim.number, claim.state) if claim else None for claim in newest] == [(2, "done"), (3, "done"), None]


def test_an_error_leaves_the_job_to_anyone(tmp_path: Path) -> None:
    claims = Claims(FolderStore(tmp_path))
    claim = take(claims)
    assert claim is not None
    with pytest.raises(KeyboardInterrupt), claims.holding(claim, say_nothing):
        raise KeyboardInterrupt
    assert claims.newest()["job"].state == "stopped"
    again = take(claims)
    assert again is not None
    assert again.number == 2


def test_a_process_that_ended_is_gone_at_once_and_one_elsewhere_is_not() -> None:
    assert not is_gone(process_identity())
    machine, pid, _ = process_identity().rsplit(" ", 2)
    with subprocess.Popen(["sleep", "60"]) as child:
        identity = f"{machine} {child.pid} {module._started(child.pid)}"
        assert not is_gone(identity)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone(identity)  # a zombie: nobody has asked how it ended
    assert is_gone(identity)
    assert not is_gone(f"{machine}x {pid} 1"), "another machine's processes cannot be seen"
    assert is_gone(f"{machine} {os.getpid()} 1"), "the id is another process's now"


def test_a_worker_elsewhere_is_dead_after_the_lease_and_alive_if_it_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("eval.study.claims.time.monotonic", lambda: now[0])
    monkeypatch.setattr(module, "LEASE_SECONDS", 100.0)
    store = FolderStore(tmp_path)
    claim, claims = claim_elsewhere(store), Claims(store)
    assert not claims.is_dead(claims.newest()["job"])
    now[0] += 99
    assert not claims.is_dead(claims.newest()["job"])
    assert not claims.is_alive(claims.newest()["job"]), "nothing was seen of it yet"
    write(store, replace(claim, seconds=15.0))
    now[0] += 2
    found = claims.newest()["job"]
    assert not claims.is_dead(found), "it has beaten"
    assert claims.is_alive(found)
    now[0] += 101
    assert claims.is_dead(claims.newest()["job"])


def test_the_holder_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    claims = Claims(FolderStore(tmp_path))
    claim = take(claims)
    assert claim is not None
    with claims.holding(claim, say_nothing):
        deadline = time.monotonic() + 10
        while claims.newest()["job"].seconds < 0.1:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_who_was_taken_over_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    stopped = threading.Event()

    def kill(pid: int, number: int) -> None:
        assert (pid, number) == (os.getpid(), signal.SIGTERM)
        stopped.set()

    monkeypatch.setattr(os, "kill", kill)
    store, said = FolderStore(tmp_path), list[str]()
    claims = Claims(store)
    claim = take(claims)
    assert claim is not None
    with claims.holding(claim, said.append):
        claim_elsewhere(store, number=2)
        assert stopped.wait(10)
    assert "job: another worker has taken over" in said[0]
    assert claims.newest()["job"].process == ELSEWHERE


def test_an_outage_is_said_and_the_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    store, said = FolderStore(tmp_path), list[str]()
    claims = Claims(store)
    claim = take(claims)
    assert claim is not None

    def fail(_: str) -> bool:
        raise WorkError("no answer")

    with claims.holding(claim, said.append) as end:
        monkeypatch.setattr(store, "exists", fail)
        deadline = time.monotonic() + 10
        while not said:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        end("done", "")
    assert "no answer" in said[0]
    assert claims.newest()["job"].state == "done"


def test_a_foreign_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "job.0001.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(WorkError, match=r"job\.0001\.json"):
        Claims(FolderStore(tmp_path)).newest()

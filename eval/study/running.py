"""A worker of a study: takes one job at a time until none is left.

In: a study's config. Out: runs and result rows below its `out`, and a :class:`Progress` that names failed jobs. A job
continues where it stopped: its pre-training from its checkpoint, its evaluations with the first missing row.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from eval.study.claims import BEAT_SECONDS, FOLDER, Claim, Claims, process_identity, with_settings
from eval.study.config import StudyConfig
from eval.study.jobs import Job, jobs_of
from shardify.errors import UsageError, UserFacingError, WorkError, counted, one_line
from shardify.storage import open_store
from shardify.storage.locations import join_location
from stream_train.audit.run import audit_run
from stream_train.audit.table import AUDIT_NAME
from stream_train.training.distributed import World, joined_world
from stream_train.training.loop import build_pretraining, fit, opening_line
from stream_train.training.preemption import Stopped

Say = Callable[[str], None]
SHOWN = 5
"""Failed jobs that an error names with their reasons."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The state of a study."""

    num_jobs: int
    num_done: int
    failed: dict[str, str] = field(default_factory=dict)
    """Job -> reason."""
    elsewhere: dict[str, str] = field(default_factory=dict)
    """Jobs that other workers are doing, for this or another study -> worker."""
    seconds: tuple[float, ...] = ()
    """How long each finished job took its last worker."""

    def line(self) -> str:
        """`7 of 45 jobs are done, 12.0 min each; 7.6 h of work are left; 2 failed; 1 with other workers`."""
        parts = [f"{self.num_done} of {counted(self.num_jobs, 'job')} {'is' if self.num_done == 1 else 'are'} done"]
        if self.seconds:
            each = sum(self.seconds) / len(self.seconds)
            left = each * (self.num_jobs - self.num_done) / 3600
            parts[0] += f", {each / 60:.1f} min each; {left:.1f} h of work are left" if left else ""
        parts += [f"{len(self.failed)} failed"] if self.failed else []
        parts += [f"{len(self.elsewhere)} with other workers"] if self.elsewhere else []
        return "; ".join(parts)

    def require_success(self) -> None:
        """Raises WorkError that names failed jobs, if there are any."""
        if self.failed:
            raise WorkError(
                f"{len(self.failed)} of {counted(self.num_jobs, 'job')} failed ({_named(self.failed)}); the others "
                "went on; the same command tries these again"
            )

    def require_whole(self) -> None:
        """Raises WorkError if a job is neither done nor with another worker."""
        num_left = self.num_jobs - self.num_done - len(self.elsewhere)
        if num_left > 0:
            raise WorkError(
                f"the study is not whole: {num_left} of {counted(self.num_jobs, 'job')} left, and nobody works on "
                f"{'it' if num_left == 1 else 'them'}; run the same command again"
            )


def _named(jobs: dict[str, str]) -> str:
    """The first few jobs, each with what is said of it."""
    named = [f"{job}: {words}" for job, words in list(jobs.items())[:SHOWN]]
    return "; ".join(named + [f"and {len(jobs) - SHOWN} more"] * (len(jobs) > SHOWN))


def open_claims(config: StudyConfig) -> Claims:
    """The claims of a study. Raises UsageError if its `out` cannot be written."""
    return Claims(open_store(join_location(config.out, FOLDER), create=True))


def failures_of(claims: Claims) -> set[Claim]:
    """The failures so far, which the next worker tries again."""
    return {claim for of_job in claims.of_jobs().values() for claim in of_job if claim.state == "failed"}


def work_on(config: StudyConfig, say: Say) -> None:
    """Do jobs until none is left that this worker may take; failed ones do not stop the others.

    Failures from before are tried again; those that come up meanwhile are not. The jobs of workers that may be dead are
    watched until they show a sign of life, or can be taken over. A job that another study with this `out` does now is
    waited for, because both work in one folder.

    Raises:
        UsageError: if the config is wrong, or several processes were started by torchrun.
        Stopped, KeyboardInterrupt: after a signal; the job can be continued by anyone.
    """
    jobs, claims = jobs_of(config), open_claims(config)
    with joined_world(config.device, config.threads) as world:
        if world.size > 1:
            raise UsageError("each process of a study takes jobs of its own: start it with --at-once, not torchrun")
        for job, claim in _taken(jobs, claims, failures_of(claims), say):
            say(f"{progress_of(jobs, claims).line()}; now {job.name}")
            with claims.holding(claim, say) as end:
                reason = _try(job, config, world, say)
                end("failed" if reason else "done", reason)


def progress_of(jobs: list[Job], claims: Claims) -> Progress:
    """What the claims tell about the jobs."""
    found = claims.of_jobs()
    done, failed, elsewhere = [], {}, {}
    for job in jobs:
        of_job = found.get(job.name, [])
        own = with_settings(of_job, job.digest)
        if own is not None and own.state == "done":
            done.append(own)
            continue
        if own is not None and own.state == "failed":
            failed[job.name] = own.reason
        if of_job and of_job[-1].state == "running" and of_job[-1].process != process_identity():
            elsewhere[job.name] = of_job[-1].worker
    return Progress(
        num_jobs=len(jobs),
        num_done=len(done),
        failed=failed,
        elsewhere=elsewhere,
        seconds=tuple(claim.seconds for claim in done),
    )


def undone(jobs: list[Job], claims: Claims) -> list[Job]:
    """The jobs that are not done with their settings."""
    found = claims.of_jobs()
    own = [with_settings(found.get(job.name, []), job.digest) for job in jobs]
    return [job for job, claim in zip(jobs, own, strict=True) if claim is None or claim.state != "done"]


def _taken(jobs: list[Job], claims: Claims, failed_before: Collection[Claim], say: Say) -> Iterator[tuple[Job, Claim]]:
    """Claimed jobs, one after the other; each is ended before the next is asked for."""
    awaited: dict[str, str] = {}
    while True:
        found = claims.of_jobs()
        claim, waiting = None, dict[str, str]()
        for job in jobs:
            of_job = found.get(job.name, [])
            if _is_settled(with_settings(of_job, job.digest), failed_before):
                continue
            before = of_job[-1] if of_job else None
            if before is not None and before.state == "running" and not claims.is_dead(before):
                if before.digest != job.digest or not claims.is_alive(before):
                    waiting[job.name] = before.worker
                continue
            claim = claims.take(job.name, job.digest, before)
            if claim is not None:
                yield job, claim
                break
            waiting[job.name] = "a worker that was quicker"
        if claim is None and not waiting:
            return
        if claim is None:
            if waiting != awaited:
                say(f"waiting for other workers ({_named(waiting)})")
            awaited = waiting
            time.sleep(BEAT_SECONDS / 3)


def _is_settled(claim: Claim | None, failed_before: Collection[Claim]) -> bool:
    """Whether a job with this newest claim is done, or has failed since this worker began."""
    return claim is not None and (claim.state == "done" or (claim.state == "failed" and claim not in failed_before))


def _try(job: Job, config: StudyConfig, world: World, say: Say) -> str:
    """Do a job; returns why it failed, or nothing. Signals end it."""
    try:
        do(job, config, world, lambda line: say(f"{job.name}: {line}"))
    except UserFacingError as error:
        reason = one_line(error)
    except Exception as error:  # noqa: BLE001 - one broken job must not stop the others; shown as Python would show it
        traceback.print_exc()
        reason = f"{type(error).__name__}: {one_line(error)}"
    else:
        return ""
    say(f"{job.name} failed: {reason}")
    return reason


def do(job: Job, config: StudyConfig, world: World, say: Say) -> None:
    """Pre-train, audit and evaluate one network, as far as that is not done yet. Raises as the parts do."""
    if job.pretraining is not None:
        run = build_pretraining(job.pretraining, world, say)
        if (late_signal := fit(run, opening_line(run))) is not None:
            raise Stopped(late_signal)
        if config.audit and not open_store(job.pretraining.out).exists(AUDIT_NAME):
            _audit(job.pretraining.out, say)
    for judging in job.judgings.values():
        for evaluation in judging.evaluations:
            evaluation.load()(judging.config, world, say)


def _audit(run: str, say: Say) -> None:
    """Audit a run, if its task can be audited and it names a held-out split."""
    try:
        audit_run(run, say=say)
    except UsageError as error:
        say(f"not audited: {error}")

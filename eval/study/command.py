"""What `video-eval study` does: the jobs, then the tables, then a word on failures.

In: a config. Out: the tables as text and, in the study's `out`, as Markdown and CSV.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eval.planning.plan import plan_line
from eval.planning.work import Work, work_of_job
from eval.study.at_once import work_at_once
from eval.study.config import StudyConfig
from eval.study.jobs import Job, jobs_of
from eval.study.outputs import write_outputs
from eval.study.running import Progress, Say, open_claims, progress_of, undone, work_on
from eval.tables.build import tables_markdown
from shardify.errors import UsageError, WorkError


def run_study(
    config: StudyConfig,
    words: Sequence[str],
    say: Say,
    *,
    at_once: int = 1,
    work: bool = True,
    rows: str | None = None,
) -> Iterator[str]:
    """Do the jobs (unless `work` is False), and yield the tables; `words` start the same command in other processes.

    With `rows`, do no job, and take the results from this file.

    First says how much work is left. Raises UsageError if the config is wrong, no job can be done, or there is nothing
    to show without work; WorkError at the end if jobs failed, a process died, or jobs are left; and as
    `eval.study.running.work_on`.
    """
    if rows is not None:
        yield from _outputs(config, say, rows)
        return
    jobs = jobs_of(config)
    if not work:
        texts = list(_outputs(config, say))
        if not texts:
            raise UsageError(f"{config.out} holds no result of this study yet; start the command without --tables-only")
        yield from texts
        progress = progress_of(jobs, open_claims(config))
        say(progress.line())
        progress.require_success()
        return
    claims = open_claims(config)
    say_plan(undone(jobs, claims), say)
    codes: list[int] = []
    if at_once > 1:
        codes = work_at_once(at_once, words)
    else:
        work_on(config, say)
    yield from _outputs(config, say)
    progress = progress_of(jobs, claims)
    say(progress.line())
    progress.require_success()
    _require_no_early_end(progress, codes)
    progress.require_whole()


def _outputs(config: StudyConfig, say: Say, rows: str | None = None) -> Iterator[str]:
    tables, location = write_outputs(config, rows)
    if tables:
        yield tables_markdown(tables)
        say(location)


def say_plan(jobs: Sequence[Job], say: Say) -> None:
    """Say how much work some jobs are, and which of them lack their data. Raises UsageError if all do."""
    works: list[Work] = []
    problems: dict[str, UsageError] = {}
    for job in jobs:
        try:
            works += work_of_job(job)
        except UsageError as error:
            problems[job.name] = error
    if problems and len(problems) == len(jobs):
        raise next(iter(problems.values()))
    for name, problem in problems.items():
        say(f"{name} will fail: {problem}")
    if works:
        say(plan_line(works))


def _require_no_early_end(progress: Progress, codes: Sequence[int]) -> None:
    """Raises WorkError if a process of this machine ended early, and left jobs undone."""
    early = [code for code in codes if code]
    if early and progress.num_done < progress.num_jobs:
        raise WorkError(f"a process ended early, with exit code {early[0]}; the same command goes on")

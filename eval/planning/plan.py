"""A plan: clips, hours, and bytes of everything that a config does.

In: :class:`~eval.planning.work.Work`s and speeds. Out: a :class:`Plan`, as text and as JSON values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from eval.evaluations.base import Clips
from eval.planning.speed import Speed
from eval.planning.work import Setup, Work, is_remote
from stream_train.data.shard_access import readable_size

START_SECONDS = 6.0
"""Until the libraries are imported."""
TRAINING_SECONDS = 2.0
"""For each training: its objects, checkpoints, exports and curves."""
RESULT_SECONDS = 1.0
"""For each result: its intervals and pictures."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """The pre-trainings, or one evaluation of all networks."""

    name: str
    clips: Clips
    seconds: float
    """On one machine, with one GPU or all its cores."""
    core_seconds: float
    """Of reading and decoding; 0 if unknown."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a config costs."""

    parts: tuple[Part, ...]
    kept_bytes: int
    fetched_bytes: int
    """From object stores, for each machine, if its cache holds the shards."""
    speeds: dict[str, Speed] = field(default_factory=dict)
    """By the words of a setup."""
    where: str = ""
    """The machine of the speeds."""

    @property
    def seconds(self) -> float:
        """Of one machine that does everything."""
        return sum(part.seconds for part in self.parts) + START_SECONDS

    @property
    def core_seconds(self) -> float:
        return sum(part.core_seconds for part in self.parts)

    def values(self) -> dict[str, Any]:
        """As JSON values."""
        return {"hours": self.seconds / 3600, "core_hours_of_decoding": self.core_seconds / 3600, **asdict(self)}


def make_plan(works: Sequence[Work], speed_of: Callable[[Setup], Speed], *, cores: int = 1, where: str = "") -> Plan:
    """Add up the work.

    `speed_of` is asked once for each network, crop and task, whatever the split and the transformations. `cores` decode
    for a GPU, if that speed is known apart.
    """
    speeds: dict[str, Speed] = {}
    names = list(dict.fromkeys(work.part for work in works))
    parts = {name: Part(name=name, clips=Clips(), seconds=0.0, core_seconds=0.0) for name in names}
    for work in works:
        speed = None
        if work.setup is not None:
            speed = speeds.get(work.setup.words) or speed_of(work.setup)
            speeds[work.setup.words] = speed
        seconds, core_seconds = _seconds(work, speed, cores)
        before = parts[work.part]
        parts[work.part] = Part(
            name=work.part,
            clips=before.clips + work.clips,
            seconds=before.seconds + seconds,
            core_seconds=before.core_seconds + core_seconds,
        )
    return Plan(
        parts=tuple(parts.values()),
        kept_bytes=sum(work.kept_bytes for work in works),
        fetched_bytes=fetched_bytes(works),
        speeds=speeds,
        where=where,
    )


def _seconds(work: Work, speed: Speed | None, cores: int) -> tuple[float, float]:
    """Seconds of the machine, and seconds of a core that decodes."""
    overhead = TRAINING_SECONDS * work.clips.num_trainings + RESULT_SECONDS * work.clips.num_results
    if speed is None:
        return overhead, 0.0
    clips = work.clips
    forward_only = clips.frozen + clips.tested + clips.features
    computing = clips.trained / speed.trained + forward_only / speed.tested
    decoding = 0.0 if speed.loaded_per_core is None else (clips.trained + forward_only) / speed.loaded_per_core
    return max(computing, decoding / cores) + overhead, decoding


def fetched_bytes(works: Sequence[Work]) -> int:
    """The shards in object stores, each once."""
    return sum(num_bytes for _, num_bytes in {source for work in works for source in work.sources if is_remote(source)})


def plan_line(works: Sequence[Work]) -> str:
    """One line about work that is not timed: clips, and bytes to keep and to fetch."""
    clips = Clips()
    for work in works:
        clips += work.clips
    tested = clips.tested + clips.features
    line = f"plan: {in_millions(clips.trained + clips.frozen)} clips to train on, {in_millions(tested)} to test on, "
    line += f"{readable_size(sum(work.kept_bytes for work in works))} to keep"
    fetched = fetched_bytes(works)
    return line + (f", {readable_size(fetched)} to fetch" if fetched else "")


def plan_text(plan: Plan, out: str) -> str:
    """The plan as lines for the terminal."""
    lines = [f"{'part':<14}{'clips trained':>16}{'frozen':>14}{'tested':>14}{'hours':>10}"]
    for part in plan.parts:
        clips, tested = part.clips, part.clips.tested + part.clips.features
        lines.append(f"{part.name:<14}{clips.trained:>16,}{clips.frozen:>14,}{tested:>14,}{part.seconds / 3600:>10.2f}")
    lines += [f"{'in all':<14}{'':>44}{plan.seconds / 3600:>10.2f}", ""]
    lines += [f"hours of {plan.where}, with one job at a time" if plan.where else "hours of one machine"]
    if plan.core_seconds:
        lines += [f"reading and decoding: {plan.core_seconds / 3600:.1f} hours of one CPU core, part of the above"]
    lines += [f"to keep in {out}: {readable_size(plan.kept_bytes)}"]
    moved = "nothing, all shards are local"
    if plan.fetched_bytes:
        moved = f"{readable_size(plan.fetched_bytes)} for each machine, if its cache holds them"
    lines += [f"to fetch: {moved}", ""]
    lines += [
        f"{name}: {speed.trained:,.0f} clips/s trained, {speed.tested:,.0f} tested"
        for name, speed in plan.speeds.items()
    ]
    return "\n".join(lines) + "\n"


def in_millions(number: int) -> str:
    """25,123,000 -> "25.1 million"."""
    return f"{number / 1e6:,.1f} million" if number >= 1_000_000 else f"{number:,}"

"""The result of a build: counts, reasons, and whether too many videos were lost."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shardify.build.config import BuildConfig
from shardify.build.shard_writer import TOO_SHORT
from shardify.build.work import Built
from shardify.catalogs.base import Missing
from shardify.catalogs.reasons import num_videos
from shardify.errors import counted
from shardify.progress import format_seconds
from shardify.shards.format import BROKEN_NAME, MISSING_NAME, REJECTED_NAME, SHORT_NAME
from shardify.shards.record import Reject
from shardify.shards.seen import Seen, seen_lines

_NAMED_REASONS = 3
"""A message names so many reasons for which videos were rejected."""


@dataclass(frozen=True, kw_only=True)
class BuildSummary:
    """The result of a build and the content of the data set."""

    location: str
    num_shards: int
    """Shards in the manifest; a shard without samples is not in it."""
    num_shards_written: int
    """By this run; the others existed already."""
    num_videos: int
    """Videos in the plan."""
    num_samples: int
    num_frames: int
    num_bytes: int
    """Size of all tars."""
    num_missing: int
    seen: Seen | None
    """Everything below `source.videos`; None after `finish` of a build of an earlier version."""
    reasons: dict[str, int]
    """Rejected videos by reason, most frequent first."""
    num_transient: int
    """Rejected videos that may succeed with --retry-failed."""
    seconds: float
    """Time in which this run wrote shards."""
    frames_per_second: float
    """Of this run; 0 if it wrote nothing."""
    problems: tuple[str, ...]
    """Shares above their limits; empty for a good build."""
    notes: tuple[str, ...] = ()
    num_short: int = 0
    """Samples with far fewer frames than their videos announce."""
    short_example: str = ""
    hint: str = ""
    """A file that may be a missing video: `PATH for NAME, and 3 more`."""

    @property
    def num_rejected(self) -> int:
        return sum(self.reasons.values())

    @property
    def num_unlisted(self) -> int:
        """Number of videos left out: in no list, copies, spare files, or outside class folders."""
        return num_videos(self.seen.left_out) if self.seen else 0

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "num_rejected": self.num_rejected, "num_unlisted": self.num_unlisted}

    def lines(self) -> list[str]:
        size = f"{self.num_frames:,} frames, {self.num_bytes / 1e6:,.1f} MB in {counted(self.num_shards, 'shard')}"
        lines = [f"{self.location}: {self.num_samples} of {self.num_videos} videos, {size}"]
        if self.num_shards_written:
            time = f"{format_seconds(self.seconds)} ({self.frames_per_second:,.0f} frames/s)"
            lines.append(f"wrote {counted(self.num_shards_written, 'shard')} in {time}")
        else:
            lines.append("all shards were there already; none was written")
        if self.num_missing:
            hint = f"; did you mean {self.hint}?" if self.hint else ""
            lines.append(f"{counted(self.num_missing, 'listed video')} missing (see {MISSING_NAME}){hint}")
        for reason, count in self.reasons.items():
            lines.append(f"rejected {count}: {reason}")
        if self.num_transient:
            lines.append(f"{counted(self.num_transient, 'file')} may go better with --retry-failed")
        if self.num_short:
            lines.append(f"{short_words(self.num_short)}: {self.short_example}")
        return [*lines, *(seen_lines(self.seen) if self.seen else ()), *self.notes]


@dataclass(frozen=True, kw_only=True)
class PartSummary:
    """The result of one part of a build while other parts are unfinished."""

    location: str
    part: str
    """`i/n`."""
    noun: str = "shards"
    """The unit of the counts: shards, or windows of archives with all their shards."""
    num_shards: int
    """Of this part."""
    num_shards_written: int
    """By this run; the others existed already."""
    num_shards_missing: int
    """Of other parts."""
    num_videos: int
    """Of this run."""
    num_frames: int
    num_rejected: int
    seconds: float
    problems: tuple[str, ...] = ()
    """Empty: shares are compared with their limits only when all shards exist."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        done = f"{self.num_videos} videos, {self.num_frames:,} frames, {self.num_rejected} rejected"
        own = f"{self.num_shards} {self.noun}, {self.num_shards_written} of them written now"
        rest = f"{self.num_shards_missing} {self.noun} of other parts are missing; the last part to end writes"
        time = f"in {format_seconds(self.seconds)}"
        return [
            f"{self.location}: part {self.part} is done: {own} {time} ({done})",
            f"{rest} the manifest, or `shardify finish`",
        ]


def summarise_build(
    config: BuildConfig, built: Built, *, num_written: int, seconds: float, frames: int
) -> BuildSummary:
    """Sum up a finished build and compare its losses with the config's limits.

    `num_written` shards of the manifest are from this run, with `frames` in `seconds`.
    """
    description, records = built.description, built.records
    rejected = [line for record in records for line in record.rejected]
    short = [line for record in records for line in record.short]
    num_videos, num_missing = description.num_videos, len(description.missing)
    num_listed = num_videos + num_missing
    problems = []
    broken = [line for record in records for line in record.broken]
    reasons = group_reasons([line.reason for line in rejected])
    if len(rejected) > config.max_rejected_share * num_videos:
        problems.append(_too_many_rejected(reasons, num_videos, config.max_rejected_share))
    if num_missing > config.max_missing_share * num_listed:
        problems.append(
            f"{num_missing} of {num_listed} listed videos {'is' if num_missing == 1 else 'are'} missing, more than "
            f"max_missing_share {config.max_missing_share:g} allows; the shards are kept, the names are in "
            f"{MISSING_NAME}. Put those videos beside the others and build into another folder, or accept the loss: "
            f"run `shardify build` with --set max_missing_share={_rounded_up(num_missing, num_listed):g}"
        )
    return BuildSummary(
        location=str(config.out),
        num_shards=sum(record.num_samples > 0 for record in records),
        num_shards_written=num_written,
        num_videos=num_videos,
        num_samples=sum(record.num_samples for record in records),
        num_frames=sum(record.num_frames for record in records),
        num_bytes=sum(record.tar_bytes for record in records),
        num_missing=num_missing,
        seen=description.seen,
        reasons=reasons,
        num_transient=sum(line.status == "transient" for line in [*rejected, *broken]),
        seconds=seconds,
        frames_per_second=frames / seconds if seconds else 0.0,
        problems=tuple(problems),
        notes=(*built.notes, *_broken_notes(broken)),
        num_short=len(short),
        short_example=next((f"{s.path} gave {s.num_frames} of {s.num_announced} frames" for s in short), ""),
        hint=_hint([video for video in description.missing if video.did_you_mean]),
    )


def _too_many_rejected(reasons: dict[str, int], num_videos: int, allowed: float) -> str:
    """What was rejected and why, and what to do: mend the videos, keep short ones, or accept the loss."""
    number = sum(reasons.values())
    named = [f"{count}: {reason}" for reason, count in reasons.items()][:_NAMED_REASONS]
    more = "; and others" if len(named) < len(reasons) else ""
    short = (
        "to keep short videos, whose clips then loop their frames, build into another folder with --set min_frames=1; "
        if any(TOO_SHORT in reason for reason in reasons)
        else ""
    )
    return (
        f"{number} of {num_videos} videos {'was' if number == 1 else 'were'} rejected ({'; '.join(named)}{more}), more "
        f"than max_rejected_share {allowed:g} allows. The shards are kept, and {REJECTED_NAME} names the videos. Mend "
        f"them and run `shardify build` again with --retry-failed; {short}or accept the loss: run it with --set "
        f"max_rejected_share={_rounded_up(number, num_videos):g}"
    )


def short_words(number: int) -> str:
    """The number of short videos, in words."""
    return f"{counted(number, 'video')} far shorter than announced, but taken (see {SHORT_NAME})"


def _broken_notes(files: Sequence[Reject]) -> Iterator[str]:
    if files:
        example = f"{files[0].path}: {files[0].reason}"
        yield f"{counted(len(files), 'broken file')} of videos with several (see {BROKEN_NAME}), such as {example}"


def _hint(videos: Sequence[Missing]) -> str:
    if not videos:
        return ""
    more = f", and {len(videos) - 1} more" if videos[1:] else ""
    return f"{videos[0].did_you_mean} for {videos[0].name}{more}"


def _rounded_up(number: int, whole: int) -> float:
    """A share, rounded up to hundredths."""
    return -(-100 * number // whole) / 100


def group_reasons(reasons: Sequence[str]) -> dict[str, int]:
    """Count reasons, most frequent first; reasons that differ only in numbers count as one, with `N` as the number."""
    groups: dict[str, list[list[str]]] = defaultdict(list)
    for reason in reasons:
        groups[re.sub(r"\d+", "N", reason)].append(re.split(r"(\d+)", reason))
    counts = {
        "".join(parts[0] if len(set(parts)) == 1 else "N" for parts in zip(*group, strict=True)): len(group)
        for group in groups.values()
    }
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

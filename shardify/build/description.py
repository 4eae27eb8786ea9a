"""The description of a build (`build.json`), and the files that follow from it when all shards exist.

`build.json` is written before the first shard. It holds only what affects the bytes (settings, ffmpeg's version, the
plan's sha256): no absolute paths, worker counts or time limits. A rerun with another description is an error. Beside
that it keeps what was seen below the source; a rerun renews this.
`manifest.json`, `rejected.jsonl` and `missing.jsonl` depend only on the description and the shards' records.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from shardify.build.archives.windows import Window, windows_sha256
from shardify.build.config import BuildConfig
from shardify.build.plan import PlannedShard, plan_sha256
from shardify.catalogs.base import Catalog, Missing
from shardify.errors import WorkError, first_names
from shardify.frames.ffmpeg_command import ffmpeg_binary, ffmpeg_version, filter_chain
from shardify.shards.format import BROKEN_NAME, FORMAT_VERSION, MANIFEST_NAME, MISSING_NAME, REJECTED_NAME, SHORT_NAME
from shardify.shards.manifest import Manifest
from shardify.shards.record import ShardRecord, dump_json, require, require_names
from shardify.shards.seen import Seen
from shardify.storage.store import Store

DESCRIPTION_NAME = "build.json"


@dataclass(frozen=True, kw_only=True)
class BuildDescription:
    """The contents of `build.json`."""

    name: str
    settings: dict[str, Any]
    """Every setting that affects the shards' bytes, including ffmpeg's version and filter."""
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    num_videos: int
    num_shards: int
    plan_sha256: str
    missing: tuple[Missing, ...]
    archives: tuple[tuple[str, ...], ...] = ()
    """Paths of the videos' archives, by window; if set, `num_videos`, `num_shards` and `missing` are unknown."""
    seen: Seen | None = field(default=None, compare=False)
    """Everything that lay below `source.videos` when the build last began; None in builds of earlier versions."""
    renamed: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Listed name -> path of its video, where this has nearly the same name."""

    def __post_init__(self) -> None:
        require(self, str, "name", "plan_sha256")
        require(self, int, "num_videos", "num_shards")
        require_names(self, "classes", "splits")
        for video in self.missing:
            require(video, str, "name", "did_you_mean")
            require_names(video, "splits")
        if not all(isinstance(path, str) for paths in self.archives for path in paths):
            raise TypeError(f"archives is {self.archives!r}")
        if not isinstance(self.settings, dict):
            raise TypeError(f"settings is {self.settings!r}")
        if not all(isinstance(path, str) for path in self.renamed.values()):
            raise TypeError(f"renamed is {self.renamed!r}")

    @property
    def noun(self) -> str:
        """The build's unit of work, in words."""
        return "windows of archives" if self.archives else "shards"

    def to_json(self) -> bytes:
        missing = [video.to_dict() for video in self.missing]
        return dump_json({"format_version": FORMAT_VERSION, **asdict(self), "missing": missing}, indent=1)

    @classmethod
    def from_json(cls, data: bytes, origin: str = DESCRIPTION_NAME) -> BuildDescription:
        """Raises WorkError if the bytes are damaged or of another format version."""
        try:
            values = json.loads(data)
            version = values.pop("format_version")
            if version != FORMAT_VERSION:
                raise WorkError(f"{origin} has format version {version}, this program reads {FORMAT_VERSION}")
            missing = tuple(Missing(**line | {"splits": tuple(line["splits"])}) for line in values.pop("missing"))
            classes, splits = tuple(values.pop("classes")), tuple(values.pop("splits"))
            archives = tuple(tuple(paths) for paths in values.pop("archives", ()))
            seen = Seen.from_json(said) if (said := values.pop("seen", None)) else None
            return cls(classes=classes, splits=splits, missing=missing, archives=archives, seen=seen, **values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise WorkError(
                f"{origin} is damaged ({type(error).__name__}: {error}); build into another folder, or delete this one"
            ) from None


def describe_build(
    config: BuildConfig, catalog: Catalog, plan: Sequence[PlannedShard], windows: Sequence[Window] = ()
) -> BuildDescription:
    """Describe the build of a config and catalog with the ffmpeg of this machine."""
    binary = ffmpeg_binary(config.frames.ffmpeg)
    settings = {
        **config.frames.model_dump(mode="json", exclude={"ffmpeg", "time_limit_seconds"}),
        "ffmpeg_filter": filter_chain(config.frames),
        "ffmpeg_version": ffmpeg_version(binary),
        "min_frames": config.min_frames,
        "pack": config.pack,
        "seed": config.seed,
        "source": config.source.kind,
        "videos_per_shard": config.videos_per_shard,
    }
    if windows:
        settings["archives_per_window"] = config.source.archives_per_window
    return BuildDescription(
        name=config.name or config.source.kind,
        settings=settings,
        classes=catalog.classes,
        splits=catalog.splits,
        num_videos=len(catalog.videos),
        num_shards=len(plan),
        plan_sha256=windows_sha256(windows, catalog) if windows else plan_sha256(tuple(plan)),
        missing=catalog.missing,
        archives=tuple(tuple(archive.path for archive in window.archives) for window in windows),
        seen=catalog.seen(),
        renamed=catalog.renamed,
    )


def differences(old: BuildDescription, new: BuildDescription) -> list[str]:
    """The differences of two builds, in words: `quality was 4 and is now 2`."""
    then, today = ({**build.settings, "name": build.name} for build in (old, new))
    found = [
        f"{key} was {then.get(key)} and is now {today.get(key)}"
        for key in (*sorted(old.settings.keys() | new.settings.keys()), "name")
        if then.get(key) != today.get(key)
    ]
    if old.num_videos != new.num_videos:
        found.append(f"the source had {old.num_videos} videos and has {new.num_videos} now")
    lists = {
        "classes": (old.classes, new.classes),
        "splits": (old.splits, new.splits),
        "missing videos": ([video.name for video in old.missing], [video.name for video in new.missing]),
        "archives": ([path for paths in old.archives for path in paths], [path for ps in new.archives for path in ps]),
    }
    for noun, (before, now) in lists.items():
        if before != now:
            found.append(f"there were {len(before)} {noun} and are now {len(now)}{_changed_names(before, now)}")
    if not found and (old.plan_sha256, old.missing) != (new.plan_sha256, new.missing):
        found.append("the source's videos have other names, labels or splits")
    return found


def manifest_of(description: BuildDescription, records: Iterable[ShardRecord]) -> Manifest:
    """The manifest of a finished build."""
    records = list(records)
    settings = description.settings
    return Manifest(
        name=description.name,
        shards=tuple(record for record in records if record.num_samples),
        classes=description.classes,
        splits=description.splits,
        height=settings["height"],
        width=settings["width"],
        packing=settings["pack"],
        min_frames=settings["min_frames"],
        ffmpeg_version=settings["ffmpeg_version"],
        ffmpeg_filter=settings["ffmpeg_filter"],
        build={**settings, "plan_sha256": description.plan_sha256},
        num_rejected=sum(len(record.rejected) for record in records),
        num_missing=len(description.missing),
        num_short=sum(len(record.short) for record in records),
        seen=description.seen,
    )


def final_objects(description: BuildDescription, records: Sequence[ShardRecord]) -> dict[str, bytes]:
    """The last objects of a build, when every shard has its record: name -> bytes, the manifest last."""
    rejected, short, broken = (
        b"".join(
            dump_json({"shard": record.number, **asdict(line)}) for record in records for line in getattr(record, name)
        )
        for name in ("rejected", "short", "broken")
    )
    return {
        REJECTED_NAME: rejected,
        MISSING_NAME: b"".join(dump_json(line.to_dict()) for line in description.missing),
        **({SHORT_NAME: short} if short else {}),
        **({BROKEN_NAME: broken} if broken else {}),
        MANIFEST_NAME: manifest_of(description, records).to_json(),
    }


def read_description(store: Store) -> BuildDescription:
    """`build.json` of a data set. Raises FileNotFoundError if there is none, WorkError if it is damaged."""
    return BuildDescription.from_json(store.read(DESCRIPTION_NAME), f"{store.location}/{DESCRIPTION_NAME}")


def _changed_names(old: Sequence[str], new: Sequence[str]) -> str:
    """Up to three names that were removed or added, in brackets."""
    gone, come = sorted(set(old) - set(new)), sorted(set(new) - set(old))
    words = []
    for verb, names in (("without", gone), ("with", come)):
        if names:
            words.append(f"{verb} {first_names(names, 3)}")
    return f" ({'; '.join(words)})" if words else ""

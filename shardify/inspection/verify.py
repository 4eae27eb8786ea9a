"""Checks every checksum, count and size of a data set against its manifest; with `deep`, also every picture.

In: a store. Out: a :class:`VerifyReport` whose problems name shard, sample and frames.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np
import simplejpeg

from shardify.arrays import ImageArray
from shardify.build.archived import settled
from shardify.build.archives.windows import sum_up
from shardify.build.description import final_objects, read_description
from shardify.errors import WorkError
from shardify.process import usable_cores
from shardify.progress import counting
from shardify.shards.format import MANIFEST_NAME, shard_name
from shardify.shards.index import SampleEntry, ShardIndex, read_index
from shardify.shards.manifest import Manifest, read_manifest
from shardify.shards.record import ShardRecord, read_record
from shardify.storage.locations import SCHEMES, can_list
from shardify.storage.store import Store
from shardify.storage.streams import Scan

_MAX_NAMED_FRAMES = 5


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake in a data set: the shard's number, the sample's key, the frames' numbers in the sample."""

    text: str
    shard: int | None = None
    sample: str | None = None
    frames: tuple[int, ...] = ()

    def __str__(self) -> str:
        parts = [] if self.shard is None else [f"shard {self.shard}"]
        if self.sample is not None:
            parts.append(f"sample {self.sample}")
        if self.frames:
            named = ", ".join(str(frame) for frame in self.frames[:_MAX_NAMED_FRAMES])
            more = f" ... ({len(self.frames)} in all)" if len(self.frames) > _MAX_NAMED_FRAMES else ""
            parts.append(f"{'frame' if len(self.frames) == 1 else 'frames'} {named}{more}")
        return f"{', '.join(parts)}: {self.text}" if parts else self.text


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """The result of a check."""

    location: str
    deep: bool
    num_shards: int
    num_samples: int
    num_frames: int
    problems: tuple[Problem, ...]

    @property
    def words(self) -> str:
        """The extent of the check, for people."""
        return "every size, checksum and picture" if self.deep else "every size and checksum"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "intact": not self.problems}


def verify(store: Store, *, deep: bool = False, on_shard: Callable[[], None] = lambda: None) -> VerifyReport:
    """Check a finished data set; calls `on_shard` after each shard, from any thread.

    With `deep`, also decode every frame, read every shard with stock WebDataset and compare the bytes. Raises
    UsageError if there is no manifest, WorkError if the manifest or build.json is too damaged to be read.
    """
    if deep:
        # before the threads start: it imports torch, which parses source code (see index._parsing)
        from shardify.storage.webdataset_reading import teach_webdataset

        teach_webdataset(SCHEMES)
    manifest = read_manifest(store)
    problems = [*_check_descriptions(store, manifest), *_check_names(store, manifest)]
    keys: dict[str, int] = {}

    def check(shard: ShardRecord) -> tuple[ShardIndex | None, list[Problem]]:
        result = _check_shard(store, manifest, shard, deep)
        on_shard()
        return result

    pool = ThreadPoolExecutor(usable_cores())
    try:
        for shard, (index, found) in zip(manifest.shards, pool.map(check, manifest.shards), strict=True):
            problems += found
            for key in index.keys if index is not None else ():
                if key in keys:
                    problems.append(Problem(shard=shard.number, sample=key, text=f"shard {keys[key]} has this key too"))
                keys[key] = shard.number
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, wait only for the shards that are being checked
    return VerifyReport(
        location=store.location,
        deep=deep,
        num_shards=len(manifest.shards),
        num_samples=sum(shard.num_samples for shard in manifest.shards),
        num_frames=sum(shard.num_frames for shard in manifest.shards),
        problems=tuple(problems),
    )


def _check_descriptions(store: Store, manifest: Manifest) -> list[Problem]:
    """Compare the manifest with the shards' records; with build.json, also all files that follow from them."""
    records: list[ShardRecord] = []
    problems: list[Problem] = []
    packed = None
    try:
        description = read_description(store)
        numbers: Sequence[int] = range(description.num_shards)
        if description.archives:
            packed = sum_up(store, description.archives)
            numbers = packed.shards
    except WorkError as error:
        return [Problem(text=str(error))]
    except FileNotFoundError:  # a copied data set may lack it
        description, numbers = None, [shard.number for shard in manifest.shards]
    entries = {shard.number: shard for shard in manifest.shards}
    for number in counting(numbers, unit="record", doing="comparing"):
        try:
            record = read_record(store, number)
        except FileNotFoundError:
            problems.append(Problem(shard=number, text=f"{shard_name(number, 'json')} is missing"))
            continue
        except WorkError as error:
            problems.append(Problem(shard=number, text=str(error)))
            continue
        records.append(record)
        entry = entries.get(number)
        if (record.in_manifest() if record.num_samples else None) != entry:
            problems.append(Problem(shard=number, text=f"{MANIFEST_NAME} and {shard_name(number, 'json')} disagree"))
    if description is not None and not problems:
        known = description if packed is None else settled(description, packed, records)
        problems += _check_final_objects(store, final_objects(known, records))
    return problems


def _check_final_objects(store: Store, objects: Mapping[str, bytes]) -> Iterator[Problem]:
    for name, data in objects.items():
        if not store.exists(name):
            yield Problem(text=f"{name} is missing")
        elif store.read(name) != data:
            yield Problem(text=f"{name} does not follow from build.json and the shards' records")


def _check_names(store: Store, manifest: Manifest) -> list[Problem]:
    """Find shard files that are not in the manifest; readers of `shard-*.tar` would read them."""
    if not can_list(store.location):
        return []
    known = {shard_name(shard.number, part) for shard in manifest.shards for part in ("tar", "idx.npz")}
    strangers = [name for name in store.names() if name.startswith("shard-") and not name.endswith(".json")]
    return [Problem(text=f"{name} is not in {MANIFEST_NAME}") for name in strangers if name not in known]


def _check_shard(
    store: Store, manifest: Manifest, shard: ShardRecord, deep: bool
) -> tuple[ShardIndex | None, list[Problem]]:
    """Make all checks of one shard; returns its index, None if that is unusable."""
    number, name = shard.number, shard_name(shard.number, "tar")
    try:
        num_bytes = store.size(name)
    except FileNotFoundError:
        return None, [Problem(shard=number, text=f"{name} is missing")]
    index, problems, scan = None, [], Scan(store, name, num_bytes)
    try:
        index = read_index(store, shard)
    except WorkError as error:
        problems.append(Problem(shard=number, text=str(error)))
    if index is not None:
        problems += [replace(problem, shard=number) for problem in _check_index(index, manifest, shard)]
        problems += [replace(problem, shard=number) for problem in _check_frames(scan, name, index, num_bytes)]
    if num_bytes != shard.tar_bytes:
        text = f"{name} has {num_bytes} bytes instead of {shard.tar_bytes}"
        problems.insert(0, Problem(shard=number, text=text))
    elif scan.sha256() != shard.tar_sha256:
        problems.insert(0, Problem(shard=number, text=f"{name} differs from its sha256"))
    if index is None:
        return None, problems
    if deep:
        problems += [replace(problem, shard=number) for problem in _check_deep(store.url(name), index, manifest)]
    return index, problems


def _check_index(index: ShardIndex, manifest: Manifest, shard: ShardRecord) -> Iterator[Problem]:
    if index.packing != manifest.packing:
        yield Problem(text=f"the index is for packing {index.packing}, the manifest says {manifest.packing}")
    if len(index.frame_bytes) != shard.num_frames:
        yield Problem(text=f"the index lists {len(index.frame_bytes)} frames, the manifest {shard.num_frames}")
    for entry in index:
        if not -1 <= entry.label < len(manifest.classes):
            yield Problem(sample=entry.key, text=f"label {entry.label}, but there are {len(manifest.classes)} classes")
        if entry.num_frames < manifest.min_frames:
            yield Problem(sample=entry.key, text=f"{entry.num_frames} frames, but min_frames is {manifest.min_frames}")


def _check_frames(scan: Scan, name: str, index: ShardIndex, num_bytes: int) -> Iterator[Problem]:
    """Compare every frame's bytes in the tar with its crc32."""
    for entry in index:
        starts = entry.frame_offsets(index.packing)
        stops = starts + entry.frame_bytes
        first = entry.offset
        data = memoryview(scan.stretch(first, int(stops[-1])))
        pieces = [data[start - first : stop - first] for start, stop in zip(starts, stops, strict=True)]
        if cut := tuple(np.flatnonzero(stops > num_bytes).tolist()):
            yield Problem(sample=entry.key, frames=cut, text=f"cut off, {name} ends before them")
        if wrong := tuple(frame for frame in _wrong_frames(pieces, entry) if stops[frame] <= num_bytes):
            yield Problem(sample=entry.key, frames=wrong, text="the bytes differ from the checksum")


def _check_deep(url: str, index: ShardIndex, manifest: Manifest) -> Iterator[Problem]:
    """Read the shard with stock WebDataset, compare the members with the index, and decode every frame."""
    import webdataset

    samples = iter(webdataset.WebDataset([url], shardshuffle=False, empty_check=False))
    try:
        for sample, entry in zip_longest(samples, index):
            if sample is None or entry is None or sample["__key__"] != entry.key:
                found = "nothing" if sample is None else sample["__key__"]
                expected = "nothing" if entry is None else entry.key
                yield Problem(sample=expected, text=f"stock WebDataset finds {found} in its place")
                return
            yield from _check_sample(sample, entry, manifest)
    except Exception as error:  # noqa: BLE001 - any error of a stock reader is a problem
        yield Problem(text=f"stock WebDataset cannot read it: {type(error).__name__}: {error}")


def _check_sample(sample: dict[str, bytes], entry: SampleEntry, manifest: Manifest) -> Iterator[Problem]:
    """Check one sample that stock WebDataset has read."""
    description = json.loads(sample["json"])
    sizes = description["frame_bytes"]
    if manifest.packing == "mjpg":
        stops = np.cumsum(sizes)
        jpegs = [sample["mjpg"][stop - size : stop] for stop, size in zip(stops, sizes, strict=True)]
    else:
        jpegs = [sample[f"{i:06d}.jpg"] for i in range(entry.num_frames)]
    checksums = description["frame_crc32"]
    if [sizes, checksums] != [entry.frame_bytes.tolist(), entry.frame_crc32.tolist()] or int(
        sample["cls"]
    ) != entry.label:
        yield Problem(sample=entry.key, text="its .json or .cls member and the index disagree")
        return
    if wrong := tuple(_wrong_frames(jpegs, entry)):
        yield Problem(sample=entry.key, frames=wrong, text="stock WebDataset sees other bytes than the index")
    undecodable = tuple(i for i, jpeg in enumerate(jpegs) if not _decodes(jpeg, manifest))
    if undecodable:
        text = f"not a sound JPEG of {manifest.width}x{manifest.height} pixels"
        yield Problem(sample=entry.key, frames=undecodable, text=text)


def _wrong_frames(jpegs: Sequence[bytes | memoryview], entry: SampleEntry) -> Iterator[int]:
    """Numbers of the frames whose bytes differ from the index."""
    for i, (jpeg, crc32) in enumerate(zip_longest(jpegs, entry.frame_crc32.tolist())):
        if jpeg is None or zlib.crc32(jpeg) != crc32:
            yield i


def _decodes(jpeg: bytes, manifest: Manifest) -> bool:
    try:
        picture: ImageArray = simplejpeg.decode_jpeg(jpeg)
    except ValueError:
        return False
    return picture.shape == (manifest.height, manifest.width, 3)

"""The remaining work of a build, its result, and the records of shards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from shardify.build.description import BuildDescription
from shardify.build.pool import Task
from shardify.progress import counting
from shardify.shards.format import shard_name
from shardify.shards.record import RECORD_THREADS, ShardRecord, read_record
from shardify.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work of a run."""

    tasks: Iterable[Task]
    """To iterate once."""
    num_tasks: int
    num_planned: int
    """Tasks of the whole build, or of this part, including finished ones."""
    num_videos: int | None
    """Videos in the tasks; None if unknown."""
    writes: Callable[[int], bool]
    """Whether one of the tasks writes the shard with a number."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """A build with all its shards."""

    description: BuildDescription
    """With the counts and missing videos that the archives have shown."""
    records: Sequence[ShardRecord]
    """Of all shards, by number."""
    notes: tuple[str, ...] = ()


def read_records(store: Store, numbers: Sequence[int]) -> tuple[list[ShardRecord], list[int]]:
    """The records of some shards, and the numbers of shards without a record: a process may be replacing them."""

    def read(number: int) -> ShardRecord | None:
        try:
            return read_record(store, number)
        except FileNotFoundError:
            return None

    with ThreadPoolExecutor(RECORD_THREADS) as pool:
        found = list(counting(pool.map(read, numbers), unit="record", doing="reading", total=len(numbers)))
    missing = [number for number, record in zip(numbers, found, strict=True) if record is None]
    return [record for record in found if record is not None], missing


def finished_shards(
    store: Store, numbers: Iterable[int], sizes: Mapping[str, int], *, retry_failed: bool
) -> dict[int, ShardRecord]:
    """The records of finished shards, by number: whole, and with `retry_failed` also without files to try again."""
    records, _ = read_records(store, [number for number in numbers if shard_name(number, "json") in sizes])
    return {
        record.number: record
        for record in records
        if is_whole(record, sizes) and not (retry_failed and _has_failed(record))
    }


def _has_failed(record: ShardRecord) -> bool:
    """Whether a video was rejected, or a file was left for another one because of a passing fault."""
    return bool(record.rejected) or any(line.status == "transient" for line in record.broken)


def is_whole(record: ShardRecord, sizes: Mapping[str, int]) -> bool:
    """Whether a shard's tar and index exist with the right sizes; `sizes` are those of all objects in the store."""
    there = [sizes.get(shard_name(record.number, "tar")), sizes.get(shard_name(record.number, "idx.npz"))]
    return not record.num_samples or there == [record.tar_bytes, record.index_bytes]

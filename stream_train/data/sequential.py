"""The sequential reader: stock WebDataset reads our shards, or tars without our index, front to back.

    tar URLs of this rank and worker -> webdataset pipeline -> samples -> chosen frames -> clips -> batch

For stores with slow range reads and for shards from other programs. It promises less than the indexed reader: a stopped
run resumes at the start of the epoch, and the order depends on ranks and workers.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import simplejpeg
import webdataset as wds
from torch.utils.data import IterableDataset, get_worker_info

from shardify.arrays import IntArray
from shardify.errors import UsageError, UserFacingError, WorkError, counted
from shardify.shards.format import NO_LABEL, shard_name
from shardify.shards.manifest import read_manifest
from shardify.shards.record import ShardRecord
from shardify.storage import open_store
from shardify.storage.locations import can_list, is_url
from shardify.storage.store import Store
from shardify.storage.traffic import Traffic, count
from stream_train.data.batch import Batch, BatchBuilder
from stream_train.data.clips import VERIFY, decode_clips, draw_views
from stream_train.data.config import DataConfig, SequentialReaderConfig
from stream_train.data.evaluation_pass import sample_lengths
from stream_train.data.order import slots_of_rank
from stream_train.data.plain_tars import find_tars, has_manifest
from stream_train.data.plans import DrawClips
from stream_train.data.reader import open_shard_set
from stream_train.data.tars import frames_of, sample_name, samples_of, survey_tars
from stream_train.data.workers import WorkerResult, load_batches, worker_result
from stream_train.draws import Domain, SampleDraws, Stream


@dataclass(frozen=True, kw_only=True)
class TarSet:
    """Tars to read front to back."""

    location: str
    is_remote: bool
    name: str
    """The data set's name in the manifest; without a manifest, the last part of the location."""
    split: str | None
    classes: tuple[str, ...]
    """The names of the labels; empty without a manifest."""
    urls: tuple[str, ...]
    samples_per_tar: tuple[int, ...] | None
    """Known if there is a manifest or the tars are local; a tar with fewer samples is damaged."""
    num_samples: int
    """Videos in an epoch."""
    fingerprint: str
    geometry: tuple[int, int] = (0, 0)
    """Height and width of the first frame."""
    has_manifest: bool = False
    min_frames: int
    """No video is known to be shorter; 0 if nothing is known."""
    lengths: tuple[int, ...] | None = None
    """Number of frames of each video of local tars without a manifest."""
    remarks: tuple[str, ...] = ()
    """What the user should know about tars without a manifest."""

    @property
    def description(self) -> str:
        """For the user: how much data there is, and how it is read."""
        return "; ".join([f"{counted(len(self.urls), 'tar')}, sequentially (stock WebDataset)", *self.remarks])

    def num_frames(self) -> IntArray | None:
        """int64, the length of each video, from the tars or the shards' indexes; None for remote tars without indexes.

        Raises WorkError if an index is missing or damaged.
        """
        if self.lengths is not None:
            return np.array(self.lengths, dtype=np.int64)
        if not self.has_manifest:
            return None
        lengths: IntArray = sample_lengths(open_shard_set(self.location, self.split)).numpy()
        return lengths


def open_tar_set(location: str | Path, split: str | None, config: DataConfig) -> TarSet:
    """Open a data set, a folder of plain tars, or tar paths with braces (`clips-{000..007}.tar`, `pipe:...`).

    Folders and tars may be local or in a bucket.

    Raises:
        UsageError: if there are no tars, one that is named is not there, `split` is set for plain tars, an epoch's
            length is unknown, the crop is too large, or every sample is a single picture.
        WorkError: if a tar's size differs from the manifest, a local tar is cut short or holds a sample that cannot be
            used, or the first sample is empty.
    """
    tar_set = _tars_of_data_set(location, split) if has_manifest(location) else _plain_tar_set(location, split)
    assert isinstance(config.reader, SequentialReaderConfig)
    num_samples = config.reader.samples_per_epoch or tar_set.num_samples
    if not num_samples:
        raise UsageError(
            f"cannot count the videos of {location} ({counted(len(tar_set.urls), 'tar')}) without reading them all; "
            "set data.reader.samples_per_epoch to their number, which may be rough: it says how long an epoch is"
        )
    first = next(samples_of(tar_set.urls[:1]), None)
    if first is None:
        raise WorkError(f"{tar_set.urls[0]} holds no samples")
    geometry = _geometry(first)
    config.check_crop(geometry)
    if tar_set.lengths and max(tar_set.lengths) == 1:
        raise UsageError(
            f"{location}: each of its {tar_set.num_samples:,} samples is one picture, not a video; name the frames of "
            "a video KEY.000.jpg, KEY.001.jpg ..., or put them into a folder of their own"
        )
    return replace(tar_set, num_samples=num_samples, geometry=geometry)


def _tars_of_data_set(location: str | Path, split: str | None) -> TarSet:
    store = open_store(location)
    manifest = read_manifest(store)
    shards = manifest.shards_of(split)
    _check_sizes(store, shards)
    counts = tuple(shard.num_samples for shard in shards)
    return TarSet(
        location=str(location),
        is_remote=is_url(location),
        name=manifest.name,
        split=split,
        classes=manifest.classes,
        urls=tuple(store.url(shard_name(shard.number, "tar")) for shard in shards),
        samples_per_tar=counts,
        num_samples=sum(counts),
        fingerprint=manifest.fingerprint(split),
        has_manifest=True,
        min_frames=manifest.min_frames,
    )


def _plain_tar_set(location: str | Path, split: str | None) -> TarSet:
    if split is not None:
        raise UsageError(f"{location} holds plain tars without a manifest, which have no splits; set split=null")
    tars = find_tars(location)
    surveys = survey_tars(tars.urls) if tars.are_local else None
    lengths = None if surveys is None else tuple(n for survey in surveys for n in survey.lengths.values())
    singles = 0 if lengths is None else lengths.count(1)
    pictures = (f"{singles:,} of {len(lengths or ()):,} samples have one picture only",) if singles else ()
    num_others = sum(len(survey.others) for survey in surveys or ())
    others = (f"{counted(num_others, 'file')} in them without a sample",) if num_others else ()
    return TarSet(
        location=str(location),
        is_remote=not tars.are_local,
        name=Path(location).name,
        split=None,
        classes=(),
        urls=tars.urls,
        samples_per_tar=None if surveys is None else tuple(len(survey.lengths) for survey in surveys),
        num_samples=len(lengths or ()),
        fingerprint=hashlib.sha256("\n".join(tars.named_sizes).encode()).hexdigest(),
        min_frames=min(lengths or (0,)),
        lengths=lengths,
        remarks=(*tars.remarks, *pictures, *others),
    )


@dataclass(eq=False)
class SequentialClipStream:
    """This rank's share of each global batch, read sequentially; fields and errors as for `ClipStream`."""

    tar_set: TarSet
    config: DataConfig
    draw: DrawClips
    _: KW_ONLY
    seed: int
    rank: int = 0
    world_size: int = 1
    start_sample: int = 0
    num_batches: int
    min_frames: int = 1
    """Videos with fewer frames are skipped."""

    def __post_init__(self) -> None:
        self._videos = len(slots_of_rank(self.config.videos_per_batch, self.rank, self.world_size))

    def __iter__(self) -> Iterator[Batch]:
        tars, workers = len(self.tar_set.urls), max(self.config.workers_of_rank, 1)
        if tars < self.world_size * workers:
            raise UsageError(
                f"{tars} tars cannot feed {self.world_size} ranks x {workers} workers; lower data.num_workers, or use "
                "data.reader.kind=indexed where there is an index"
            )
        batches = load_batches(_Results(self), None, self.config, is_remote=self.tar_set.is_remote)
        return itertools.islice(batches, self.num_batches)

    def endless(self) -> Iterator[Batch]:
        """Batches from this worker's tars."""
        stored = self.tar_set.geometry
        advice = VERIFY if self.tar_set.has_manifest else "pack the frames again, all as JPEGs of one size"
        builder, videos = BatchBuilder(self.config.crop), 0
        for number, (epoch, sample, frames) in enumerate(self._endless_samples()):
            identity = int.from_bytes(hashlib.sha256(sample["__key__"].encode()).digest()[:7], "big")
            draws = SampleDraws(self.seed, epoch, identity)
            plans = self.draw(len(frames), draws)
            views = draw_views(plans, draws, number // self._videos, self.config, stored)
            num_clips = len(plans) * self._videos
            out = builder.add(plans, views, label=label_of(sample), sample=identity, num_clips=num_clips)
            name = sample_name(sample)
            decode_clips(dict(enumerate(frames)), plans, views, out, stored=stored, name=name, advice=advice)
            videos += 1
            if videos == self._videos:
                yield builder.batch()
                builder, videos = BatchBuilder(self.config.crop), 0

    def _endless_samples(self) -> Iterator[tuple[int, dict[str, Any], list[bytes]]]:
        worker = get_worker_info()
        worker_id, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        reader, readers = self.rank * workers + worker_id, self.world_size * workers
        shuffle = cast(SequentialReaderConfig, self.config.reader).shuffle_samples
        counts = self.tar_set.samples_per_tar
        for epoch in itertools.count(self.start_sample // self.tar_set.num_samples):
            order = Stream(self.seed, Domain.ORDER, (0, 0, epoch)).permutation(len(self.tar_set.urls))
            mine = [int(i) for i in order[reader::readers]]
            urls = [self.tar_set.urls[i] for i in mine]
            expected = None if counts is None else {self.tar_set.urls[i]: counts[i] for i in mine}
            samples = samples_of(urls, expected)
            if shuffle:
                rng = random.Random(f"{self.seed} {epoch} {reader}")  # noqa: S311
                samples = wds.filters.shuffle(shuffle, rng=rng)(samples)
            found = False
            for sample in samples:
                frames = frames_of(sample)
                if len(frames) == 1 and not (self.tar_set.lengths or self.tar_set.has_manifest):
                    count(Traffic(single_pictures=1))
                if len(frames) >= self.min_frames:
                    found = True
                    yield epoch, sample, frames
            if not found:
                raise UsageError(
                    f"the {len(urls)} tars of a loader process hold no video of at least {self.min_frames} frames, "
                    "which the task needs; take longer videos or another task"
                )


class _Results(IterableDataset[WorkerResult]):
    """A stream's batches, in the form that workers send back."""

    def __init__(self, stream: SequentialClipStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[WorkerResult]:
        try:
            yield from map(worker_result, self._stream.endless())
        except UserFacingError as error:
            yield worker_result(error)


def label_of(sample: Mapping[str, Any]) -> int:
    """The sample's class number; NO_LABEL if it has no class, or only a class name."""
    try:
        return int(sample.get("cls", NO_LABEL))
    except ValueError:
        return NO_LABEL


def _geometry(sample: Mapping[str, Any]) -> tuple[int, int]:
    try:
        height, width = simplejpeg.decode_jpeg_header(frames_of(sample)[0])[:2]
    except ValueError as error:
        raise WorkError(f"{sample_name(sample)}: its first frame is no JPEG ({error})") from None
    return height, width


def _check_sizes(store: Store, shards: Sequence[ShardRecord]) -> None:
    """Raises WorkError if a tar is missing or its size is wrong; skips stores that cannot be listed."""
    if not can_list(store.location):
        return
    sizes = store.sizes()
    for shard in shards:
        name = shard_name(shard.number, "tar")
        if sizes.get(name) != shard.tar_bytes:
            found = f"has {sizes[name]} bytes" if name in sizes else "is missing"
            raise WorkError(
                f"{store.url(name)} {found}, but the manifest says {shard.tar_bytes} bytes; download or build it again"
            )

"""The sequential reader: stock WebDataset reads our shards, or tars without our index, front to back.

    tar URLs of this rank and worker -> webdataset pipeline -> samples -> chosen frames -> clips -> batch

For stores with slow range reads and for shards from other programs. It promises less than the indexed reader: a stopped
run resumes at the start of the epoch, and the order depends on ranks and workers.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, cast

import braceexpand
import simplejpeg
import webdataset as wds
from torch.utils.data import IterableDataset, get_worker_info

from shardify.errors import UsageError, UserFacingError, WorkError
from shardify.frames.jpeg import split_jpegs
from shardify.shards.format import MANIFEST_NAME, NO_LABEL, shard_name
from shardify.shards.index import MAX_TAR_PADDING_BYTES, TAR_BLOCK_BYTES
from shardify.shards.manifest import read_manifest
from shardify.shards.record import ShardRecord
from shardify.storage import open_store
from shardify.storage.locations import can_list, is_url
from shardify.storage.store import Store
from shardify.storage.webdataset_reading import teach_webdataset
from stream_train.data.batch import Batch, BatchBuilder
from stream_train.data.clips import decode_clips, draw_views
from stream_train.data.config import DataConfig, SequentialReaderConfig
from stream_train.data.order import slots_of_rank
from stream_train.data.plans import DrawClips
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
    geometry: tuple[int, int]
    """Height and width of the first frame."""

    @property
    def description(self) -> str:
        """For the user: how much data there is, and how it is read."""
        return f"{len(self.urls):,} tars, sequentially (stock WebDataset)"


def open_tar_set(location: str | Path, split: str | None, config: DataConfig) -> TarSet:
    """Open a data set, a local folder of plain tars, or tar paths with braces (`clips-{000..007}.tar`, `pipe:...`).

    Raises:
        UsageError: if there are no tars, `split` is set for plain tars, an epoch's length is unknown, or the crop is
            too large.
        WorkError: if a tar's size differs from the manifest, a local tar is cut short, or the first sample is empty.
    """
    folder, is_remote = Path(location), is_url(location)
    counts: list[int] | None
    if (is_remote and not str(location).endswith(".tar")) or (folder / MANIFEST_NAME).is_file():
        store = open_store(location)
        manifest = read_manifest(store)
        shards = manifest.shards_of(split)
        _check_sizes(store, shards)
        name, fingerprint, classes = manifest.name, manifest.fingerprint(split), manifest.classes
        urls = [store.url(shard_name(shard.number, "tar")) for shard in shards]
        counts = [shard.num_samples for shard in shards]
    else:
        if split is not None:
            raise UsageError(f"{location} holds plain tars without a manifest, which have no splits; set split=null")
        urls = _plain_tars(location)
        is_local = all("://" not in url and not url.startswith("pipe:") for url in urls)
        counts = [_count_samples(url) for url in urls] if is_local else None
        lines = [f"{Path(url).name} {Path(url).stat().st_size if is_local else 0}" for url in urls]
        name, fingerprint = folder.name, hashlib.sha256("\n".join(lines).encode()).hexdigest()
        classes = ()
    assert isinstance(config.reader, SequentialReaderConfig)
    num_samples = config.reader.samples_per_epoch or sum(counts or ())
    if not num_samples:
        raise UsageError(f"cannot count the samples of {location}; set data.reader.samples_per_epoch")
    first = next(_samples(urls[:1]), None)
    if first is None:
        raise WorkError(f"{urls[0]} holds no samples")
    geometry = _geometry(first)
    config.check_crop(geometry)
    return TarSet(
        location=str(location),
        is_remote=is_remote,
        name=name,
        split=split,
        classes=classes,
        urls=tuple(urls),
        samples_per_tar=None if counts is None else tuple(counts),
        num_samples=num_samples,
        fingerprint=fingerprint,
        geometry=geometry,
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
        builder, videos = BatchBuilder(self.config.crop), 0
        for number, (epoch, sample, frames) in enumerate(self._endless_samples()):
            identity = int.from_bytes(hashlib.sha256(sample["__key__"].encode()).digest()[:7], "big")
            draws = SampleDraws(self.seed, epoch, identity)
            plans = self.draw(len(frames), draws)
            views = draw_views(plans, draws, number // self._videos, self.config, stored)
            num_clips = len(plans) * self._videos
            out = builder.add(plans, views, label=label_of(sample), sample=identity, num_clips=num_clips)
            decode_clips(dict(enumerate(frames)), plans, views, out, stored=stored, name=_name(sample))
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
            samples = _samples(urls, expected)
            if shuffle:
                rng = random.Random(f"{self.seed} {epoch} {reader}")  # noqa: S311
                samples = wds.filters.shuffle(shuffle, rng=rng)(samples)
            found = False
            for sample in samples:
                frames = frames_of(sample)
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


def _plain_tars(location: str | Path) -> list[str]:
    if Path(location).is_dir():
        urls = sorted(map(str, Path(location).glob("*.tar")))
    else:
        urls = [url for url in braceexpand.braceexpand(str(location)) if url]
    if not urls:
        raise UsageError(f"{location} holds no .tar files; give a folder of tars or a path like clips-{{000..007}}.tar")
    return urls


def _samples(urls: list[str], expected: Mapping[str, int] | None = None) -> Iterator[dict[str, Any]]:
    """WebDataset's samples of some tars. They are counted, because WebDataset does not notice a tar that is cut short.

    Raises WorkError if a tar cannot be read, or holds fewer samples than expected.
    """
    teach_webdataset()
    for url in urls:
        count = 0
        try:
            for sample in wds.DataPipeline(wds.SimpleShardList([url]), wds.tarfile_to_samples()):
                count += 1
                yield sample
        except (OSError, tarfile.TarError, ValueError) as error:
            raise WorkError(f"{url} cannot be read ({error}); download or build it again") from None
        if expected is not None and count < expected[url]:
            raise WorkError(f"{url} gave {count} of its {expected[url]} samples; download or build it again")


def frames_of(sample: Mapping[str, Any]) -> list[bytes]:
    """A WebDataset sample's JPEG frames, in order, for both packings.

    Raises WorkError if the sample holds no frames, or its frames do not match its checksums.
    """
    name = _name(sample)
    if "mjpg" not in sample:
        frames = [sample[key] for key in sorted(sample) if key.endswith(("jpg", "jpeg"))]
    else:
        try:
            frames = list(split_jpegs(sample["mjpg"]))
        except ValueError as error:
            raise WorkError(f"{name}: {error}; download or build the shard again") from None
    if not frames:
        raise WorkError(f"{name} has neither an .mjpg member with frames nor .jpg frames; it holds {sorted(sample)}")
    try:
        record = json.loads(sample.get("json", b"{}"))
    except ValueError:
        raise WorkError(f"{name}: its .json is not JSON; download or build the shard again") from None
    checksums = record.get("frame_crc32") if isinstance(record, dict) else None
    if checksums is not None and checksums != [zlib.crc32(frame) for frame in frames]:
        raise WorkError(f"{name}: its frames do not match their checksums; download or build the shard again")
    return frames


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
        raise WorkError(f"{_name(sample)}: its first frame is no JPEG ({error})") from None
    return height, width


def _name(sample: Mapping[str, Any]) -> str:
    return f"{sample.get('__url__', 'tar')}, sample {sample.get('__key__')}"


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


def _count_samples(path: str) -> int:
    """Number of samples in a local tar, from its headers.

    `tarfile` ends silently at a damaged header or a cut. Only zeros may follow the true end, and not many:
    a tar whose space was reserved and only partly written ends in many.

    Raises:
        UsageError: if there is no such file.
        WorkError: if it is no tar, is damaged, or is cut short.
    """
    try:
        with Path(path).open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            keys = {wds.tariterators.base_plus_ext(member.name)[0] for member in tar if member.isreg()}
            end = tar.offset
            file.seek(end)
            complete = len(last := file.read(TAR_BLOCK_BYTES)) == TAR_BLOCK_BYTES and not any(last)
            complete = complete and Path(path).stat().st_size - end <= MAX_TAR_PADDING_BYTES
            while complete and (piece := file.read(1 << 20)):
                complete = not any(piece)
    except FileNotFoundError:
        raise UsageError(f"there is no tar {path}") from None
    except (OSError, tarfile.TarError) as error:
        raise WorkError(f"{path} cannot be read as a tar ({error})") from None
    if not complete:
        raise WorkError(f"{path} is cut short or damaged: no whole tar ends at byte {end}; download it again")
    return len(keys - {None})

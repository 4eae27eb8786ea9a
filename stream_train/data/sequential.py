"""The stock path: any of these shards, or tars without our index, read front to back by WebDataset.

    tar URLs of this rank and worker -> webdataset pipeline -> samples -> chosen frames -> clips -> batch

Made for stores with poor range reads and for shards of other makers. The clips code is the one of the indexed path.
What it does not promise: a stop resumes at the start of the epoch, and the order depends on ranks and workers.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import braceexpand
import simplejpeg
import webdataset as wds
from torch.utils.data import IterableDataset, get_worker_info

from shardify.catalogs.base import NO_LABEL
from shardify.errors import UsageError, UserFacingError, WorkError
from shardify.frames.jpeg import split_jpegs
from shardify.shards.format import MANIFEST_NAME, shard_name
from shardify.shards.index import TAR_BLOCK_BYTES
from shardify.shards.manifest import read_manifest
from shardify.shards.record import ShardRecord
from shardify.storage import open_store
from shardify.storage.locations import can_list, is_url
from shardify.storage.store import Store
from shardify.storage.webdataset_reading import teach_webdataset
from stream_train.data.batch import Batch
from stream_train.data.clips import ClipDecoder, draw_views
from stream_train.data.config import DataConfig, SequentialReaderConfig
from stream_train.data.fetching import DrawClips
from stream_train.data.loader import BatchBuilder, check_ranks, num_workers
from stream_train.data.order import slots_of_rank
from stream_train.data.workers import Delivery, delivered, delivery, make_loader
from stream_train.draws import Domain, SampleDraws, Stream


@dataclass(frozen=True, kw_only=True)
class TarSet:
    """Tars to be read front to back."""

    location: str
    name: str
    """The manifest's name for the data set, or the last part of a location without one."""
    split: str | None
    urls: tuple[str, ...]
    samples_per_tar: tuple[int, ...] | None
    """Known where there is a manifest or the tars are local; a tar that gives fewer is damaged."""
    num_samples: int
    """Videos counted as one epoch."""
    fingerprint: str
    geometry: tuple[int, int]
    """Height and width of the first frame."""


def open_tar_set(location: str | Path, split: str | None, config: SequentialReaderConfig) -> TarSet:
    """Open a data set, a local folder of plain tars, or tar paths with braces (`clips-{000..007}.tar`, `pipe:...`).

    Raises:
        UsageError: if there are no tars, a split is asked of plain tars, or an epoch's length is unknown.
        WorkError: if a tar has another size than the manifest says, a local one is cut short, or the first sample holds
            no frames.
    """
    folder = Path(location)
    if (is_url(location) and not str(location).endswith(".tar")) or (folder / MANIFEST_NAME).is_file():
        store = open_store(location)
        manifest = read_manifest(store)
        name = manifest.name
        shards = manifest.shards_of(split)
        _check_sizes(store, shards)
        urls = [store.url(shard_name(shard.number, "tar")) for shard in shards]
        counts: list[int] | None = [shard.num_samples for shard in shards]
        fingerprint = manifest.fingerprint(split)
    else:
        name = folder.name
        if split is not None:
            raise UsageError(f"{location} holds plain tars without a manifest, which have no splits; set split=null")
        pattern = (
            sorted(map(str, folder.glob("*.tar"))) if folder.is_dir() else list(braceexpand.braceexpand(str(location)))
        )
        urls = [url for url in pattern if url]
        if not urls:
            raise UsageError(
                f"{location} holds no .tar files; give a folder of tars or a path like clips-{{000..007}}.tar"
            )
        counts = [_count_samples(url) for url in urls] if all(map(_is_local, urls)) else None
        sizes = [Path(url).stat().st_size for url in urls] if counts else [0] * len(urls)
        told = "\n".join(f"{Path(url).name} {size}" for url, size in zip(urls, sizes, strict=True))
        fingerprint = hashlib.sha256(told.encode()).hexdigest()
    num_samples = config.samples_per_epoch or (sum(counts) if counts else 0)
    if not num_samples:
        raise UsageError(f"cannot count the samples of {location}; set data.reader.samples_per_epoch")
    first = next(_samples(urls[:1]), None)
    if first is None:
        raise WorkError(f"{urls[0]} holds no samples")
    return TarSet(
        location=str(location),
        name=name,
        split=split,
        urls=tuple(urls),
        samples_per_tar=None if counts is None else tuple(counts),
        num_samples=num_samples,
        fingerprint=fingerprint,
        geometry=_geometry(first),
    )


class SequentialClipStream:
    """This rank's share of each global batch, read sequentially; the sibling of `ClipStream`."""

    def __init__(
        self,
        tar_set: TarSet,
        config: DataConfig,
        draw: DrawClips,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        start_sample: int = 0,
        num_batches: int,
    ) -> None:
        check_ranks(config, world_size)
        self._config = config
        self._num_batches = num_batches
        self._is_remote = is_url(tar_set.location)
        self._samples = _SequentialSamples(
            tar_set,
            config,
            draw,
            seed=seed,
            videos=len(slots_of_rank(config.videos_per_batch, rank, world_size)),
            share=(rank, world_size),
            first_epoch=start_sample // tar_set.num_samples,
        )

    def __iter__(self) -> Iterator[Batch]:
        workers = num_workers(self._config)
        self._samples.check_shares(max(workers, 1))
        loader = make_loader(
            self._samples,
            num_workers=workers,
            prefetch_batches=self._config.prefetch_batches,
            is_remote=self._is_remote,
        )
        return itertools.islice(delivered(loader), self._num_batches)


class _SequentialSamples(IterableDataset[Delivery]):
    """Endless batches of one rank; each worker reads its own tars."""

    def __init__(
        self,
        tar_set: TarSet,
        config: DataConfig,
        draw: DrawClips,
        *,
        seed: int,
        videos: int,
        share: tuple[int, int],
        first_epoch: int,
    ) -> None:
        self._tar_set = tar_set
        self._config = config
        self._draw = draw
        self._seed = seed
        self._videos = videos
        self._rank, self._world_size = share
        self._first_epoch = first_epoch

    def check_shares(self, workers: int) -> None:
        """Raises UsageError if some worker would have no tar to read."""
        tars, readers = len(self._tar_set.urls), self._world_size * workers
        if tars < readers:
            raise UsageError(
                f"{tars} tars cannot feed {self._world_size} ranks x {workers} workers; lower data.num_workers, or use "
                "data.reader.kind=indexed where there is an index"
            )

    def __iter__(self) -> Iterator[Delivery]:
        try:
            yield from map(delivery, self._batches())
        except UserFacingError as error:
            yield delivery(error)

    def _batches(self) -> Iterator[Batch]:
        decoder = ClipDecoder(self._config, self._tar_set.geometry)
        builder, videos = BatchBuilder(self._config), 0
        for number, (epoch, sample) in enumerate(self._endless()):
            frames = frames_of(sample)
            identity = int.from_bytes(hashlib.sha256(sample["__key__"].encode()).digest()[:7], "big")
            draws = SampleDraws(self._seed, epoch, identity)
            plans = self._draw(len(frames), draws)
            views = draw_views(plans, draws, number // self._videos, self._config, self._tar_set.geometry)
            out = builder.add(
                plans, views, label=label_of(sample), sample=identity, num_clips=len(plans) * self._videos
            )
            decoder.decode(
                dict(enumerate(frames)), plans, views, out, f"{sample['__url__']}, sample {sample['__key__']}"
            )
            videos += 1
            if videos == self._videos:
                yield builder.batch()
                builder, videos = BatchBuilder(self._config), 0

    def _endless(self) -> Iterator[tuple[int, dict[str, Any]]]:
        worker = get_worker_info()
        worker_id, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        reader, readers = self._rank * workers + worker_id, self._world_size * workers
        shuffle = cast(SequentialReaderConfig, self._config.reader).shuffle_samples
        counts = self._tar_set.samples_per_tar
        for epoch in itertools.count(self._first_epoch):
            order = Stream(self._seed, Domain.ORDER, (0, 0, epoch)).permutation(len(self._tar_set.urls))
            mine = [int(i) for i in order[reader::readers]]
            urls = [self._tar_set.urls[i] for i in mine]
            expected = None if counts is None else {self._tar_set.urls[i]: counts[i] for i in mine}
            samples = _samples(urls, expected)
            if shuffle:
                rng = random.Random(f"{self._seed} {epoch} {reader}")  # noqa: S311
                samples = wds.filters.shuffle(shuffle, rng=rng)(samples)
            for sample in samples:
                yield epoch, sample


def _samples(urls: list[str], expected: Mapping[str, int] | None = None) -> Iterator[dict[str, Any]]:
    """WebDataset's samples of some tars, counted: WebDataset itself ends a cut tar silently.

    Raises:
        WorkError: if a tar cannot be read, or gives fewer samples than expected.
    """
    teach_webdataset()
    for url in urls:
        count = 0
        try:
            for sample in wds.DataPipeline(wds.SimpleShardList([url]), wds.tarfile_to_samples()):
                count += 1
                yield sample
        except (OSError, tarfile.TarError, ValueError) as error:
            raise WorkError(f"{url} cannot be read ({error}); fetch or build it again") from None
        if expected is not None and count < expected[url]:
            raise WorkError(f"{url} gave {count} samples, but {expected[url]} were expected; fetch or build it again")


def frames_of(sample: Mapping[str, Any]) -> list[bytes]:
    """A WebDataset sample's JPEG frames, in order, from either packing.

    Raises:
        WorkError: if the sample holds no frames, or bytes that do not match its own record.
    """
    origin = _origin(sample)
    if "mjpg" not in sample:
        names = sorted(name for name in sample if name.endswith(("jpg", "jpeg")))
        if not names:
            raise WorkError(
                f"{origin} has neither an .mjpg member nor .jpg frames; it holds {', '.join(sorted(sample))}"
            )
        frames = [sample[name] for name in names]
    else:
        try:
            frames = list(split_jpegs(sample["mjpg"]))
        except ValueError as error:
            raise WorkError(f"{origin}: {error}; fetch or build the shard again") from None
        if not frames:
            raise WorkError(f"{origin} has no frames")
    try:
        record = json.loads(sample.get("json", b"{}"))
    except ValueError:
        raise WorkError(f"{origin}: its .json is not JSON; fetch or build the shard again") from None
    checksums = record.get("frame_crc32") if isinstance(record, dict) else None
    if checksums is not None and checksums != [zlib.crc32(frame) for frame in frames]:
        raise WorkError(f"{origin}: its frames do not match their checksums; fetch or build the shard again")
    return frames


def label_of(sample: Mapping[str, Any]) -> int:
    """The sample's class number; NO_LABEL if it has none, or a name: only whoever made the tars could number those."""
    try:
        return int(sample.get("cls", NO_LABEL))
    except ValueError:
        return NO_LABEL


def _geometry(sample: Mapping[str, Any]) -> tuple[int, int]:
    try:
        height, width = simplejpeg.decode_jpeg_header(frames_of(sample)[0])[:2]
    except ValueError as error:
        raise WorkError(f"{_origin(sample)}: its first frame is no JPEG ({error})") from None
    return height, width


def _origin(sample: Mapping[str, Any]) -> str:
    return f"{sample.get('__url__', 'tar')}, sample {sample.get('__key__')}"


def _check_sizes(store: Store, shards: Sequence[ShardRecord]) -> None:
    """Raises WorkError if a tar is missing or has another size; of what cannot be listed only reading it tells."""
    if not can_list(store.location):
        return
    sizes = store.sizes()
    for shard in shards:
        name = shard_name(shard.number, "tar")
        if sizes.get(name) != shard.tar_bytes:
            found = f"has {sizes[name]} bytes" if name in sizes else "is missing"
            raise WorkError(
                f"{store.url(name)} {found}, but the manifest says {shard.tar_bytes} bytes; fetch or build it again"
            )


def _is_local(url: str) -> bool:
    return "://" not in url and not url.startswith("pipe:")


def _count_samples(path: str) -> int:
    """Number of samples in a local tar, from its headers alone.

    `tarfile` takes a damaged header, like the end of the file, for the end of the tar. A true end is followed by
    nothing but zeros.

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
            while complete and (piece := file.read(1 << 20)):
                complete = not any(piece)
    except FileNotFoundError:
        raise UsageError(f"there is no tar {path}") from None
    except (OSError, tarfile.TarError) as error:
        raise WorkError(f"{path} cannot be read as a tar ({error})") from None
    if not complete:
        raise WorkError(f"{path} is cut short or damaged: no whole tar ends at byte {end}; fetch it again")
    return len(keys - {None})

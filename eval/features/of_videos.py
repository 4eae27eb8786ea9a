"""Feature vectors of your own videos, by a checkpoint, in one file.

In: a :class:`VideoFeaturesConfig`. Out: names, labels and vectors as `.npz`, `.safetensors` or `.parquet`. Videos first
become shards (kept or temporary), so their frames are decoded exactly as in training.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tensorboard.plugins.projector.metadata import PROJECTOR_FILENAME

from eval.features.config import VideoFeaturesConfig
from eval.features.extraction import backbone_rows, extract, layer_rows
from eval.features.projector import write_projector
from eval.features.vectors import check_file_name, write_vectors
from eval.judging.config import EvalDataConfig
from eval.judging.networks import Network, open_checkpoint
from eval.judging.samples import Samples, open_samples
from eval.judging.setting import Say
from eval.pictures.embedding import embedding_figure
from shardify.arrays import ImageArray
from shardify.build.config import BuildConfig
from shardify.build.run import build
from shardify.catalogs import read_catalog
from shardify.catalogs.folder import FlatConfig, FolderConfig
from shardify.catalogs.scanning import scan_files
from shardify.errors import UsageError
from shardify.frames.ffmpeg_command import FramesConfig
from shardify.inspection.summary import sample_paths
from shardify.shards.format import MANIFEST_NAME, REJECTED_NAME
from shardify.storage import open_store
from shardify.storage.locations import is_url, split_location
from shardify.storage.work_folder import require_writable, uploaded, work_folder
from stream_train.data.clips import decode_frame
from stream_train.data.reader import FrameReader
from stream_train.training.distributed import World, joined_world
from stream_train.training.precision import place_model


def write_features(config: VideoFeaturesConfig, say: Say) -> dict[str, Any]:
    """Extract the vectors and write them; returns a summary.

    Raises:
        UsageError: if source, checkpoint or `out` cannot be used, or no video can be decoded.
        WorkError: if a shard or the checkpoint is damaged, or the disk is full.
    """
    check_file_name(config.out)
    if config.picture is not None and not config.picture.endswith(".png"):
        raise UsageError(f"picture = {config.picture!r}: the picture is a PNG; give it a name that ends in .png")
    if config.picture is not None and config.windows is not None:
        raise UsageError("a picture shows whole videos; leave out picture or windows")
    if config.projector is not None and config.windows is not None:
        raise UsageError("the projector shows whole videos; leave out projector or windows")
    network = open_checkpoint(config.checkpoint, name="", key="checkpoint", crop=config.crop, crop_key="crop")
    with joined_world(config.device, config.threads) as world:
        speak = world.on_main(say)
        folders = [split_location(file)[0] for file in (config.out, config.picture) if file]
        for folder in [*folders, *filter(None, [config.projector])]:
            world.do_on_main(partial(require_writable, folder))
        resize = config.resize or network.metadata.get("data.resize")
        data = EvalDataConfig(crop=network.crop, resize=resize, num_workers=config.num_workers)
        with _samples(config, network.metadata, data, world, speak) as (samples, num_rejected):
            if config.picture is not None and len(samples) < 2:
                raise UsageError("a picture needs at least two videos; leave out picture")
            return _write(config, samples, data, network, world) | {"num_rejected": num_rejected}


def _write(
    config: VideoFeaturesConfig, samples: Samples, data: EvalDataConfig, network: Network, world: World
) -> dict[str, Any]:
    backbone = network.build(seed=0)
    place_model(backbone, world.device)
    backbone.eval()
    layer = config.layer or config.features.layer
    vectors = extract(
        layer_rows(backbone, layer) if config.layer else backbone_rows(backbone, config.features.layer),
        samples,
        config.features,
        data=data,
        max_clips=config.max_clips,
        world=world,
        precision=config.precision,
        metadata={
            **config.features.model_dump(mode="json"),
            "layer": layer,
            "windows": config.windows.model_dump(mode="json") if config.windows else None,
            "crop": data.crop,
            "resize": data.resize,
            "data_set": samples.shard_set.name,
            "split": samples.split,
            "fingerprint": samples.shard_set.fingerprint,
            "network": network.config.model_dump(mode="json"),
            "weights": network.weights,
            "pretraining": network.pretraining,
        },
        windows=config.windows,
    )

    def write() -> None:
        with uploaded(config.out) as path:
            write_vectors(path, vectors, dtype=config.dtype)

    def draw() -> None:
        assert config.picture is not None
        with uploaded(config.picture) as path:
            embedding_figure(vectors.values, vectors.labels, vectors.classes, _middle_frames(samples), path)

    def write_for_projector() -> None:
        assert config.projector is not None
        with work_folder(config.projector, last=(PROJECTOR_FILENAME,)) as folder:
            write_projector(folder.path, vectors, _middle_frames(samples))
            folder.publish()

    world.do_on_main(write)
    if config.picture is not None:
        world.do_on_main(draw)
    if config.projector is not None:
        world.do_on_main(write_for_projector)
    summary = {"out": config.out, "num_videos": len(samples), "num_dimensions": vectors.values.shape[1]}
    return summary | ({"num_windows": len(vectors)} if config.windows else {})


def _middle_frames(samples: Samples) -> Callable[[int], ImageArray]:
    """A function that gives the middle frame of a sample, by its position."""
    reader = FrameReader(samples.shard_set)

    def show(number: int) -> ImageArray:
        middle = reader.entry(number).num_frames // 2
        jpeg = reader.read(number, [middle])[middle]
        return decode_frame(jpeg, samples.shard_set.geometry, samples.keys[number])

    return show


@contextmanager
def _samples(
    config: VideoFeaturesConfig, metadata: Mapping[str, Any], data: EvalDataConfig, world: World, say: Say
) -> Iterator[tuple[Samples, int]]:
    """The samples of the source, and the number of rejected videos."""
    if is_dataset(config.source):
        yield open_samples(config.source, config.split, data), 0
        return
    if config.split is not None:
        raise UsageError(
            f"{config.source} holds no {MANIFEST_NAME}; only data sets of shards have splits, leave it out"
        )
    source = _source_of(config)
    with TemporaryDirectory(prefix="video-features-") as temporary:
        folder: str = world.from_main(config.shards or temporary)
        if world.is_main:
            frames = FramesConfig(height=metadata["data_set.height"], width=metadata["data_set.width"])
            build(
                BuildConfig(
                    source=source,
                    out=folder,
                    frames=frames,
                    min_frames=1,
                    max_rejected_share=1.0,
                    workers=config.build_workers,
                )
            )
        world.from_main(None)  # the other ranks wait for the shards
        rejected = [json.loads(line) for line in open_store(folder).read(REJECTED_NAME).decode().splitlines()]
        for line in rejected:
            say(f"{line['path']}: left out, {line['reason']}")
        samples = open_samples(folder, None, data)
        catalog = read_catalog(source)
        paths = {video.key: video.path for video in catalog.videos}
        if catalog.archived:  # which videos they hold is known only from the shards
            paths = dict(zip(samples.keys, sample_paths(samples.shard_set.store), strict=True))
        yield replace(samples, keys=tuple(paths[key] for key in samples.keys)), len(rejected)


def is_dataset(source: str) -> bool:
    """Whether a folder or URL holds shards. Raises UsageError if it is no folder."""
    if not is_url(source) and not Path(source).is_dir():
        reason = "is a file" if Path(source).exists() else "does not exist"
        raise UsageError(f"{source} {reason}; give a folder of videos or of shards")
    return open_store(source).exists(MANIFEST_NAME)


def _source_of(config: VideoFeaturesConfig) -> FolderConfig | FlatConfig:
    labelled = config.labels == "folder"
    if config.labels == "auto":
        videos = scan_files(config.source).videos
        labelled = bool(videos) and all("/" in path for path in videos)
    if labelled:
        return FolderConfig(kind="folder", videos=config.source)
    return FlatConfig(kind="flat", videos=config.source)

"""Pictures of what networks look at: guided backpropagation on test videos (Figure 4).

In: a config's networks with their trained heads, and its test split. Out: a PNG and a short video.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eval.config import EvalConfig
from eval.evaluations.guided_backpropagation import guided_gradient, saliency_maps
from eval.evaluations.retrieval_rows import class_name, spread_over_classes
from eval.evaluations.saliency import SALIENCY, networks_to_explain
from eval.judging.config import CheckpointWeights
from eval.judging.networks import entry_of
from eval.judging.samples import Samples, open_samples
from eval.judging.setting import Say
from eval.pictures.saliency import SaliencyBlock, SaliencyRow, saliency_figure, saliency_movie
from eval.results.rows import Row
from shardify.errors import UsageError
from shardify.storage.locations import join_location, split_location
from shardify.storage.work_folder import work_folder
from stream_train.data.batch import Batch
from stream_train.data.device_ops import prepare_clips
from stream_train.data.evaluation_pass import each_video_whole
from stream_train.data.plans import ClipPlan
from stream_train.draws import SampleDraws
from stream_train.tasks.base import ClipModel
from stream_train.training.distributed import World
from stream_train.training.exports import NETWORK_NAME, load_model
from stream_train.training.initial_weights import export_location
from stream_train.training.metrics import shown_names
from stream_train.training.precision import place_model
from stream_train.transformations.subsequences import num_starts, plan_of, subsequence

PICTURE_NAME = "saliency.png"
MOVIE_NAME = "saliency.mp4"


@dataclass(frozen=True, kw_only=True)
class MiddleClip:
    """The clip in the middle of a video; a `DrawClips`."""

    stride: int

    def __call__(self, num_frames: int, _: SampleDraws) -> tuple[ClipPlan, ...]:
        start = (num_starts(num_frames, self.stride) - 1) // 2
        return (plan_of(subsequence(start, num_frames, self.stride)),)


def draw_saliency(config: EvalConfig, world: World, say: Say) -> list[Row]:
    """Draw the picture and the video on the main process and print their locations; returns no rows.

    Raises:
        UsageError: if a network has no heads to explain, or a video does not exist.
        WorkError: if a file is damaged, or the disk is full.
    """
    if not world.is_main:
        return []
    section = config.saliency
    samples = open_samples(config.test_shards or config.shards, config.splits[0].test, config.data)
    positions = chosen_videos(samples, section.videos, section.num_videos)
    models = {name: open_model(name, config) for name in explained_networks(config)}
    blocks = []
    for position in positions:
        (batch,) = each_video_whole(
            samples.shard_set,
            config.data,
            MiddleClip(stride=section.stride),
            positions=samples.positions[position : position + 1],
            max_clips=1,
        )
        rows = tuple(explain(name, *model, batch, world) for name, model in models.items())
        blocks.append(
            SaliencyBlock(
                title=f"{class_name(samples, position)} ({samples.keys[position]})",
                frames=batch.frames[0].numpy(),
                indices=batch.indices[0].numpy(),
                rows=rows,
            )
        )
    with work_folder(join_location(config.out, SALIENCY.name)) as folder:
        saliency_figure(blocks, folder.path / PICTURE_NAME)
        saliency_movie(blocks, folder.path / MOVIE_NAME)
        folder.publish()
    say(f"{folder.location_of(PICTURE_NAME)}, {folder.location_of(MOVIE_NAME)}")
    return []


def explained_networks(config: EvalConfig) -> list[str]:
    """The names of the networks to show. Raises UsageError if there are none, or one has no heads."""
    names = networks_to_explain(config)
    if not names:
        raise UsageError("saliency explains networks that were trained; networks has no entry of kind checkpoint")
    for name in names:
        if not isinstance(entry_of(name, config.networks), CheckpointWeights):
            raise UsageError(f"networks.{name} has no trained head whose answer could be explained; name checkpoints")
    return names


def open_model(name: str, config: EvalConfig) -> tuple[ClipModel, dict[str, Any]]:
    """A network with its heads and the metadata of its export."""
    entry = entry_of(name, config.networks)
    assert isinstance(entry, CheckpointWeights)
    place = join_location(split_location(export_location(entry.path))[0], NETWORK_NAME)
    model, metadata = load_model(place)
    if metadata["crop"] != config.data.crop and model.backbone.fully_connected is not None:
        raise UsageError(
            f"{place} was trained on crops of {metadata['crop']} pixels, but data.crop is "
            f"{config.data.crop}; set data.crop={metadata['crop']}"
        )
    return model, metadata


def chosen_videos(samples: Samples, keys: tuple[str, ...], count: int) -> list[int]:
    """Positions of the videos to show. Raises UsageError if a key is not in the split."""
    unknown = [key for key in keys if key not in samples.keys]
    if unknown:
        raise UsageError(
            f"split {samples.split or 'all'} has no video {unknown[0]!r}; keys look like {samples.keys[0]!r} "
            "(shardify inspect lists them)"
        )
    if keys:
        return [samples.keys.index(key) for key in keys]
    return spread_over_classes(samples.labels, count)


def explain(name: str, model: ClipModel, metadata: dict[str, Any], batch: Batch, world: World) -> SaliencyRow:
    """A network's winning class on a clip, and its map, for its first head: motion, or action."""
    head = next(iter(model.heads))
    place_model(model, world.device)
    clips = prepare_clips(batch.to(world.device))

    def logits_of(inputs: Tensor) -> Tensor:
        logits: Tensor = model(inputs)[head]
        return logits

    maps = saliency_maps(guided_gradient(logits_of, clips))[0].cpu().numpy()
    with torch.inference_mode():
        probabilities = torch.softmax(logits_of(clips)[0].float(), dim=0)
    winner = int(probabilities.argmax())
    names = shown_names(metadata.get("class_names", {}).get(head, []))
    answer = names[winner] if winner < len(names) else f"{head} {winner}"
    return SaliencyRow(name=name, says=f"{answer} {float(probabilities[winner]):.0%}", maps=maps)

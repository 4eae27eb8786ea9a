"""Feature vectors of videos: a frozen network's features, or pixel statistics, averaged over some clips.

In: a split and a network. Out: :class:`eval.features.vectors.Vectors`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn

from eval.features.config import FeatureConfig, Layer, WindowsConfig
from eval.features.trivial import colour_features, difference_features
from eval.features.vectors import Vectors
from eval.features.windows import WindowClips
from eval.judging.samples import Samples
from eval.judging.setting import Setting, weights_of
from eval.judging.subsequences import EvenClips
from eval.judging.testing import RowsOf, per_video, per_video_means
from shardify.errors import UsageError
from stream_train.data.batch import Batch
from stream_train.data.config import DataConfig
from stream_train.data.device_ops import prepare_clips
from stream_train.networks.base import Backbone
from stream_train.training.config import Precision
from stream_train.training.distributed import World
from stream_train.training.precision import place_model

TRIVIAL: dict[str, Callable[[Tensor], Tensor]] = {"colour": colour_features, "difference": difference_features}


def features_of(setting: Setting, samples: Samples, config: FeatureConfig) -> Vectors:
    """The vectors of samples, by the setting's network (its seed draws random weights) or its trivial features."""
    trivial = setting.trivial
    metadata: dict[str, Any] = {
        **config.model_dump(mode="json"),
        "crop": setting.data.crop,
        "resize": setting.data.resize,
        "data_set": samples.shard_set.name,
        "split": samples.split,
        "fingerprint": samples.shard_set.fingerprint,
        "network": setting.name,
        "weights": weights_of(setting),
    }
    if trivial is not None:
        metadata["layer"] = trivial.features
        rows_of = trivial_rows(TRIVIAL[trivial.features])
    else:
        backbone = setting.network.build(setting.seed)
        place_model(backbone, setting.world.device)
        rows_of = backbone_rows(backbone.eval(), config.layer)
    return extract(
        rows_of,
        samples,
        config,
        data=setting.data,
        max_clips=setting.config.data.max_test_clips,
        world=setting.world,
        precision=setting.config.precision,
        metadata=metadata,
    )


def extract(
    rows_of: RowsOf,
    samples: Samples,
    config: FeatureConfig,
    *,
    data: DataConfig,
    max_clips: int,
    world: World,
    precision: Precision,
    metadata: dict[str, Any],
    windows: WindowsConfig | None = None,
) -> Vectors:
    """Average the features over the clips of each sample, or of each window of each sample."""
    positions = samples.positions
    how: dict[str, Any] = {"positions": positions, "max_clips": max_clips, "world": world, "precision": precision}
    if windows is None:
        clips = EvenClips(stride=config.stride, count=config.clips_per_video)
        values = per_video_means(rows_of, samples.shard_set, data, clips, dtype=np.float32, **how)
        return Vectors(
            keys=samples.keys, labels=samples.labels, values=values, classes=samples.classes, metadata=metadata
        )
    along = WindowClips.of(samples, windows, config)
    values = per_video(
        rows_of, samples.shard_set, data, along, keep=along.means, counts=along.counts(), dtype=np.float32, **how
    )
    return Vectors(
        keys=tuple(np.repeat(np.array(samples.keys, dtype=object), along.counts()).tolist()),
        labels=np.repeat(samples.labels, along.counts()),
        values=values,
        classes=samples.classes,
        metadata=metadata,
        seconds=along.seconds(),
    )


def layer_rows(backbone: Backbone, name: str) -> RowsOf:
    """A function from a batch to the output of any module of the network, averaged over time and space.

    Raises UsageError if there is no such module.
    """
    modules = {module_name: module for module_name, module in backbone.named_modules() if module_name}
    if name not in modules:
        close = difflib.get_close_matches(name, modules, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise UsageError(f"layer = {name}: the network has no such module{hint}; it has {', '.join(modules)}")
    outputs: list[Tensor] = []

    def keep(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        """Averages at once: the next layer may change the output in place."""
        output = output.float()
        outputs.append(output.flatten(start_dim=2).mean(dim=2) if output.ndim > 2 else output.clone())

    modules[name].register_forward_hook(keep)

    def rows_of(batch: Batch) -> tuple[Tensor, Tensor]:
        outputs.clear()
        backbone(prepare_clips(batch))
        if not outputs:
            raise UsageError(f"layer = {name}: the network does not use this module on its own; give another")
        return outputs[-1], batch.sample

    return rows_of


def backbone_rows(backbone: Backbone, layer: Layer) -> RowsOf:
    """A function from a batch to the features of its clips: pooled last convolution, or the last feature."""

    def rows_of(batch: Batch) -> tuple[Tensor, Tensor]:
        clips = prepare_clips(batch)
        if layer == "pooled":
            return backbone.pooled(backbone.conv_features(clips).float()), batch.sample
        return backbone(clips).float(), batch.sample

    return rows_of


def trivial_rows(function: Callable[[Tensor], Tensor]) -> RowsOf:
    """A function from a batch to `function` of its uint8 (N, T, H, W, 3) frames."""
    return lambda batch: (function(batch.frames), batch.sample)

"""A trained network for other programs: load it, cut clips from a video, get vectors.

In: the location of a network, and video files. Out: a :class:`Backbone`, its input, or vectors.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shardify.errors import UsageError, WorkError
from shardify.frames.decoding import VideoError, decode_video
from shardify.frames.ffmpeg_command import FramesConfig
from stream_train.data.clips import centre_view, decode_clips
from stream_train.data.config import ClipConfig
from stream_train.networks.base import Backbone
from stream_train.training.exports import load_backbone
from stream_train.training.hub import HUB_SCHEME, downloaded_from_hub
from stream_train.training.initial_weights import export_location
from stream_train.transformations.subsequences import even_starts, plan_of, subsequence

USUAL_FRAMES = (128, 171)
"""Height and width of frames, for a network that does not say on which it was trained."""


def from_pretrained(location: str | Path) -> Backbone:
    """Load a trained network, in evaluation mode, on the CPU.

    Args:
        location: the folder of a run or of an export, a `backbone.safetensors`, the URL of either (`s3://...`), or a
            repository of the Hugging Face Hub: `hf://user/name`, `hf://user/name@revision`.

    Returns:
        The backbone: clips (N, 3, T, H, W) in [-1, 1] -> features (N, num_features).

    Raises:
        UsageError: if there is no such network.
        WorkError: if it is damaged, or cannot be downloaded.
    """
    if str(location).startswith(HUB_SCHEME):
        return load_backbone(downloaded_from_hub(str(location)), name=str(location))[0]
    return load_backbone(export_location(str(location)))[0]


def clips_of(video: str | Path, network: Backbone, *, stride: int = 4, count: int = 10) -> Tensor:
    """Clips at even distances over a video, cropped at the centre, as the network saw them in training.

    Args:
        video: a file that ffmpeg reads.
        network: gives the size of the frames and the crop.
        stride: frames from one frame of a clip to the next; less for a video that is too short.
        count: clips; less for a short video.

    Returns:
        float32 (clips, 3, T, crop, crop) in [-1, 1].

    Raises:
        UsageError: if the video cannot be decoded.
    """
    trained = network.metadata
    height, width = trained.get("data_set.height", USUAL_FRAMES[0]), trained.get("data_set.width", USUAL_FRAMES[1])
    config = ClipConfig(crop=network.crop, resize=trained.get("data.resize"))
    config.check_crop((height, width))
    try:
        jpegs = decode_video(video, FramesConfig(height=height, width=width)).jpegs
    except VideoError as error:
        raise UsageError(f"{video}: {error.reason}") from None
    plans = [plan_of(subsequence(int(s), len(jpegs), stride)) for s in even_starts(len(jpegs), stride, count)]
    frames = np.empty((len(plans), network.num_frames, network.crop, network.crop, 3), dtype=np.uint8)
    views = [centre_view(config, (height, width))] * len(plans)
    decode_clips(dict(enumerate(jpegs)), plans, views, frames, stored=(height, width), name=str(video))
    return torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0


def embed(
    videos: Iterable[str | Path], network: Backbone, *, stride: int = 4, count: int = 10
) -> npt.NDArray[np.float32]:
    """One vector for each video: the pooled output of the last convolution, averaged over the clips of `clips_of`.

    The network's device computes. The command `video-eval features` gives the same vectors, for many videos faster.

    Returns:
        float32 (videos, network.conv_dim[0]).
    """
    device = next(network.parameters()).device
    rows = []
    with torch.inference_mode():
        for video in videos:
            clips = clips_of(video, network, stride=stride, count=count).to(device)
            rows.append(network.pooled(network.conv_features(clips)).float().mean(dim=0).cpu().numpy())
    vectors = np.stack(rows) if rows else np.empty((0, network.conv_dim[0]), dtype=np.float32)
    if not np.isfinite(vectors).all():
        raise WorkError("a vector holds NaN or infinity; the network's weights have diverged, give other ones")
    return vectors

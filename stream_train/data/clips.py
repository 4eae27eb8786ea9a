"""Samples to clips: decode the chosen frames of a video once each, crop them, and say how the device is to augment.

In: a video's JPEG bytes by frame index, its clip plans and views. Out: uint8 (clips, T, crop, crop, 3) RGB, written in
place. Frames that several clips share are decoded once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import simplejpeg
import torch

from shardify.arrays import ImageArray
from shardify.errors import UsageError, WorkError
from stream_train.data.config import ClipConfig
from stream_train.draws import Purpose, SampleDraws, Stream
from stream_train.transformations.sampling import ClipPlan


@dataclass(frozen=True, kw_only=True)
class ClipView:
    """How a clip's frames are looked at."""

    size: tuple[int, int]
    """Height and width that frames are resized to before the crop."""
    top: int
    left: int
    flip: bool
    colour: npt.NDArray[np.float32] | None
    """float32 (T, 4), see stream_train.data.batch.COLOUR_FIELDS."""


def check_crop(config: ClipConfig, geometry: tuple[int, int]) -> None:
    """Raises UsageError if the crop does not fit into the frames, at their smallest."""
    low = config.scale[0] if config.scale else 1.0
    for height, width in (_scaled(config.resize or geometry, low), _test_size(config, geometry)):
        if config.crop > min(height, width):
            raise UsageError(
                f"crop = {config.crop} does not fit into frames of {height}x{width}; "
                f"set data.crop to at most {min(height, width)}"
            )


def centre_view(config: ClipConfig, geometry: tuple[int, int]) -> ClipView:
    """The centre crop, unflipped, in its own colours: how clips are looked at outside training."""
    size = _test_size(config, geometry)
    top, left = ((side - config.crop) // 2 for side in size)
    return ClipView(size=size, top=top, left=left, flip=False, colour=None)


def draw_views(
    plans: Sequence[ClipPlan], draws: SampleDraws, batch: int, config: ClipConfig, geometry: tuple[int, int]
) -> list[ClipView]:
    """Draw scale, crop, flip and colour for each clip of a video.

    Args:
        plans: the video's clips.
        draws: the sample's draws.
        batch: the global batch's number, which keys what the batch shares.
        config: what is drawn, and for what scope.
        geometry: height and width of the stored frames.
    """
    views = []
    for clip, plan in enumerate(plans):
        size = config.resize or geometry
        if config.scale is not None:
            size = _scaled(size, _crop_stream(Purpose.SCALE, draws, batch, clip, config).uniform(*config.scale))
        stream = _crop_stream(Purpose.CROP, draws, batch, clip, config)
        top, left = (stream.integer(0, side - config.crop + 1) for side in size)
        flip = draws.stream(Purpose.FLIP, clip if config.flip_scope == "clip" else 0).boolean()
        views.append(
            ClipView(
                size=size,
                top=top,
                left=left,
                flip=flip and config.flip_scope != "none",
                colour=_draw_colour(draws.stream(Purpose.COLOUR, clip), len(plan.indices), config.colour),
            )
        )
    return views


def _crop_stream(purpose: Purpose, draws: SampleDraws, batch: int, clip: int, config: ClipConfig) -> Stream:
    """Draws that the clips of a batch or a video share, if its crop is to be shared."""
    if config.crop_scope == "batch":
        return Stream(draws.seed, draws.domain, (int(purpose), batch, (1 << 64) - 1))
    return draws.stream(purpose, clip if config.crop_scope == "clip" else 0)


def _scaled(size: tuple[int, int], factor: float) -> tuple[int, int]:
    return round(size[0] * factor), round(size[1] * factor)


def _test_size(config: ClipConfig, geometry: tuple[int, int]) -> tuple[int, int]:
    return config.test_resize or config.resize or geometry


def _draw_colour(
    stream: Stream, num_frames: int, scope: Literal["none", "frame", "clip"]
) -> npt.NDArray[np.float32] | None:
    if scope == "none":
        return None
    rows = [
        (
            stream.uniform(-32 / 255, 32 / 255),
            stream.uniform(0.5, 1.5),
            float(stream.boolean()),
            float(stream.boolean(0.2)),
        )
        for _ in range(num_frames if scope == "frame" else 1)
    ]
    return np.broadcast_to(np.array(rows, dtype=np.float32), (num_frames, 4))


class ClipDecoder:
    """Decodes and crops clips into a given array; reuses one frame buffer.

    Args:
        config: crop and resize.
        geometry: height and width that every stored frame must have.
    """

    def __init__(self, config: ClipConfig, geometry: tuple[int, int]) -> None:
        check_crop(config, geometry)
        self._config = config
        self._geometry = geometry
        self._buffer = np.empty((*geometry, 3), dtype=np.uint8)

    def decode(
        self,
        jpegs: Mapping[int, memoryview | bytes],
        plans: Sequence[ClipPlan],
        views: Sequence[ClipView],
        out: ImageArray,
        origin: str,
    ) -> None:
        """Fill `out` with the video's clips.

        Args:
            jpegs: JPEG bytes of at least the frames that the plans name.
            plans: the clips' frame indices.
            views: the clips' crops, one a plan.
            out: uint8 (clips, T, crop, crop, 3), written in place.
            origin: names the sample in error messages.

        Raises:
            WorkError: if a frame is not a JPEG of the expected size.
        """
        uses: dict[int, list[tuple[int, int]]] = {}
        for clip, plan in enumerate(plans):
            for place, frame in enumerate(plan.indices.tolist()):
                uses.setdefault(frame, []).append((clip, place))
        crop = self._config.crop
        for frame, places in uses.items():
            stored = self._pixels(jpegs[frame], frame, origin)
            sizes = {self._geometry: stored}
            for clip, place in places:
                view = views[clip]
                pixels = sizes.get(view.size)
                if pixels is None:
                    pixels = sizes[view.size] = _resized(stored, view.size)
                out[clip, place] = pixels[view.top : view.top + crop, view.left : view.left + crop]

    def picture(self, jpeg: memoryview | bytes, frame: int, origin: str) -> ImageArray:
        """One whole frame as it is stored, uint8 (H, W, 3); errors as :meth:`decode`."""
        return self._pixels(jpeg, frame, origin).copy()

    def _pixels(self, jpeg: memoryview | bytes, frame: int, origin: str) -> ImageArray:
        try:
            pixels: ImageArray = simplejpeg.decode_jpeg(jpeg, colorspace="RGB", buffer=self._buffer)
        except ValueError as error:
            raise WorkError(
                f"{origin}: frame {frame} cannot be decoded ({error}); run `shardify verify --deep`"
            ) from None
        if pixels.shape[:2] != self._geometry:
            raise WorkError(
                f"{origin}: frame {frame} is {pixels.shape[0]}x{pixels.shape[1]}, but the data set's frames are "
                f"{self._geometry[0]}x{self._geometry[1]}"
            )
        return pixels


def frames_needed(plans: Sequence[ClipPlan]) -> list[int]:
    """The distinct frames of a video's clips, increasing."""
    return [int(frame) for frame in np.unique(np.concatenate([plan.indices for plan in plans]))]


def _resized(pixels: ImageArray, size: tuple[int, int]) -> ImageArray:
    """Bilinear without smoothing, for stored 256x256 frames (section 7), sampling at the pixels' centres.

    The released code's TensorFlow samples at their corners, up to half a source pixel away.
    """
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(torch.float32)
    resized = torch.nn.functional.interpolate(image, size=size, mode="bilinear", align_corners=False)
    return resized[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()

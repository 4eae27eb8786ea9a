"""From samples to clips: decode each chosen frame once, crop it, and draw the augmentation.

In: JPEG bytes by frame index, clip plans and views. Out: uint8 (clips, T, crop, crop, 3) RGB, written in place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import simplejpeg

from shardify.arrays import ImageArray
from shardify.errors import WorkError
from stream_train.data.config import ClipConfig, FrameSize
from stream_train.data.plans import ClipPlan
from stream_train.draws import Purpose, SampleDraws, Stream

RESIZING = "fixed-point bilinear"
"""How frames are resized; another value means other pixels."""
VERIFY = "run `shardify verify --deep`"
"""What to do about a frame of our shards that is not as it should be."""


@dataclass(frozen=True, kw_only=True)
class ClipView:
    """Size, crop, flip and colour of a clip's frames."""

    size: FrameSize
    """Frames are resized to this size before the crop."""
    top: int
    left: int
    flip: bool
    colour: npt.NDArray[np.float32] | None
    """float32 (T, 4), see stream_train.data.batch.COLOUR_FIELDS."""


def centre_view(config: ClipConfig, stored: FrameSize) -> ClipView:
    """The view outside training: centre crop, no flip, unchanged colours."""
    size = config.test_size(stored)
    top, left = ((side - config.crop) // 2 for side in size)
    return ClipView(size=size, top=top, left=left, flip=False, colour=None)


def draw_views(
    plans: Sequence[ClipPlan], draws: SampleDraws, batch: int, config: ClipConfig, stored: FrameSize
) -> list[ClipView]:
    """Draw scale, crop, flip and colour for each clip of a video.

    `batch`, the global batch's number, is the key of the draws that a batch shares.
    """
    views = []
    for number, plan in enumerate(plans):
        clip = number if plan.view is None else plan.view
        size = config.training_size(stored)
        if config.scale is not None:
            factor = _crop_stream(Purpose.SCALE, draws, batch, clip, config).uniform(*config.scale)
            size = config.training_size(stored, factor)
        stream = _crop_stream(Purpose.CROP, draws, batch, clip, config)
        top, left = (stream.integer(0, side - config.crop + 1) for side in size)
        flip = draws.stream(Purpose.FLIP, clip if config.flip_scope == "clip" else 0).boolean()
        views.append(
            ClipView(
                size=size,
                top=top,
                left=left,
                flip=flip and config.flip_scope != "none",
                colour=_draw_colour(draws.stream(Purpose.COLOUR, clip), len(plan.indices), config),
            )
        )
    return views


def _crop_stream(purpose: Purpose, draws: SampleDraws, batch: int, clip: int, config: ClipConfig) -> Stream:
    """The draws that all clips in one `crop_scope` share."""
    if config.crop_scope == "batch":
        return Stream(draws.seed, draws.domain, (int(purpose), batch, (1 << 64) - 1))
    return draws.stream(purpose, clip if config.crop_scope == "clip" else 0)


def _draw_colour(stream: Stream, num_frames: int, config: ClipConfig) -> npt.NDArray[np.float32] | None:
    if config.colour == "none":
        return None
    rows = [
        (
            stream.uniform(-32 / 255, 32 / 255),
            stream.uniform(0.5, 1.5),
            float(stream.boolean()),
            float(stream.boolean(0.2)),
        )
        for _ in range(num_frames if config.colour == "frame" else 1)
    ]
    return np.broadcast_to(np.array(rows, dtype=np.float32), (num_frames, 4))


def frames_needed(plans: Sequence[ClipPlan]) -> list[int]:
    """The distinct frames of a video's clips, increasing."""
    return [int(frame) for frame in np.unique(np.concatenate([plan.indices for plan in plans]))]


def decode_clips(
    jpegs: Mapping[int, memoryview | bytes],
    plans: Sequence[ClipPlan],
    views: Sequence[ClipView],
    out: ImageArray,
    *,
    stored: FrameSize,
    name: str,
    advice: str = VERIFY,
) -> None:
    """Decode a video's clips into `out`, uint8 (clips, T, crop, crop, 3). Frames that clips share are decoded once.

    `jpegs` holds at least the planned frames, `views` one view per plan. `name` names the sample in errors, `advice`
    ends them. Raises WorkError if a frame is not a JPEG of the size `stored`.
    """
    crop = out.shape[2]
    buffer = np.empty((*stored, 3), dtype=np.uint8)
    uses: dict[int, list[tuple[int, int]]] = {}
    for clip, plan in enumerate(plans):
        for time, frame in enumerate(plan.indices.tolist()):
            uses.setdefault(frame, []).append((clip, time))
    is_changed = [plan.changes_pixels for plan in plans]
    for frame, places in uses.items():
        sizes = {stored: decode_frame(jpegs[frame], stored, f"{name}: frame {frame}", buffer, advice)}
        for clip, time in places:
            view = views[clip]
            if view.size not in sizes:
                sizes[view.size] = _resized(sizes[stored], view.size)
            pixels = sizes[view.size]
            if is_changed[clip]:
                out[clip, time] = _changed(pixels, plans[clip], view, time, crop)
            else:
                out[clip, time] = pixels[view.top : view.top + crop, view.left : view.left + crop]


def decode_frame(
    jpeg: memoryview | bytes, stored: FrameSize, name: str, buffer: ImageArray | None = None, advice: str = VERIFY
) -> ImageArray:
    """Decode a stored frame to uint8 (H, W, 3), into `buffer` if given. Errors as :func:`decode_clips`."""
    try:
        height, width = simplejpeg.decode_jpeg_header(jpeg)[:2]
        if (height, width) == stored:
            pixels: ImageArray = simplejpeg.decode_jpeg(jpeg, colorspace="RGB", buffer=buffer)
            return pixels
    except ValueError as error:
        raise WorkError(f"{name} cannot be decoded ({error}); {advice}") from None
    raise WorkError(f"{name} is {height}x{width}, but the data set's frames are {stored[0]}x{stored[1]}; {advice}")


def shown_frames(frames: ImageArray, view: ClipView) -> ImageArray:
    """Decoded frames (T, H, W, 3) as the network sees them: flipped, if the view says so, but not recoloured."""
    return np.ascontiguousarray(frames[:, :, ::-1]) if view.flip else frames


def _changed(pixels: ImageArray, plan: ClipPlan, view: ClipView, time: int, crop: int) -> ImageArray:
    """The crop of a frame, changed as the plan says: uint8 (crop, crop, 3).

    The device flips the result. So a clip that will be flipped is turned the other way, and its window is mirrored.
    """
    top, left = view.top, view.left
    if plan.jitter is not None:
        down, right = plan.jitter[time].tolist()
        top = min(max(top + down, 0), pixels.shape[0] - crop)
        left = min(max(left + (-right if view.flip else right), 0), pixels.shape[1] - crop)
    pixels = pixels[top : top + crop, left : left + crop]
    if plan.window is not None:
        side = max(1, round(plan.window.side * crop))
        top, left = (min(round(share * crop), crop - side) for share in (plan.window.top, plan.window.left))
        left = crop - side - left if view.flip else left
        pixels = _resized(np.ascontiguousarray(pixels[top : top + side, left : left + side]), (crop, crop))
    if plan.channels is not None:
        pixels = np.repeat(pixels[:, :, plan.channels[time], None], 3, axis=2)
    return np.rot90(pixels, -plan.quarter_turns if view.flip else plan.quarter_turns)


def _resized(pixels: ImageArray, size: FrameSize) -> ImageArray:
    """Resize bilinearly without smoothing, for stored 256x256 frames (section 7); the same numbers on any CPU.

    Sampled at pixel centres. The released code's TensorFlow uses pixel corners, up to half a source pixel away.
    """
    import cv2

    cv2.setNumThreads(1)  # each worker has one core
    return np.asarray(cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_LINEAR_EXACT), dtype=np.uint8)

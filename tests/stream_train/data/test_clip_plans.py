"""What plans do to pixels, as the network sees them: each change is one of the flipped crop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import simplejpeg
import torch
from helpers_tasks import STORED, noise_jpeg, seen_pixels

from shardify.arrays import FloatArray, ImageArray
from stream_train.data.batch import BatchBuilder
from stream_train.data.clips import ClipView, decode_clips, draw_views
from stream_train.data.config import DataConfig
from stream_train.data.plans import ClipPlan, Window
from stream_train.draws import SampleDraws

CROP = 32
HEIGHT, WIDTH = STORED
FRAMES = [noise_jpeg(0, frame) for frame in range(3)]
INDICES = np.array([2, 0, 1], dtype=np.int64)
both_flips = pytest.mark.parametrize("flip", [False, True])


def view_at(top: int, left: int, *, flip: bool) -> ClipView:
    return ClipView(size=STORED, top=top, left=left, flip=flip, colour=None)


def shown(plan: ClipPlan, view: ClipView) -> ImageArray:
    """The clip (T, CROP, CROP, 3) through the builder, the decoder and the device's part."""
    builder = BatchBuilder(CROP)
    out = builder.add([plan], [view], label=0, sample=0, num_clips=1)
    decode_clips(dict(enumerate(FRAMES)), [plan], [view], out, stored=STORED, name="video")
    clip: ImageArray = seen_pixels(builder.batch())[0]
    return clip


def flipped_frames(*, flip: bool) -> ImageArray:
    """The whole frames, as a viewer of the flipped video sees them."""
    pixels = np.stack([simplejpeg.decode_jpeg(FRAMES[index], "RGB") for index in INDICES])
    return pixels[:, :, ::-1] if flip else pixels


def crop_of(view: ClipView) -> ImageArray:
    """The crop, after the flip."""
    left = WIDTH - CROP - view.left if view.flip else view.left
    return flipped_frames(flip=view.flip)[:, view.top : view.top + CROP, left : left + CROP]


@both_flips
@pytest.mark.parametrize("turns", range(-1, 6))
def test_quarter_turns_are_exact_and_turn_the_flipped_clip(turns: int, flip: bool) -> None:
    view = view_at(5, 9, flip=flip)
    clip = shown(ClipPlan(indices=INDICES, quarter_turns=turns), view)
    expected = np.rot90(crop_of(view), turns, axes=(1, 2))
    assert np.array_equal(clip, expected)
    assert np.array_equal(np.rot90(clip, -turns, axes=(1, 2)), shown(ClipPlan(indices=INDICES), view))
    assert (turns % 4 == 0) == np.array_equal(clip, crop_of(view))


@both_flips
@pytest.mark.parametrize(("top", "left"), [(0.0, 0.5), (0.5, 0.0), (0.25, 0.3125)])
def test_a_window_is_a_part_of_the_flipped_crop_enlarged(top: float, left: float, flip: bool) -> None:
    view = view_at(3, 20, flip=flip)
    plan = ClipPlan(indices=INDICES, window=Window(top=top, left=left, side=0.5))
    rows, columns = (slice(round(share * CROP), round(share * CROP) + CROP // 2) for share in (top, left))
    part = torch.from_numpy(crop_of(view)[:, rows, columns].copy()).permute(0, 3, 1, 2).double()
    expected = torch.nn.functional.interpolate(part, size=(CROP, CROP), mode="bilinear").permute(0, 2, 3, 1)
    assert np.abs(shown(plan, view) - expected.numpy()).max() <= 0.51
    whole = ClipPlan(indices=INDICES, window=Window(top=0, left=0, side=1))
    assert np.array_equal(shown(whole, view), crop_of(view))


@pytest.mark.parametrize("place", [{"top": 0.6}, {"left": -0.1}, {"side": 0.0}, {"side": 1.1}])
def test_a_window_outside_the_crop_is_refused(place: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="does not lie within the crop"):
        Window(**{"top": 0.0, "left": 0.0, "side": 0.5} | place)


@both_flips
def test_jitter_moves_each_crop_of_the_flipped_frame_and_stays_inside(flip: bool) -> None:
    view = view_at(4, 10, flip=flip)
    jitter = np.array([[2, 3], [-6, -40], [40, 5]])
    clip = shown(ClipPlan(indices=INDICES, jitter=jitter), view)
    left = WIDTH - CROP - view.left if flip else view.left
    for time, (down, right) in enumerate(jitter):
        row, column = np.clip((view.top + down, left + right), 0, (HEIGHT - CROP, WIDTH - CROP))
        frame = flipped_frames(flip=flip)[time]
        assert np.array_equal(clip[time], frame[row : row + CROP, column : column + CROP])


@both_flips
def test_one_channel_stands_for_all_three(flip: bool) -> None:
    view = view_at(0, 7, flip=flip)
    clip = shown(ClipPlan(indices=INDICES, channels=np.array([2, 0, 1])), view)
    crop = crop_of(view)
    for time, channel in enumerate((2, 0, 1)):
        assert np.array_equal(clip[time], np.repeat(crop[time, :, :, channel, None], 3, axis=2))


@both_flips
def test_changes_combine_in_one_order(flip: bool) -> None:
    """Jitter, then the window, then the channel, then the turn."""
    view = view_at(4, 10, flip=flip)
    window, channels = Window(top=0.5, left=0.0, side=0.5), np.array([0, 2, 1])
    plan = ClipPlan(indices=INDICES, window=window, channels=channels, jitter=np.full((3, 2), 3))
    moved = replace(view, top=7, left=7 if flip else 13)
    plain = ClipPlan(indices=INDICES, window=window)
    expected = np.stack(
        [np.repeat(one[:, :, [c]], 3, axis=2) for one, c in zip(shown(plain, moved), channels, strict=True)]
    )
    assert np.array_equal(shown(plan, view), expected)
    assert np.array_equal(shown(replace(plan, quarter_turns=3), view), np.rot90(expected, 3, axes=(1, 2)))


def test_clips_of_one_view_share_crop_flip_and_colours_and_others_do_not() -> None:
    config = DataConfig.model_validate({"crop": CROP, "colour": "frame", "flip_scope": "clip", "scale": (0.8, 1.0)})
    plans = [ClipPlan(indices=np.arange(3), view=view) for view in (0, 0, 1, 1, None, None)]
    differ = set()
    for epoch in range(12):
        views = draw_views(plans, SampleDraws(1, epoch, 2), 0, config, STORED)
        for pair in range(3):
            one, other = views[2 * pair : 2 * pair + 2]
            assert one.colour is not None
            assert other.colour is not None
            equal = (one.size, one.top, one.left, one.flip) == (other.size, other.top, other.left, other.flip)
            if pair < 2:
                assert equal
                assert np.array_equal(one.colour, other.colour)
            else:
                differ |= {
                    name for name in ("top", "left", "flip", "size") if getattr(one, name) != getattr(other, name)
                }
                assert not np.array_equal(one.colour, other.colour)
        assert views[0].colour is not None
        assert views[2].colour is not None
        assert not np.array_equal(views[0].colour, views[2].colour)
    assert differ == {"top", "left", "flip", "size"}


SEEN: list[ImageArray] = []


def measure(frames: ImageArray) -> dict[str, FloatArray]:
    SEEN.append(frames.copy())
    return {"mean": frames.mean(axis=(0, 1, 2))}


@both_flips
def test_targets_are_measured_from_what_the_network_sees(flip: bool) -> None:
    SEEN.clear()
    view = view_at(2, 3, flip=flip)
    plan = ClipPlan(indices=INDICES, targets={"class": 4}, measure=measure, quarter_turns=1)
    builder = BatchBuilder(CROP)
    for _ in range(2):
        out = builder.add([plan], [view], label=0, sample=0, num_clips=2)
        decode_clips(dict(enumerate(FRAMES)), [plan], [view], out, stored=STORED, name="video")
    batch = builder.batch()
    assert np.array_equal(np.stack(SEEN), seen_pixels(batch))
    assert batch.targets["class"].tolist() == [4, 4]
    assert batch.targets["mean"].dtype == torch.float32
    assert np.allclose(batch.targets["mean"], seen_pixels(batch).mean(axis=(1, 2, 3)))

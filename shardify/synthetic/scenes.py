"""Moving shapes: small videos whose class shows only in the motion.

In: a class name and a random generator. Out: uint8 (F, H, W, 3) frames.

A scene is a still background, a few shapes, and light. Each shape has a state of four numbers: x, y, log radius, angle.
The state wraps around: a shape that leaves on one side enters on the other, and the smallest radius follows the
largest. The first state is uniformly random, and a motion only adds a displacement that depends on time. So the state
is uniform at any time, for every motion: a single frame does not show the class. Directions of motion and rotation are
random, so a mirrored video stays in its class. Rates vary only by RATE_SPREAD, and no motion pauses for long, so 16
frames show the playback speed. Lengths are in frame heights, times in frames.

As in real videos there is an up, and an arrow of time, in all classes alike: it is lighter above than below, and the
light sinks slowly, as at sunrise. How fast differs by LIGHT_RATES between videos: too much to show the playback speed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from shardify.arrays import FloatArray, ImageArray

SCENES_VERSION = 2
"""Counts changes of the scenes, so that a folder never holds videos of two versions; 2 brought light."""
RATE_SPREAD = 0.1
"""A scene runs at 1 - RATE_SPREAD to 1 + RATE_SPREAD times the base rates."""
SMALLEST_RADIUS = 0.1
LARGEST_RADIUS = 0.27
NUM_SHAPES = 3

LIGHT_RATES = (0.002, 0.006)
"""The light sinks by so many heights a frame, log-uniform."""

_STEP = 0.02
"""Base speed: heights a frame."""
_LIGHT = 40.0
"""Grey levels by which the lit part is lighter, and the shaded part darker, than the background."""
_LIGHT_EDGE = 0.15
"""Half the height of the change from light to shade."""


@dataclass(frozen=True, kw_only=True)
class Displacement:
    """A shape's change since its start, at each frame: x (right), y (down) in heights, angle clockwise in radians."""

    x: FloatArray | float = 0.0
    y: FloatArray | float = 0.0
    log_radius: FloatArray | float = 0.0
    angle: FloatArray | float = 0.0


Motion = Callable[[FloatArray, np.random.Generator], Displacement]
"""(time in base-rate frames, float64 (F,); source of the motion's own draws) -> displacement."""


def _slide(time: FloatArray, rng: np.random.Generator) -> Displacement:
    """Straight on at constant speed."""
    return _along(_STEP * time, rng)


def _accelerate(time: FloatArray, rng: np.random.Generator) -> Displacement:
    """Straight on, from slow to fast within 40 frames, then suddenly slow again: irreversible."""
    period, slow, fast = 40.0, 0.3 * _STEP, 2.0 * _STEP
    cycles, phase = np.divmod(time + period * rng.random(), period)
    distance = cycles * period * (slow + fast) / 2 + phase * slow + phase**2 * (fast - slow) / (2 * period)
    return _along(distance, rng)


def _fall(time: FloatArray, rng: np.random.Generator) -> Displacement:
    """Gravity: bounces on an invisible floor, each lower than the last, then a new throw: irreversible."""
    height, fall_time, restitution, num_arcs = 0.42, 15.0, 0.75, 4
    durations = 2 * fall_time * restitution ** np.arange(num_arcs)
    ends = np.cumsum(durations)
    phase = np.mod(time + ends[-1] * rng.random(), ends[-1])
    arc = np.searchsorted(ends, phase, side="right")
    passed = 1 - (ends[arc] - phase) / durations[arc]  # share of the arc, in [0, 1)
    return Displacement(y=-height * restitution ** (2 * arc) * 4 * passed * (1 - passed))


def _spin(time: FloatArray, rng: np.random.Generator) -> Displacement:
    """Rotation about the shape's own centre."""
    return Displacement(angle=_sense(rng) * 0.09 * time)


def _grow(time: FloatArray, rng: np.random.Generator) -> Displacement:  # noqa: ARG001 - one signature for all motions
    """Grows by 2.5 % a frame, and starts again small: irreversible."""
    return Displacement(log_radius=0.025 * time)


def _shrink(time: FloatArray, rng: np.random.Generator) -> Displacement:  # noqa: ARG001
    """Shrinks by 2.5 % a frame, and starts again large: irreversible."""
    return Displacement(log_radius=-0.025 * time)


def _swing(time: FloatArray, rng: np.random.Generator) -> Displacement:
    """Back and forth on a line, as a pendulum."""
    return _along(0.2 * np.sin(time * (2 * math.pi / 50) + 2 * math.pi * rng.random()), rng)


def _orbit(time: FloatArray, rng: np.random.Generator) -> Displacement:
    """Around a circle, without rotation of the shape."""
    angle = _sense(rng) * time * (2 * math.pi / 60) + 2 * math.pi * rng.random()
    return Displacement(x=0.2 * np.cos(angle), y=0.2 * np.sin(angle))


MOTIONS: Mapping[str, Motion] = MappingProxyType(
    {
        "Accelerate": _accelerate,
        "Fall": _fall,
        "Grow": _grow,
        "Orbit": _orbit,
        "Shrink": _shrink,
        "Slide": _slide,
        "Spin": _spin,
        "Swing": _swing,
    }
)
"""The classes, in alphabetical order."""


def _along(distance: FloatArray, rng: np.random.Generator) -> Displacement:
    direction = 2 * math.pi * rng.random()
    return Displacement(x=math.cos(direction) * distance, y=math.sin(direction) * distance)


def _sense(rng: np.random.Generator) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The look of a shape, the same in all frames."""

    outline: int
    """Index into the outlines."""
    colours: tuple[FloatArray, FloatArray]
    """Two float64 (3,) RGB colours in 0..255; they meet in a line through the centre, which makes rotation visible."""


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """The look of a scene, without its motion."""

    background: FloatArray
    """float64 (H, W, 3) in 0..255."""
    shapes: tuple[Shape, ...]
    """From back to front."""
    light: float = _LIGHT
    """Grey levels by which the lit part is lighter, and the shaded part darker, than `background`."""


def draw_appearance(height: int, width: int, rng: np.random.Generator) -> Appearance:
    """Draw a background and NUM_SHAPES shapes whose colours differ from it."""
    background = _draw_background(height, width, rng)
    mean = background.mean(axis=(0, 1))
    shapes = []
    for _ in range(NUM_SHAPES):
        outline = int(rng.random() * len(_OUTLINES))
        first = _draw_colour((mean,), rng)
        shapes.append(Shape(outline=outline, colours=(first, _draw_colour((mean, first), rng))))
    return Appearance(background=background, shapes=tuple(shapes))


def render(appearance: Appearance, class_name: str, times: npt.ArrayLike, rng: np.random.Generator) -> ImageArray:
    """Render a scene of a class in MOTIONS as uint8 (F, H, W, 3) RGB frames.

    `times` (F,) are in frames and need not be consecutive; `rng` draws the first state and the motion's own numbers.
    """
    height, width, _ = appearance.background.shape
    rate = 1 + RATE_SPREAD * (2 * rng.random() - 1)
    base_times = rate * np.asarray(times, dtype=np.float64)
    frames = appearance.background + appearance.light * _draw_light(height, times, rng)[:, :, None, None]
    frames.clip(0, 255, out=frames)
    for shape in appearance.shapes:
        x, y, size, angle = rng.random(4)
        moved = MOTIONS[class_name](base_times, rng)
        zeros = np.zeros_like(base_times)
        growth = math.log(LARGEST_RADIUS / SMALLEST_RADIUS)
        _paint(
            frames,
            shape,
            x=np.mod(x * width + moved.x * height + zeros, width),
            y=np.mod((y + moved.y) * height + zeros, height),
            radius=height * SMALLEST_RADIUS * np.exp(np.mod(size * growth + moved.log_radius + zeros, growth)),
            angle=2 * math.pi * angle + moved.angle + zeros,
        )
    return np.rint(frames).astype(np.uint8)


def _draw_light(height: int, times: npt.ArrayLike, rng: np.random.Generator) -> FloatArray:
    """The light on each row, float64 (F, H) from -1 (shade) to 1: its edge sinks."""
    start, speed = rng.random(2)
    slowest, fastest = LIGHT_RATES
    edge = 0.2 + 0.4 * start + slowest * (fastest / slowest) ** speed * np.asarray(times, dtype=np.float64)
    rows = (np.arange(height) + 0.5) / height
    light: FloatArray = np.tanh((edge[:, None] - rows) / _LIGHT_EDGE)
    return light


def _paint(
    frames: FloatArray, shape: Shape, *, x: FloatArray, y: FloatArray, radius: FloatArray, angle: FloatArray
) -> None:
    """Paint one shape, antialiased and wrapped at the edges, into the frames, float64 (F, H, W, 3), in place.

    `x`, `y` (the centre) and `radius` are (F,) in pixels, `angle` is (F,) in radians.
    """
    num_frames, height, width, _ = frames.shape
    reach = math.ceil(radius.max()) + 1
    window = np.arange(-reach, reach + 1)
    columns = np.floor(x).astype(np.int64)[:, None] + window  # (F, P) pixels around the centre, not yet wrapped
    rows = np.floor(y).astype(np.int64)[:, None] + window
    dx = ((columns + 0.5 - x[:, None]) / radius[:, None])[:, None, :]
    dy = ((rows + 0.5 - y[:, None]) / radius[:, None])[:, :, None]
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    u, v = cos * dx + sin * dy, cos * dy - sin * dx  # the shape's own coordinates, 1 at its radius
    pixels = radius[:, None, None]
    cover = np.clip(0.5 - _OUTLINES[shape.outline](u, v) * pixels, 0, 1)[..., None]
    half = np.clip(0.5 + u * pixels, 0, 1)[..., None]
    colour = half * shape.colours[0] + (1 - half) * shape.colours[1]
    place = (np.arange(num_frames)[:, None, None], (rows % height)[:, :, None], (columns % width)[:, None, :])
    frames[place] += cover * (colour - frames[place])


def _box(u: FloatArray, v: FloatArray, half_width: float, half_height: float) -> FloatArray:
    return np.maximum(np.abs(u) - half_width, np.abs(v) - half_height)


def _triangle(u: FloatArray, v: FloatArray) -> FloatArray:
    slope = math.sqrt(3) / 2
    inner: FloatArray = np.maximum(np.maximum(-v, slope * u + v / 2), v / 2 - slope * u)
    return inner - 0.5


_OUTLINES: tuple[Callable[[FloatArray, FloatArray], FloatArray], ...] = (
    lambda u, v: np.hypot(u, v) - 0.9,
    lambda u, v: np.abs(np.hypot(u, v) - 0.7) - 0.25,
    lambda u, v: _box(u, v, 0.7, 0.7),
    lambda u, v: _box(u, v, 0.95, 0.4),
    lambda u, v: np.minimum(_box(u, v, 0.95, 0.32), _box(u, v, 0.32, 0.95)),
    _triangle,
)
"""Disc, ring, square, bar, cross, triangle: signed distance from the outline, negative inside, in radii."""


def _draw_background(height: int, width: int, rng: np.random.Generator) -> FloatArray:
    """A few soft waves of dull colour around a random mean."""
    rows, columns = np.meshgrid(np.arange(height) / height, np.arange(width) / height, indexing="ij")
    image: FloatArray = np.full((height, width, 3), 70 + 110 * rng.random())
    for octave in (1, 2, 4, 8):
        for _ in range(2):
            direction, phase = 2 * math.pi * rng.random(2)
            tint = 22 / octave**0.5 * (2 * rng.random(3) - 1)
            wave = np.sin(2 * math.pi * octave * (math.cos(direction) * columns + math.sin(direction) * rows) + phase)
            image += wave[..., None] * tint
    return image.clip(0, 255)


def _draw_colour(others: Sequence[FloatArray], rng: np.random.Generator) -> FloatArray:
    """An RGB colour that differs from each of the others by at least 80 in one channel."""
    while True:
        colour = 15 + 225 * rng.random(3)
        if all(np.abs(colour - other).max() >= 80 for other in others):
            return colour

"""Pictures and movies of frames say what they were given: maps, neighbours and words where they belong, and legible."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from helpers_figures import LONG_NAMES, Box, overlapping
from PIL import Image, ImageDraw

from eval.pictures.lettering import INK, RIGHT, WRONG, load_font, shorten, wrap
from eval.pictures.movie import write_movie
from eval.pictures.retrieval import Neighbour, Query, retrieval_figure
from eval.pictures.saliency import SaliencyBlock, SaliencyRow, overlay_heat, saliency_figure, saliency_movie
from shardify.arrays import ImageArray
from shardify.errors import UsageError, WorkError
from shardify.frames.decoding import decode_video
from shardify.frames.ffmpeg_command import FramesConfig, ffmpeg_binary


def test_texts_are_shortened_and_wrapped_to_a_width() -> None:
    font = load_font(16)
    name = "temporal transformations, fine-tuned on HandstandPushups"
    assert shorten(name, font, 2000) == name
    for width in (20, 60, 200):
        short = shorten(name, font, width)
        assert short.endswith("…")
        assert name.startswith(short[:-1])
        assert font.getlength(short) <= width
        assert font.getlength(name[: len(short)].rstrip() + "…") > width
        assert all(font.getlength(line) <= width for line in wrap(name, font, width))
    assert wrap(name, font, 220) == ["temporal transformations,", "fine-tuned on", "HandstandPushups"]
    assert wrap("", font, 200) == []
    assert font.getmask("✓").getbbox() != font.getmask("✗").getbbox(), "the font has both signs"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, Box]]]:
    """Every text that Pillow draws, and where; checked for being inside its picture and apart from the others."""
    texts: dict[int, tuple[object, list[tuple[str, Box]]]] = {}  # with the picture, so that its id stays its own
    everything: list[tuple[str, Box]] = []
    original = ImageDraw.ImageDraw.text

    def record(pen: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, **options: object) -> None:
        box = pen.textbbox(xy, text, font=options["font"], anchor=str(options["anchor"]))  # type: ignore[arg-type]
        assert min(box[:2]) >= 0, text
        assert box[2] <= pen.im.size[0], text
        assert box[3] <= pen.im.size[1], text
        texts.setdefault(id(pen.im), (pen.im, []))[1].append((text, box))
        everything.append((text, box))
        original(pen, xy, text, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", record)
    yield everything
    for _, boxes in texts.values():
        assert not overlapping(boxes)


def plain_frame(colour: Sequence[int], height: int = 12, width: int = 16) -> ImageArray:
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, 3)).copy()


def colour_of(number: int) -> tuple[int, int, int]:
    """A colour for each frame number below 16 that no map, letter or paper has."""
    return 40 + 10 * number, 200 - 5 * number, 90


def block_of(
    title: str = "a title", num_frames: int = 16, names: Sequence[str] = ("ours",), size: int = 12
) -> SaliencyBlock:
    frames = np.stack([plain_frame(colour_of(i), size, size) for i in range(num_frames)])
    maps = np.zeros((num_frames, size, size), np.float32)
    maps[:, : size // 2] = (np.arange(num_frames) / max(1, num_frames - 1))[:, None, None]
    rows = tuple(SaliencyRow(name=name, says=f"{LONG_NAMES[2]} 87 %", maps=maps) for name in names)
    return SaliencyBlock(title=title, frames=frames, indices=4 * np.arange(num_frames) + 7, rows=rows)


def places_of(picture: ImageArray, colour: Sequence[int]) -> tuple[int, int, int, int] | None:
    """Top, left, bottom, right of all pixels of a colour."""
    rows, columns = np.nonzero((picture == np.array(colour)).all(axis=2))
    return (rows.min(), columns.min(), rows.max(), columns.max()) if len(rows) else None


def test_heat_over_a_frame() -> None:
    frame = plain_frame((100, 100, 100), 8, 8)
    brightest = [round(255 * value) for value in mpl.colormaps["inferno"](1.0)[:3]]
    half = np.zeros((8, 8))
    half[:, :4] = 1
    for height, margin in ((8, 1), (16, 2)):
        picture = np.asarray(overlay_heat(frame, half, height))
        assert np.array_equal(picture[:, : height // 2 - margin], plain_frame(brightest, height, height // 2 - margin))
        assert np.array_equal(picture[:, height // 2 + margin :], plain_frame((45,) * 3, height, height // 2 - margin))
    ramp = np.asarray(overlay_heat(frame, np.tile(np.linspace(0, 1, 8), (8, 1)), 8)).astype(int).sum(axis=2)
    assert (np.diff(ramp[:, 2:], axis=1) > 0).all()


def test_saliency_figure_shows_every_second_frame_and_its_map(tmp_path: Path, written: list[tuple[str, Box]]) -> None:
    saliency_figure([block_of(names=("ours", "supervised"))], tmp_path / "s.png")
    picture = np.asarray(Image.open(tmp_path / "s.png"))
    places = {i: places_of(picture, colour_of(i)) for i in range(16)}
    assert [i for i, place in places.items() if place] == list(range(0, 16, 2))
    lefts = [place[1] for place in places.values() if place]
    assert lefts == sorted(lefts)
    texts = [text for text, _ in written]
    assert [text for text in texts if text.isdigit()] == [str(4 * i + 7) for i in range(0, 16, 2)]
    assert {"a title", "input", "ours", "supervised", "HandstandPushups 87 %"} <= set(texts)
    for i, place in places.items():
        if place:
            top, left, bottom, right = place
            assert (bottom - top, right - left) == (119, 119)
            for row in (1, 2):  # a row of maps: frame, caption, then 124 pixels a row
                below = top + 22 + row * 124
                expected = np.asarray(overlay_heat(plain_frame(colour_of(i), 12, 12), block_of().rows[0].maps[i], 120))
                assert np.array_equal(picture[below : below + 120, left : right + 1], expected)


def test_saliency_figure_holds_long_words_and_several_blocks(tmp_path: Path, written: list[tuple[str, Box]]) -> None:
    names = ("temporal transformations, all three, with the speed loss", "a" * 80, "random")
    title = "(c) HandstandPushups: v_HandStandPushups_g01_c03 " * 4
    blocks = [block_of(title, 16, names), block_of("short clip", 3, names, size=9), block_of("one frame", 1)]
    saliency_figure(blocks, tmp_path / "s.png")
    numbers = [*range(7, 64, 8), 7, 11, 15, 7]
    assert [text for text, _ in written if text.isdigit()] == list(map(str, numbers))


def test_saliency_blocks_whose_parts_do_not_fit_are_refused(tmp_path: Path) -> None:
    good = block_of()
    short = SaliencyRow(name="ours", says="", maps=good.rows[0].maps[1:])
    changes: list[dict[str, Any]] = [
        {"frames": good.frames.astype(float)},
        {"indices": good.indices[1:]},
        {"rows": (short,)},
    ]
    for change in changes:
        with pytest.raises(ValueError, match=r"\(15|float64"):
            dataclasses.replace(good, **change)
    with pytest.raises(ValueError, match="at least one block"):
        saliency_figure([], tmp_path / "s.png")
    with pytest.raises(ValueError, match=r"clips of one length, not of \[3, 16\] frames"):
        saliency_movie([good, block_of(num_frames=3)], tmp_path / "s.mp4")


def read_movie(path: Path) -> ImageArray:
    """All frames, uint8 (T, H, W, 3)."""
    video = decode_video(path, FramesConfig())
    command = [ffmpeg_binary(), "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(data, np.uint8).reshape(-1, video.source_height, video.source_width, 3)


def test_saliency_movie_plays_clip_and_maps_slowly_three_times(tmp_path: Path, written: list[tuple[str, Box]]) -> None:
    saliency_movie([block_of("(a)", 4, ("ours", "supervised on UCF101")), block_of("(b)", 4)], tmp_path / "s.mp4")
    movie = read_movie(tmp_path / "s.mp4")
    video = decode_video(tmp_path / "s.mp4", FramesConfig())
    assert (video.codec, video.fps, len(movie)) == ("h264", 8, 12)
    assert video.warnings == ()
    for number, picture in enumerate(movie):
        close = np.abs(picture.astype(int) - colour_of(number % 4)).max(axis=2) <= 4
        assert close.sum() == pytest.approx(2 * 224 * 224, rel=0.03), "the frame of each of both blocks, colours kept"
    assert [text for text, _ in written if text.startswith("frame ")] == [
        f"frame {4 * i + 7}" for i in range(4) for _ in "ab"
    ]


@pytest.mark.parametrize(("height", "width"), [(30, 40), (31, 40), (30, 41), (33, 41)])
def test_movies_of_any_size_keep_frames_order_and_colours(tmp_path: Path, height: int, width: int) -> None:
    colours = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (250, 250, 250)]
    write_movie([plain_frame(colour, height, width) for colour in colours], tmp_path / "m.mp4", frames_per_second=5)
    write_movie([plain_frame(colour, height, width) for colour in colours], tmp_path / "n.mp4", frames_per_second=5)
    assert (tmp_path / "m.mp4").read_bytes() == (tmp_path / "n.mp4").read_bytes()
    movie = read_movie(tmp_path / "m.mp4")
    assert movie.shape == (4, height + height % 2, width + width % 2, 3)
    for picture, colour in zip(movie.astype(int), colours, strict=True):
        assert np.abs(picture - colour).max() <= 6
    assert decode_video(tmp_path / "m.mp4", FramesConfig()).fps == 5


def test_movies_that_cannot_be_written_leave_nothing(tmp_path: Path) -> None:
    pictures = [plain_frame((1, 2, 3))]
    no_encoder = shutil.which("false") or "false"
    with pytest.raises(WorkError, match=r"m\.mp4: .*status 1"):
        write_movie(pictures, tmp_path / "m.mp4", frames_per_second=8, ffmpeg_choice=no_encoder)
    with pytest.raises(WorkError, match="Invalid"):
        write_movie(pictures, tmp_path / "m.mp4", frames_per_second=-1)
    with pytest.raises(UsageError, match="/no/such/ffmpeg"):
        write_movie(pictures, tmp_path / "m.mp4", frames_per_second=8, ffmpeg_choice="/no/such/ffmpeg")
    for wrong in ([], [*pictures, plain_frame((1, 2, 3), 14, 16)]):
        with pytest.raises(ValueError, match="pictures of one size"):
            write_movie(wrong, tmp_path / "m.mp4", frames_per_second=8)
    assert not list(tmp_path.iterdir())


def video_frames(number: int, count: int = 3, size: tuple[int, int] = (12, 16)) -> tuple[ImageArray, ...]:
    return tuple(plain_frame(colour_of(3 * number + i), *size) for i in range(count))


def hex_colour(text: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(text[1:]))


def test_retrieval_rows_show_their_frames_and_verdicts(tmp_path: Path, written: list[tuple[str, Box]]) -> None:
    neighbours = (
        Neighbour(class_name="PushUps", frames=video_frames(1), similarity=0.934),
        Neighbour(class_name="HandstandPushups", frames=video_frames(2), similarity=-0.5),
    )
    query = Query(class_name="PushUps", frames=video_frames(0), neighbours=neighbours)
    retrieval_figure([query], tmp_path / "r.png")
    picture = np.asarray(Image.open(tmp_path / "r.png"))
    places = [places_of(picture, colour_of(i)) for i in range(9)]
    assert all(place is not None and (place[2] - place[0], place[3] - place[1]) == (95, 127) for place in places)
    lefts = [place[1] for place in places if place]
    assert lefts == sorted(lefts), "query, then nearest, then second nearest, each in order of time"
    assert [text for text, _ in written] == [
        *("query", "nearest", "second nearest", "PushUps"),
        *("✓ PushUps, same class, cosine 0.93", "✗ HandstandPushups, other class, cosine -0.50"),
    ]
    borders = [tuple(picture[place[0] + 40, place[1] - 3]) for place in places[::3] if place]
    assert borders == [hex_colour(INK), hex_colour(RIGHT), hex_colour(WRONG)]


def test_retrieval_holds_long_names_many_rows_and_mixed_sizes(tmp_path: Path, written: list[tuple[str, Box]]) -> None:
    frames = [video_frames(i, 3, size) for i, size in enumerate([(12, 16), (16, 12), (12, 20)])]
    neighbours = tuple(
        Neighbour(class_name="a very long class name " * 3, frames=frames[n % 3], similarity=0.5) for n in range(4)
    )
    rows = [Query(class_name=LONG_NAMES[i] * 4, frames=frames[i], neighbours=neighbours) for i in range(3)]
    retrieval_figure(rows, tmp_path / "r.png")
    assert [text for text, _ in written][:5] == ["query", "nearest", "second nearest", "third nearest", "4th nearest"]


def test_retrieval_rows_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    neighbour = Neighbour(class_name="a", frames=video_frames(1, 2), similarity=0.5)
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        Query(class_name="a", frames=video_frames(0), neighbours=(neighbour,))
    with pytest.raises(ValueError, match=r"\[0\]"):
        Query(class_name="a", frames=(), neighbours=())
    two = Query(class_name="a", frames=video_frames(0, 2), neighbours=(neighbour,))
    for queries in ([], [two, Query(class_name="a", frames=video_frames(0), neighbours=())]):
        with pytest.raises(ValueError, match="all must show equally many"):
            retrieval_figure(queries, tmp_path / "r.png")

"""decode_video on healthy videos: every frame once, in order, upright, with the right colours and equal bytes."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
import simplejpeg
from helpers_videos import HEIGHT, WIDTH, numbered_frame, read_numbers, run_ffmpeg, write_numbered_video, write_video
from PIL import Image

from shardify.arrays import ImageArray
from shardify.config import validate_config
from shardify.errors import UsageError
from shardify.frames.decoding import decode_video
from shardify.frames.ffmpeg_command import FramesConfig, ffmpeg_binary, ffmpeg_version

CONFIG = FramesConfig()
SMALL = FramesConfig(height=96, width=128)

CODECS = {
    "mpeg4 in AVI": ("a.avi", ("-c:v", "mpeg4", "-q:v", "3")),
    "mpeg4 with B-frames": ("a.avi", ("-c:v", "mpeg4", "-q:v", "3", "-bf", "2")),
    "h264 with B-frames": ("a.mp4", ("-c:v", "libx264", "-bf", "3", "-pix_fmt", "yuv420p", "-threads", "1")),
    "fragmented h264": ("a.mp4", ("-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov", "-threads", "1")),
    "vp9": ("a.webm", ("-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime", "-threads", "1")),
    "vp8 with hidden frames": ("a.webm", ("-c:v", "libvpx", "-auto-alt-ref", "1", "-threads", "1")),
    "mpeg2 transport stream": ("a.ts", ("-c:v", "mpeg2video", "-q:v", "3", "-bf", "2")),
    "raw h264": ("a.h264", ("-c:v", "libx264", "-threads", "1")),
    "Motion-JPEG": ("a.avi", ("-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p")),
    "lossless 4:4:4": ("a.mkv", ("-c:v", "ffv1", "-pix_fmt", "yuv444p")),
    "GIF": ("a.gif", ("-c:v", "gif")),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbered_video(tmp_path_factory.mktemp("plain") / "plain.avi", 4)


@pytest.mark.parametrize("codec", CODECS)
def test_every_frame_comes_once_and_in_order(tmp_path: Path, codec: str) -> None:
    name, options = CODECS[codec]
    path = write_numbered_video(tmp_path / name, 40, *options)
    frames = decode_video(path, CONFIG)
    assert read_numbers(frames.jpegs) == list(range(40))
    assert frames.warnings == ()


def test_metadata_of_the_source(tmp_path: Path) -> None:
    path = write_numbered_video(tmp_path / "a.avi", 30, "-c:v", "mpeg4", "-q:v", "3", fps=12.5)
    frames = decode_video(path, CONFIG)
    assert (frames.fps, frames.codec, frames.duration_seconds) == (12.5, "mpeg4", 2.4)
    assert (frames.source_width, frames.source_height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize(("rate", "exact"), [("30000/1001", 30000 / 1001), ("24000/1001", 24000 / 1001), ("30", 30.0)])
def test_ntsc_rates_are_exact(tmp_path: Path, rate: str, exact: float) -> None:
    path = write_numbered_video(tmp_path / "a.mp4", 30, "-c:v", "mpeg4", "-q:v", "3", filters=f"fps={rate}")
    assert decode_video(path, CONFIG).fps == exact


TIMINGS = {
    "uneven": "setpts='(N+0.4*mod(N\\,3)+12*gt(N\\,10))/25/TB'",
    "pairs 1 ms apart": "setpts='floor(N/2)*200+mod(N\\,2)'",
    "one a minute": "setpts='N*60/TB'",
    "a pause of an hour": "setpts='(N/25+3600*gt(N\\,20))/TB'",
}


@pytest.mark.parametrize("container", ["mkv", "mp4"])
@pytest.mark.parametrize("timing", TIMINGS)
def test_timestamps_neither_drop_nor_repeat_frames(tmp_path: Path, timing: str, container: str) -> None:
    options = ("-fps_mode", "passthrough", "-enc_time_base", "1:1000", "-c:v", "mpeg4", "-q:v", "3")
    path = write_numbered_video(tmp_path / f"a.{container}", 32, *options, filters=f"settb=1/1000,{TIMINGS[timing]}")
    assert read_numbers(decode_video(path, CONFIG).jpegs) == list(range(32))


def test_equal_and_falling_timestamps_neither_drop_nor_repeat_frames(tmp_path: Path) -> None:
    """A stream whose clock starts again, as in joined recordings: mpegts files one after the other."""
    parts = [
        write_numbered_video(tmp_path / f"{part}.ts", 10, "-c:v", "mpeg2video", "-q:v", "3", start=10 * part)
        for part in range(3)
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert read_numbers(decode_video(joined, CONFIG).jpegs) == list(range(30))


def test_frames_of_changing_size_all_get_the_one_size(tmp_path: Path) -> None:
    parts = []
    for part, (width, height) in enumerate([(160, 128), (320, 64), (64, 192)]):
        images = [numbered_frame(number, width, height) for number in range(10 * part, 10 * part + 10)]
        parts.append(write_video(tmp_path / f"{part}.h264", images, "-c:v", "libx264", "-qp", "8", "-threads", "1"))
    joined = tmp_path / "joined.h264"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = decode_video(joined, CONFIG)
    assert read_numbers(frames.jpegs) == list(range(30))
    assert {jpeg_size(jpeg) for jpeg in frames.jpegs} == {(CONFIG.height, CONFIG.width)}


def jpeg_size(jpeg: bytes) -> tuple[int, int]:
    """(height, width)."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    return height, width


@pytest.mark.parametrize(("height", "width"), [(128, 171), (33, 17), (256, 256)])
def test_frames_have_the_size_asked_for(plain: Path, height: int, width: int) -> None:
    frames = decode_video(plain, FramesConfig(height=height, width=width))
    assert [simplejpeg.decode_jpeg_header(jpeg) for jpeg in frames.jpegs] == [(height, width, "YCbCr", "420")] * 4


def test_jpegs_are_plain_jfif_without_traces_of_the_encoder(plain: Path) -> None:
    jpeg = decode_video(plain, CONFIG).jpegs[0]
    assert jpeg.startswith(b"\xff\xd8\xff\xe0\x00\x10JFIF\0")
    assert b"Lavc" not in jpeg


def test_quality_sets_the_size(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=0.2", "-c:v", "mpeg4", "-q:v", "2", path)
    sizes = [sum(map(len, decode_video(path, FramesConfig(quality=quality)).jpegs)) for quality in (1, 3, 31)]
    assert sizes == sorted(set(sizes), reverse=True)


CORNERS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200), "grey": (128, 128, 128)}
"""Colours of the corners of the test picture: top left, top right, bottom left, bottom right."""


def corners_picture(width: int = 192, height: int = 128) -> ImageArray:
    picture = np.empty((height, width, 3), dtype=np.uint8)
    colours = np.array(list(CORNERS.values()), dtype=np.uint8).reshape(2, 2, 3)
    picture[:] = colours.repeat(height // 2, axis=0).repeat(width // 2, axis=1)
    return picture


def corner_colours(jpeg: bytes) -> dict[str, list[float]]:
    """Mean colour of the middle of each quarter, from the top left, row by row."""
    image = simplejpeg.decode_jpeg(jpeg).astype(float)
    height, width, _ = image.shape
    quarters = {}
    for index, name in enumerate(CORNERS):
        top, left = (index // 2) * height // 2 + height // 8, (index % 2) * width // 2 + width // 8
        quarters[name] = image[top : top + height // 4, left : left + width // 4].mean(axis=(0, 1)).tolist()
    return quarters


ENCODINGS = {
    "RGB": ("-c:v", "libx264rgb", "-qp", "0"),
    "BT.601, limited range": (
        *("-vf", "scale=out_color_matrix=bt601:out_range=tv,format=yuv444p"),
        *("-colorspace", "smpte170m", "-color_range", "tv", "-c:v", "libx264", "-qp", "0"),
    ),
    "BT.709, limited range": (
        *("-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"),
        *("-colorspace", "bt709", "-color_range", "tv", "-c:v", "libx264", "-qp", "0"),
    ),
    "BT.709, full range": (
        *("-vf", "scale=out_color_matrix=bt709:out_range=pc,format=yuv420p"),
        *("-colorspace", "bt709", "-color_range", "pc", "-c:v", "libx264", "-qp", "0"),
    ),
    "10 bits": (
        *("-vf", "scale=out_color_matrix=bt601:out_range=tv,format=yuv420p10le"),
        *("-colorspace", "smpte170m", "-color_range", "tv", "-c:v", "libx264", "-qp", "0"),
    ),
    "unspecified, as in AVI": ("-c:v", "mpeg4", "-q:v", "1"),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_colours_come_back(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / ("a.avi" if "AVI" in encoding else "a.mp4")
    write_video(path, [corners_picture()] * 2, *ENCODINGS[encoding])
    colours = corner_colours(decode_video(path, CONFIG).jpegs[1])
    for name, expected in CORNERS.items():
        assert colours[name] == pytest.approx(expected, abs=4), name


@pytest.mark.parametrize(
    ("rotation", "corners"),
    [
        (0, ["red", "green", "blue", "grey"]),
        (90, ["green", "grey", "red", "blue"]),
        (180, ["grey", "blue", "green", "red"]),
        (270, ["blue", "red", "grey", "green"]),
    ],
)
def test_rotation_is_applied(tmp_path: Path, rotation: int, corners: list[str]) -> None:
    """-display_rotation turns counter-clockwise, so at 90 the top right corner comes to the top left."""
    upright = write_video(tmp_path / "upright.mp4", [corners_picture()] * 3, *ENCODINGS["BT.601, limited range"])
    turned = tmp_path / "turned.mp4"
    run_ffmpeg("-display_rotation", str(rotation), "-i", upright, "-c", "copy", turned)
    frames = decode_video(turned, CONFIG)
    colours = list(corner_colours(frames.jpegs[2]).values())
    for colour, name in zip(colours, corners, strict=True):
        assert colour == pytest.approx(CORNERS[name], abs=6), name
    size = (frames.source_width, frames.source_height)
    assert size == ((128, 192) if rotation in {90, 270} else (192, 128))
    assert len(frames.jpegs) == 3
    assert {jpeg_size(jpeg) for jpeg in frames.jpegs} == {(128, 171)}


def test_the_first_video_stream_counts_and_cover_pictures_do_not(tmp_path: Path) -> None:
    cover = write_numbered_video(tmp_path / "cover.png", 1, "-update", "1", start=777)
    first = write_numbered_video(tmp_path / "first.mp4", 20)
    second = write_numbered_video(tmp_path / "second.mp4", 5, start=500)
    path = tmp_path / "all.mp4"
    maps = ("-map", "0", "-map", "1", "-map", "2", "-map", "3")
    sound = ("-f", "lavfi", "-i", "sine=d=1")
    disposition = ("-c:v", "copy", "-disposition:v:0", "attached_pic", "-disposition:v:2", "default")
    run_ffmpeg(*sound, "-i", cover, "-i", first, "-i", second, *maps, *disposition, path)
    assert read_numbers(decode_video(path, CONFIG).jpegs) == list(range(20))


NAMES = (
    "with space.avi",
    "colon:colon.avi",
    "concat:a|b.avi",
    "percent %03d %d%%.avi",
    "-leading dash.avi",
    "quotes ' \" `.avi",
    "[brackets]{braces};$HOME&.avi",
    "backslash\\.avi",
    "new\nline.avi",
    "grüße 视频.avi",
    "not utf-8 \udcff.avi",
)


@pytest.mark.parametrize("name", NAMES)
def test_any_name_will_do(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    shutil.copyfile(plain, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert read_numbers(decode_video(Path(name), SMALL).jpegs) == list(range(4))


def test_an_absolute_path_will_do(plain: Path) -> None:
    assert read_numbers(decode_video(plain, SMALL).jpegs) == list(range(4))


@pytest.mark.parametrize("codec", ["mpeg4 with B-frames", "h264 with B-frames", "vp9", "mpeg2 transport stream"])
def test_bytes_do_not_depend_on_the_cpu(tmp_path: Path, codec: str) -> None:
    name, options = CODECS[codec]
    path = tmp_path / name
    run_ffmpeg("-f", "lavfi", "-i", "testsrc2=s=318x238:r=25:d=0.6", *options, path)
    assert decode_video(path, CONFIG, cpu_flags="0") == decode_video(path, CONFIG)


def test_bytes_do_not_depend_on_time_or_place(plain: Path, tmp_path: Path) -> None:
    moved = shutil.copyfile(plain, tmp_path / "b.avi")
    assert decode_video(moved, CONFIG) == decode_video(plain, CONFIG)


def test_the_bundled_binary_and_its_version() -> None:
    version = ffmpeg_version(ffmpeg_binary())
    assert re.match(r"[nN]?-?\d", version)
    assert version in subprocess.check_output([ffmpeg_binary("bundled"), "-version"]).decode()


def write_script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo ffmpeg version 4.4.2-0ubuntu", "4.4.2-0ubuntu; 5.1 or newer"),
        ("echo ffmpeg version 5.0 Copyright", "ffmpeg 5.0; 5.1 or newer"),
        ("echo ImageMagick 7", "is not ffmpeg"),
        ("echo foreign words >&2; exit 3", "does not run as ffmpeg"),
    ],
)
def test_an_unfit_ffmpeg_is_a_usage_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], script: str, words: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        ffmpeg_version(write_script(tmp_path / "ffmpeg", script))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("says", ["ffmpeg version 5.1.4", "ffmpeg version n9.0.2-17-g2a", "ffmpeg version N-1234-gabc"])
def test_a_fit_ffmpeg_tells_its_version(tmp_path: Path, says: str) -> None:
    assert ffmpeg_version(write_script(tmp_path / "ffmpeg", f"echo '{says} Copyright'")) == says.removeprefix(
        "ffmpeg version "
    )


def test_no_ffmpeg_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"^frames\.ffmpeg = '/no/such': "):
        ffmpeg_binary("/no/such")
    with pytest.raises(UsageError, match=r"^ffmpeg = '/no/such': "):
        ffmpeg_binary("/no/such", key="ffmpeg")
    ffmpeg_binary.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="no ffmpeg on PATH"):
        ffmpeg_binary("system")
    expected = write_script(tmp_path / "ffmpeg", "")
    assert ffmpeg_binary("system") == expected
    ffmpeg_binary.cache_clear()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("height", 8), ("width", 0), ("quality", 32), ("fps", 25)),
        *(("max_frames", 0), ("max_frames", 10**21), ("max_source_pixels", 2**31)),
        *(("time_limit_seconds", 0), ("time_limit_seconds", 1e10)),
    ],
)
def test_settings_are_checked(key: str, value: float) -> None:
    with pytest.raises(UsageError, match=key):
        validate_config(FramesConfig, {key: value}, origin="frames")


def real_clips(data_dir: Path) -> list[Path]:
    """The smallest file of every real data set."""
    clips: list[Path] = []
    for folder in ("ucf101", "ucf101-8", "hmdb51", "kinetics", "weizmann", "fights"):
        videos = [path for path in (data_dir / folder / "videos").rglob("*.*") if path.is_file()]
        clips.append(min(videos, key=lambda path: (path.stat().st_size, path)))
    return clips


def num_frames_of_pyav(path: Path) -> int:
    with av.open(str(path), metadata_errors="replace") as container:
        return sum(1 for _ in container.decode(video=0))


def num_frames_of_ffmpeg(path: Path) -> int:
    command = [ffmpeg_binary(), "-i", str(path), "-map", "0:V:0", "-fps_mode", "passthrough", "-f", "null", "-"]
    stderr = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True).stderr
    return int(re.findall(rb"frame= *(\d+)", stderr)[-1])


def test_real_clips_have_the_frames_that_others_count(data_dir: Path) -> None:
    for clip in real_clips(data_dir):
        frames = decode_video(clip, CONFIG)
        assert len(frames.jpegs) == num_frames_of_ffmpeg(clip) == num_frames_of_pyav(clip), clip
        assert frames.fps > 0, clip


def test_real_frames_show_what_pyav_shows(data_dir: Path) -> None:
    clip = min((data_dir / "ucf101" / "videos").rglob("*.avi"))
    jpegs = decode_video(clip, CONFIG).jpegs[:20]
    ours = np.stack([simplejpeg.decode_jpeg(jpeg) for jpeg in jpegs]).astype(np.float32)
    with av.open(str(clip)) as container:
        frames = itertools.islice(container.decode(video=0), len(jpegs))
        images = [Image.fromarray(frame.to_ndarray(format="rgb24")) for frame in frames]
    size = (CONFIG.width, CONFIG.height)
    theirs = np.stack([np.asarray(image.resize(size)) for image in images]).astype(np.float32)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).mean(axis=(1, 2, 3)).max() < 4.0


@pytest.mark.parametrize(("defaults", "start"), [(("0", "default"), 100), (("default", "0"), 0), (("0", "0"), 0)])
def test_of_several_video_streams_the_default_one_is_taken(
    tmp_path: Path, defaults: tuple[str, str], start: int
) -> None:
    for name, first in (("a.mkv", 0), ("b.mkv", 100)):
        write_numbered_video(tmp_path / name, 5, start=first)
    dispositions = [word for i, word in enumerate(defaults) for word in (f"-disposition:v:{i}", word)]
    sources = ("-i", tmp_path / "a.mkv", "-i", tmp_path / "b.mkv", "-map", "0", "-map", "1", "-c", "copy")
    run_ffmpeg(*sources, *dispositions, "-default_mode", "passthrough", tmp_path / "both.mkv")
    frames = decode_video(tmp_path / "both.mkv", FramesConfig())
    assert read_numbers(frames.jpegs) == list(range(start, start + 5))

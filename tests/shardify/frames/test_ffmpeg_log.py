"""Metadata and complaints from ffmpeg's stderr; the order of its threads' lines does not matter."""

from __future__ import annotations

import random

import pytest

from shardify.frames.ffmpeg_log import MAX_COMPLAINT_CHARS, MAX_COMPLAINTS, FfmpegLog, Stream

SOURCE = "/data/some folder/a.mov"
HEADER = """\
[info] Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:/data/some folder/a.mov':
[info]   Metadata:
[info]     title           : first line
 Stream #0:7: Video: a line of the title that looks like ours, 1x1, 99 fps
[info]   Duration: 01:02:03.50, start: 0.000000, bitrate: 1015 kb/s
[info]   Stream #0:0[0x1](eng): Audio: aac (LC), 48000 Hz, stereo, fltp (default)
[info]   Stream #0:1[0x2](und): Video: h264 (Main) (avc1 / 0x31637661), yuv420p(tv, bt709), 568x320, \
951 kb/s, 29.97 fps, 30 tbr, 19200 tbn (default)
[info]     Side data:
[info]       Display Matrix: rotation of -90.00 degrees
[info]   Stream #0:2: Video: png, rgb24(pc), 160x128, 90k tbr, 90k tbn (attached pic)
[info] Stream mapping:
[info]   Stream #0:1 -> #0:0 (h264 (native) -> mjpeg (native))
[info] Output #0, mjpeg, to 'pipe:1':
[info]   Stream #0:0: Video: mjpeg, yuv420p(pc), 171x128, 25 fps, 25 tbn
""".splitlines()
COUNTS = [
    "[in#0/mov @ 0x5612] [verbose]   Input stream #0:0 (video): 9 packets read (9 bytes); 8 frames decoded; ",
    "[in#0/mov @ 0x5612] [verbose]   Input stream #0:1 (video): 50 packets read (45842 bytes); 49 frames decoded; ",
]
COMPLAINTS = [
    "[in#0/mov @ 0x5612] [warning] /data/some folder/a.mov: packet 7 is corrupt",
    "[in#0/mov @ 0x5612] [error] stream 0, offset 0x1943b: partial file",
    "[h264 @ 0x5612ab] [error] Invalid NAL unit size (17 > 551).",
    "[h264 @ 0x7f12] [error] Invalid NAL unit size (-1 > 22).",
    "[vist#0:1/h264 @ 0x1] [dec:h264 @ 0x2] [error] Error submitting packet to decoder: Invalid data",
    "[vist#0:1/h264 @ 0x1] [dec:h264 @ 0x2] [fatal] Decode error rate 1 exceeds maximum 0.666667",
    "[vist#0:1/h264 @ 0x1] [dec:h264 @ 0x2] [error] Task finished with error code: -22 (Invalid argument)",
    "[aist#0:0/aac @ 0x1] [warning] Guessed Channel Layout: mono",
    "[info] Side note",
]


def read(lines: list[str]) -> FfmpegLog:
    log = FfmpegLog(source=SOURCE)
    log.read(f"{line}\n".encode(errors="surrogateescape") for line in lines)
    return log


def test_metadata_is_that_of_the_mapped_stream() -> None:
    log = read(HEADER + COUNTS)
    assert log.container == "mov,mp4,m4a,3gp,3g2,mj2"
    assert log.duration_seconds == 3723.5
    assert {index: stream.medium for index, stream in log.streams.items()} == {0: "Audio", 1: "Video", 2: "Video"}
    assert log.mapped == 1
    assert log.video is log.streams[1]
    assert (log.video.codec, log.video.size, log.video.fps) == ("h264", (320, 568), 30000 / 1001)
    assert [log.streams[index].is_attached_picture for index in (1, 2)] == [False, True]
    assert (log.packets_read, log.frames_decoded) == (50, 49)
    assert log.complaints == ()


def test_an_unopened_source_has_nothing() -> None:
    log = read(["[in#0 @ 0x1] [error] Error opening input: Invalid data found when processing input"])
    assert (log.streams, log.video, log.duration_seconds, log.packets_read) == ({}, None, None, None)
    assert log.complaints == ("[in#0] Error opening input: Invalid data found when processing input",)


@pytest.mark.parametrize(
    ("rates", "fps"),
    [
        ("25 fps, 25 tbr, 25 tbn", 25.0),
        ("28.05 fps, 30 tbr, 15360 tbn", 28.05),
        ("1k fps, 23.98 tbr, 1k tbn", 24000 / 1001),
        ("59.94 fps, 59.94 tbr, 60k tbn", 60000 / 1001),
        ("30 tbr, 90k tbn", 30.0),
        ("90k tbn", 0.0),
    ],
)
def test_the_frame_rate_is_the_mean_but_never_above_what_the_timestamps_allow(rates: str, fps: float) -> None:
    assert Stream(medium="Video", description=f"vp8, yuv420p, 640x360, {rates}").fps == fps


@pytest.mark.parametrize(
    ("rotation", "size"), [(0, (640, 360)), (-90, (360, 640)), (180, (640, 360)), (270, (360, 640))]
)
def test_the_size_is_that_of_the_upright_picture(rotation: float, size: tuple[int, int]) -> None:
    stream = Stream(medium="Video", description="vp8, yuv420p, 640x360, SAR 1:1", rotation_degrees=rotation)
    assert stream.size == size


def test_complaints_are_distinct_grave_first_and_without_paths_and_addresses() -> None:
    assert read(HEADER + COMPLAINTS).complaints == (
        "[vist#0:1/h264] [dec:h264] Decode error rate 1 exceeds maximum 0.666667",
        "[h264] Invalid NAL unit size (-1 > 22).",
        "[in#0/mov] stream 0, offset 0x1943b: partial file",
        "[vist#0:1/h264] [dec:h264] Error submitting packet to decoder: Invalid data",
        "[in#0/mov] the video: packet 7 is corrupt",
    )


def test_complaints_do_not_depend_on_the_sequence_of_lines() -> None:
    expected = read(HEADER + COMPLAINTS + COUNTS).complaints
    shuffled = COMPLAINTS + COUNTS
    for seed in range(20):
        random.Random(seed).shuffle(shuffled)
        assert read(HEADER + shuffled).complaints == expected


def test_complaints_are_few_short_and_printable() -> None:
    log = read([f"[h264 @ 0x1] [error] {letter} \x1b[31m \udcff {letter * 500}" for letter in "abcdefghijk"])
    assert len(log.complaints) == MAX_COMPLAINTS
    assert all(len(line) == MAX_COMPLAINT_CHARS and line.isprintable() for line in log.complaints)


def test_a_signal_that_stopped_ffmpeg_is_noticed() -> None:
    assert not read(HEADER).was_asked_to_stop
    assert read([*HEADER, "[info] Exiting normally, received signal 15."]).was_asked_to_stop

"""Odd and damaged videos: each gives frames or the right reason; none hangs.

The table's counts are those of ffmpeg's framecrc muxer and of PyAV, which `test_the_table_is_true` counts again.
"""

from __future__ import annotations

import functools
import os
import pickle
import re
import socket
import subprocess
import time
from pathlib import Path

import av
import pytest
import simplejpeg
from helpers_videos import read_numbers, run_ffmpeg, write_numbered_video

from shardify.frames.decoding import VideoError, _run, decode_video
from shardify.frames.ffmpeg_command import FramesConfig, ffmpeg_binary
from shardify.frames.ffmpeg_log import MAX_COMPLAINT_CHARS, MAX_COMPLAINTS, FfmpegLog

CONFIG = FramesConfig(time_limit_seconds=120)
MIN_FRAMES = 16
"""What a build asks for by default; shorter videos are left out of its shards."""

DAMAGED = True
"""ffmpeg complains, and its complaints are kept as warnings."""

DECODED: dict[str, tuple[int, bool]] = {
    "decord_corrupted.mp4": (49, DAMAGED),
    "decord_unordered.mov": (4, False),
    "decord_video_180.mov": (3, False),
    "decord_video_270.mov": (3, False),
    "fate_1242-small.mkv": (12, DAMAGED),
    "fate_2004-12-17-uebung9-partial.avi": (35, DAMAGED),
    "fate_RRSF49-short.mp4": (107, DAMAGED),
    "fate_attachment631-small.mp4": (163, DAMAGED),
    "fate_brokensps.mp4": (79, DAMAGED),
    "fate_bug821-2.mp4": (14, False),
    "fate_cropdetect1.mp4": (10, False),
    "fate_ct_ending_cut.mp4": (20, False),
    "fate_dts_5frames.mkv": (5, False),
    "fate_empty_edit_5s.mp4": (100, DAMAGED),
    "fate_frame_size_change.mp4": (300, False),
    "fate_laracroft-cinepak-partial.avi": (79, DAMAGED),
    "fate_mov-2elist-elist1-ends-bframe.mp4": (42, False),
    "fate_mov_neg_first_pts_discard.mp4": (15, False),
    "fate_mov_stream_shorter_than_movie.mp4": (24, False),
    "fate_sample-in-issue-505.mp4": (105, False),
    "fate_test-4867.mp4": (359, False),
    "fate_vp90-2-02-size-08x08.mp4": (10, False),
    "fate_white_zombie_scrunch-part.mp4": (65, DAMAGED),
    "mmaction2_demo_skeleton_vfr.mp4": (72, False),
    "mp4parse_bbb_sunflower_QCIF_30fps_h263_noaudio_1f.3gp": (1, False),
    "mp4parse_no_timescale.mp4": (170, DAMAGED),
    "mp4parse_video_colr_nclx_rgb.mp4": (3, False),
    "mp4parse_white.mp4": (300, False),
    "torchcodec_h264_10bits.mp4": (30, False),
    "torchcodec_h265_video.mp4": (10, False),
    "ucf101_v_JugglingBalls_g18_c02_header243_decodes235.avi": (235, False),
}
"""Files that decode: the number of frames, and whether ffmpeg complains."""

REJECTED = {
    "fate_dvbsubtest_filter.mp4": "it announces video but holds no video data",
    "fate_pmtchange.mp4": "none of its 3 video packets could be decoded",
    "mp4parse_afconvert-aac-0.5s.mp4": "no video stream, only audio",
    "mp4parse_bipbop_nonfragment_header.mp4": "it announces video but holds no video data",
    "mp4parse_chunk_out_of_range.mp4": "not a video, or its header is damaged",
    "mp4parse_opus_audioinit.mp4": "no video stream, only audio",
    "mp4parse_test_case_1185230.mp4": "none of its 3 video packets could be decoded",
    "mp4parse_zero_empty_stsc.mp4": "none of its 2 video packets could be decoded",
}
"""Files that do not, and why."""


NO_INDEX = "no index (moov atom) in it: cut short, never finished, or not a video"


def test_the_table_is_complete(data_dir: Path) -> None:
    assert sorted(DECODED | REJECTED) == sorted(path.name for path in (data_dir / "odd").iterdir())
    assert len(DECODED) + len(REJECTED) == 39
    assert sum(num_frames >= MIN_FRAMES for num_frames, _ in DECODED.values()) == 19


LARGE = {"fate_test-4867.mp4", "fate_frame_size_change.mp4"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in DECODED])
def test_an_odd_file_that_decodes(data_dir: Path, name: str) -> None:
    num_frames, is_damaged = DECODED[name]
    frames = decode_video(data_dir / "odd" / name, CONFIG)
    assert len(frames.jpegs) == num_frames
    for jpeg in frames.jpegs:
        assert simplejpeg.decode_jpeg(jpeg).shape == (CONFIG.height, CONFIG.width, 3)
    assert bool(frames.warnings) == is_damaged
    assert_clean(frames.warnings)


@pytest.mark.parametrize("name", REJECTED)
def test_an_odd_file_that_does_not_decode(data_dir: Path, name: str) -> None:
    with pytest.raises(VideoError) as caught:
        decode_video(data_dir / "odd" / name, CONFIG)
    assert (caught.value.status, caught.value.reason) == ("rejected", REJECTED[name])
    assert caught.value.ffmpeg
    assert_clean(tuple(caught.value.ffmpeg.split("; ")))


def assert_clean(words: tuple[str, ...]) -> None:
    """ffmpeg's words are few, short, distinct and name neither addresses nor paths."""
    assert len(words) <= MAX_COMPLAINTS
    assert len(set(words)) == len(words)
    for line in words:
        assert 0 < len(line) <= MAX_COMPLAINT_CHARS
        assert " @ " not in line
        assert "0x7f" not in line
        assert "/odd/" not in line


@pytest.mark.slow
@pytest.mark.parametrize("name", [*DECODED, *REJECTED])
def test_the_table_is_true(data_dir: Path, name: str) -> None:
    """Two other ways of counting agree with it: ffmpeg's packets of raw frames, and PyAV's libraries."""
    expected = DECODED[name][0] if name in DECODED else 0
    path = data_dir / "odd" / name
    assert num_frames_by_framecrc(path) == expected
    assert num_frames_by_pyav(path) == expected


def num_frames_by_framecrc(path: Path) -> int:
    options = ("-threads", "1", "-i", str(path), "-map", "0:V:0", "-fps_mode", "passthrough", "-f", "framecrc", "-")
    command = [ffmpeg_binary(), "-loglevel", "quiet", *options]
    lines = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).stdout.splitlines()
    return sum(not line.startswith(b"#") for line in lines)


def num_frames_by_pyav(path: Path) -> int:
    num_frames = 0
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                return 0
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            for packet in container.demux(stream):
                try:
                    num_frames += len(packet.decode())
                except av.FFmpegError:
                    continue  # a damaged packet; the next may be sound
    except av.FFmpegError:
        pass
    return num_frames


QUICK = {"fate_1242-small.mkv", "fate_2004-12-17-uebung9-partial.avi", "fate_bug821-2.mp4", "fate_pmtchange.mp4"}
"""Small files whose errors are concealed, or that ffmpeg refuses."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in [*DECODED, *REJECTED]]
)
def test_bytes_and_words_are_the_same_on_any_cpu(data_dir: Path, name: str) -> None:
    """Concealment of errors and unusual codecs included."""
    path = data_dir / "odd" / name
    assert outcome(path, cpu_flags="0") == outcome(path)


@functools.cache
def outcome(path: Path, cpu_flags: str | None = None) -> object:
    try:
        return decode_video(path, CONFIG, cpu_flags=cpu_flags)
    except VideoError as error:
        return error.status, error.reason, error.ffmpeg


def reason_of(path: Path, config: FramesConfig = CONFIG, status: str = "rejected") -> str:
    """The reason for which a video is refused, after checking its status."""
    with pytest.raises(VideoError) as caught:
        decode_video(path, config)
    assert caught.value.status == status
    assert str(caught.value) == caught.value.reason
    assert str(path) not in caught.value.reason + caught.value.ffmpeg
    return caught.value.reason


def test_files_that_are_no_videos(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert reason_of(tmp_path / "empty.mp4") == "the file is empty"
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    assert reason_of(tmp_path / "text.mp4") == NO_INDEX
    (tmp_path / "zeros.avi").write_bytes(bytes(100_000))
    assert reason_of(tmp_path / "zeros.avi") == "not a video, or its header is damaged"
    os.mkfifo(tmp_path / "pipe.mp4")
    assert reason_of(tmp_path / "pipe.mp4") == "not a regular file"
    assert reason_of(tmp_path) == "not a regular file"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            "a Git LFS pointer, not the video itself: fetch the videos with `git lfs pull`",
        ),
        ("\ufeff\n<!DOCTYPE html>\n<html>Sign in</html>\n", "a web page, not a video: its download failed"),
        ("<HTML><body>404</body></HTML>", "a web page, not a video: its download failed"),
        ("<?xml version='1.0'?><Error>AccessDenied</Error>", "a server's message, not a video: its download failed"),
    ],
)
@pytest.mark.parametrize("ending", ["mp4", "avi", "webm"])
def test_what_stands_in_a_videos_place_is_named(tmp_path: Path, ending: str, content: str, reason: str) -> None:
    (tmp_path / f"a.{ending}").write_text(content)
    assert reason_of(tmp_path / f"a.{ending}") == reason


def test_a_missing_file_is_transient(tmp_path: Path) -> None:
    assert reason_of(tmp_path / "gone.mp4", status="transient") == "cannot be read: No such file or directory"


def test_an_mp4_cut_short_has_no_index(tmp_path: Path) -> None:
    path = write_numbered_video(tmp_path / "a.mp4", 30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert reason_of(path) == NO_INDEX


def test_an_avi_cut_short_gives_the_frames_it_has(tmp_path: Path) -> None:
    path = write_numbered_video(tmp_path / "a.avi", 60)
    content = path.read_bytes()
    path.write_bytes(content[: (content.index(b"movi") + content.index(b"idx1")) // 2])
    numbers = read_numbers(decode_video(path, CONFIG).jpegs)
    assert 15 < len(numbers) < 50
    assert numbers[:-1] == list(range(len(numbers) - 1))  # the last one may be half a picture


def test_a_damaged_part_costs_only_its_own_frames(tmp_path: Path) -> None:
    path = write_numbered_video(tmp_path / "a.ts", 100, "-c:v", "mpeg2video", "-q:v", "3", "-g", "10")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1000] = bytes(1000)
    path.write_bytes(content)
    frames = decode_video(path, CONFIG)
    assert frames.warnings
    assert_clean(frames.warnings)
    numbers = read_numbers(frames.jpegs)
    assert numbers[:40] == list(range(40))
    assert numbers[-40:] == list(range(60, 100))


def test_sound_alone_and_cover_pictures_are_no_videos(tmp_path: Path) -> None:
    sound = tmp_path / "sound.m4a"
    run_ffmpeg("-f", "lavfi", "-i", "sine=d=0.5", sound)
    assert reason_of(sound) == "no video stream, only audio"
    cover = write_numbered_video(tmp_path / "cover.png", 1, "-update", "1")
    song = tmp_path / "song.m4a"
    maps = ("-map", "0", "-map", "1", "-c", "copy", "-disposition:v:0", "attached_pic")
    run_ffmpeg("-i", sound, "-i", cover, *maps, song)
    assert reason_of(song) == "no video stream, only a cover picture"


def test_an_encrypted_video_is_named_so(tmp_path: Path) -> None:
    key = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "01" * 16, "-encryption_kid", "02" * 16)
    path = write_numbered_video(tmp_path / "a.mp4", 20, "-c:v", "libx264", *key)
    assert reason_of(path) == "its video is encrypted"
    video = path.read_bytes()
    header = video.index(b"moov") - 4  # behind the frames
    num_free = (1 << 20) - 4 - video.index(b"encv")  # now the entry begins in the first MiB and ends in the second
    free = num_free.to_bytes(4, "big") + b"free" + bytes(num_free - 8)
    path.write_bytes(video[:header] + free + video[header:])
    assert reason_of(path) == "its video is encrypted"


def test_an_unknown_codec_is_named_so(tmp_path: Path) -> None:
    path = write_numbered_video(tmp_path / "a.avi", 20, "-c:v", "mpeg4", "-vtag", "XVID")
    path.write_bytes(path.read_bytes().replace(b"XVID", b"Q?Z?"))
    assert reason_of(path) == "ffmpeg has no decoder for its codec"


@pytest.mark.parametrize(
    ("key", "value"), [("max_source_pixels", 10**21), ("max_frames", 10**21), ("height", "9:zap=1")]
)
def test_a_refused_option_is_transient(tmp_path: Path, key: str, value: object) -> None:
    path = write_numbered_video(tmp_path / "a.avi", 3)
    config = CONFIG.model_copy(update={key: value})  # such values cannot be set; another ffmpeg may refuse others
    assert reason_of(path, config, status="transient") == "ffmpeg refused an option it was given"


def test_giant_pictures_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = write_numbered_video(tmp_path / "a.mp4", 3, "-c:v", "libx264")
    config = FramesConfig(max_source_pixels=160 * 128 - 1)
    assert reason_of(path, config) == "its pictures are larger than allowed (frames.max_source_pixels)"
    assert len(decode_video(path, FramesConfig(max_source_pixels=256 * 192)).jpegs) == 3


def test_the_frame_limit_is_exact(tmp_path: Path) -> None:
    path = write_numbered_video(tmp_path / "a.avi", 40)
    assert len(decode_video(path, FramesConfig(max_frames=40)).jpegs) == 40
    assert reason_of(path, FramesConfig(max_frames=39)) == "more than 39 frames (frames.max_frames)"


def test_only_local_files_are_opened(tmp_path: Path) -> None:
    """A playlist that calls itself a video must not make ffmpeg fetch what it names."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n"
        for name, content in (
            ("a.m3u8", playlist),
            ("b.mp4", playlist),
            ("c.txt", f"ffconcat version 1.0\nfile {address}\n"),
        ):
            (tmp_path / name).write_text(content)
            reason_of(tmp_path / name, FramesConfig(time_limit_seconds=20))
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("name", ["{folder}/other.avi", "../other.avi"])
def test_a_list_of_files_opens_none_outside_its_folder(tmp_path: Path, name: str) -> None:
    write_numbered_video(tmp_path / "other.avi", 17)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_text(f"ffconcat version 1.0\nfile '{name.format(folder=tmp_path)}'\n")
    reason_of(tmp_path / "videos" / "a.mp4")


def fake_ffmpeg(folder: Path, script: str, **settings: object) -> FramesConfig:
    """A config whose ffmpeg is a shell script."""
    path = folder / "fake-ffmpeg"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return FramesConfig.model_validate({"ffmpeg": str(path), **settings})


@pytest.fixture
def any_file(tmp_path: Path) -> Path:
    path = tmp_path / "any.avi"
    path.write_bytes(b"content")
    return path


@pytest.mark.parametrize("script", ["exec sleep 60", "exec yes >&2", "exec 1>&- 2>&-; exec sleep 60"])
def test_the_time_limit_ends_a_hanging_ffmpeg(tmp_path: Path, any_file: Path, script: str) -> None:
    config = fake_ffmpeg(tmp_path, f"echo $$ > {tmp_path}/pid\n{script}", time_limit_seconds=0.5)
    start = time.monotonic()
    reason = reason_of(any_file, config, status="transient")
    assert reason == "not decoded within 0.5 s (frames.time_limit_seconds)"
    assert time.monotonic() - start < 20
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("kill -9 $$", "ffmpeg was ended by signal 9"),
        ("kill -11 $$", "ffmpeg was ended by signal 11"),
        ("echo '[h264 @ 0x1f] [error] Cannot allocate memory' >&2; exit 1", "ffmpeg ran out of memory"),
    ],
)
def test_an_ffmpeg_that_was_killed_is_transient(tmp_path: Path, any_file: Path, script: str, reason: str) -> None:
    whole_frames = tmp_path / "frames.mjpg"
    write_numbered_video(whole_frames, 2, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")
    assert reason_of(any_file, fake_ffmpeg(tmp_path, f"cat {whole_frames}; {script}"), status="transient") == reason


def test_an_ffmpeg_that_was_asked_to_stop_is_transient(tmp_path: Path) -> None:
    """A signal, as from a batch system, makes ffmpeg end in good order with the frames it has: half a video."""
    config = fake_ffmpeg(tmp_path, f'{ffmpeg_binary()} -re "$@" & sleep 1; kill -TERM $!; wait $!')
    path = write_numbered_video(tmp_path / "a.avi", 500)  # 20 s at the rate that -re reads it
    assert reason_of(path, config, status="transient") == "ffmpeg was asked to stop by a signal"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("echo more >> ", "it changed while it was read; wait until it is whole"),
        ("touch -d @1 ", "it changed while it was read; wait until it is whole"),
        ("rm ", "cannot be read to its end: No such file or directory"),
    ],
)
def test_a_file_that_changes_while_it_is_read_is_transient(tmp_path: Path, change: str, reason: str) -> None:
    """Such as a download that goes on: what has arrived may be a whole video of half the length."""
    path = write_numbered_video(tmp_path / "a.avi", 2)
    config = fake_ffmpeg(tmp_path, f'{ffmpeg_binary()} "$@"; {change}{path}')
    assert reason_of(path, config, status="transient") == reason


def test_an_interrupted_run_leaves_no_ffmpeg_behind() -> None:
    """And Ctrl-C does not reach ffmpeg by itself, since it would end in good order with half a video."""
    log = FfmpegLog(source="any.avi")
    run = _run(["sleep", "60"], log, 60)
    process, _ = run.__enter__()
    assert os.getsid(process.pid) != os.getsid(0)
    assert not run.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert process.returncode == -9


def test_damaged_output_is_refused(tmp_path: Path, any_file: Path) -> None:
    reason = reason_of(any_file, fake_ffmpeg(tmp_path, "echo garbage"))
    assert re.match("ffmpeg wrote damaged frames: no JPEG begins at byte 0 of 8", reason)


def test_lost_frames_are_noticed(tmp_path: Path, any_file: Path) -> None:
    write_numbered_video(tmp_path / "frames.mjpg", 2, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")
    log = r"""
[info] Input #0, avi, from 'file':
[info]   Stream #0:0: Video: mpeg4, yuv420p, 320x240, 25 fps, 25 tbr, 25 tbn
[info] Stream mapping:
[info]   Stream #0:0 -> #0:0 (mpeg4 (native) -> mjpeg (native))
[in#0/avi @ 0x1f] [verbose]   Input stream #0:0 (video): 3 packets read (17 bytes); 3 frames decoded; 0 decode errors;
"""
    (tmp_path / "log").write_text(log)
    config = fake_ffmpeg(tmp_path, f"cat {tmp_path}/frames.mjpg; cat {tmp_path}/log >&2")
    assert reason_of(any_file, config) == "3 frames were decoded but 2 came out"


def test_a_flood_of_complaints_is_bounded(tmp_path: Path, any_file: Path) -> None:
    write_numbered_video(tmp_path / "frames.mjpg", 2, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")
    lines = (
        f"[h264 @ 0x1f] [error] problem {i} at the place {i:0300}\n[h264 @ 0x1f] [warning] bad word x{i}x in any.avi\n"
        for i in range(3000)
    )
    (tmp_path / "log").write_text("".join(lines))
    frames = decode_video(any_file, fake_ffmpeg(tmp_path, f"cat {tmp_path}/frames.mjpg; cat {tmp_path}/log >&2"))
    assert len(frames.jpegs) == 2
    assert len(frames.warnings) <= MAX_COMPLAINTS
    assert_clean(frames.warnings)
    assert frames.warnings[0].startswith("[h264] problem 0 at the place 0000")


def test_an_ffmpeg_that_cannot_start_is_transient(tmp_path: Path, any_file: Path) -> None:
    config = fake_ffmpeg(tmp_path, "exit 0")
    Path(config.ffmpeg).write_text("#!/no/such/interpreter\n")
    assert "could not be started" in reason_of(any_file, config, status="transient")


def test_ffmpegs_environment_variables_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FFREPORT", "")
    path = write_numbered_video(tmp_path / "a.avi", 2)
    for report in tmp_path.glob("*.log"):
        report.unlink()
    monkeypatch.setenv("AV_LOG_FORCE_COLOR", "1")
    assert decode_video(path, CONFIG).codec == "mpeg4"
    assert not list(tmp_path.glob("*.log"))


def test_errors_can_be_pickled() -> None:
    copy = pickle.loads(pickle.dumps(VideoError(status="transient", reason="why", ffmpeg="words")))
    assert (copy.status, copy.reason, copy.ffmpeg, str(copy)) == ("transient", "why", "words", "why")

"""The command line: what is printed, one line an error, the right exit code."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner, Result
from helpers_shards import NUM_VIDEOS, build_values

from shardify.cli import main
from shardify.command import CommandGroup
from shardify.errors import ADVICE, UsageError, WorkError
from shardify.inspection.summary import summary_lines
from shardify.progress import ProgressLine


@pytest.fixture
def config(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that describes the build of `built_folder`."""
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(yaml.safe_dump(build_values(source, path.parent / "out")))
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def error_of(result: Result, exit_code: int) -> str:
    """The only error line, after checking the exit code."""
    assert result.exit_code == exit_code, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.stderr.splitlines()[-1] == line
    return line.removeprefix("error: ")


def test_build_says_what_it_did_and_goes_on(config: Path, tmp_path: Path) -> None:
    result = run("build", config, "--set", f"out={tmp_path}")
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert first.startswith(f"{tmp_path}: 24 of 24 videos, 660 frames, ")
    assert second.startswith("wrote 7 shards in ")
    again = run("build", config, "--set", f"out={tmp_path}", "--json")
    values = json.loads(again.stdout)
    assert (values["num_shards_written"], values["num_samples"], values["problems"]) == (0, NUM_VIDEOS, [])


def test_too_many_rejects_end_with_1_and_keep_the_shards(config: Path, source: Path, tmp_path: Path) -> None:
    result = run("build", config, "--set", f"out={tmp_path}", "--set", "min_frames=30", "--json")
    message = error_of(result, 1)
    assert message.startswith("14 of 24 videos were rejected (14: N frames, but min_frames is 30), more than ")
    assert message.endswith(" --set max_rejected_share=0.59")
    assert json.loads(result.stdout)["reasons"] == {"N frames, but min_frames is 30": 14}
    assert run("verify", tmp_path, "--deep").exit_code == 0


def test_rejects_are_listed_and_retry_failed_is_passed_on(config: Path, tmp_path: Path) -> None:
    settings = (f"out={tmp_path}", "min_frames=18", "max_rejected_share=1")
    options: list[str | Path] = [
        "build",
        config,
        *(word for setting in settings for word in ("--set", setting)),
        "--json",
    ]
    assert json.loads(run(*options).stdout)["num_rejected"] == 2
    text = run("inspect", tmp_path).stdout
    assert "  2 videos rejected, 0 listed ones missing\n    rejected 2: N frames, but min_frames is 18\n" in text
    assert json.loads(run(*options).stdout)["num_shards_written"] == 0
    assert 1 <= json.loads(run(*options, "--retry-failed").stdout)["num_shards_written"] <= 2


def test_verify_lists_problems_and_ends_with_1(built_folder: Path, tmp_path: Path) -> None:
    good = run("verify", built_folder, "--json")
    assert good.exit_code == 0
    assert json.loads(good.stdout)["problems"] == []
    for options, what in ((), "size and checksum"), (("--deep",), "size, checksum and picture"):
        said = run("verify", built_folder, *options).stdout
        assert said == f"{built_folder} is intact: every {what} of 7 shards, 24 samples, 660 frames\n"
    bad = Path(shutil.copytree(built_folder, tmp_path / "bad"))
    (bad / "shard-000002.tar").unlink()
    result = run("verify", bad)
    assert result.stdout.splitlines() == [
        "shard 2: shard-000002.tar is missing",
        "checked 7 shards, 24 samples, 660 frames",
    ]
    assert error_of(result, 1).startswith(f"{bad}: 1 problem in 7 shards, 24 samples, 660 frames; ")


def test_what_verify_advises_mends_the_data_set(config: Path, built_folder: Path, tmp_path: Path) -> None:
    bad = Path(shutil.copytree(built_folder, tmp_path / "bad"))
    data = bytearray((bad / "shard-000002.tar").read_bytes())
    data[3000] ^= 1
    (bad / "shard-000002.tar").write_bytes(data)
    assert "delete the record (shard-NNNNNN.json) of each shard named" in error_of(run("verify", bad), 1)
    (bad / "shard-000002.json").unlink()
    assert run("build", config, "--set", f"out={bad}").exit_code == 0
    assert run("verify", bad, "--deep").exit_code == 0
    assert (bad / "shard-000002.tar").read_bytes() == (built_folder / "shard-000002.tar").read_bytes()


def test_inspect_sums_up(built_folder: Path) -> None:
    values = json.loads(run("inspect", built_folder, "--json").stdout)
    assert values["num_samples"] == NUM_VIDEOS
    assert values["classes"] == {"Fall": 8, "Spin": 8, "Zoom": 8}
    assert {split: counts["num_samples"] for split, counts in values["splits"].items()} == {
        "train1": 18,
        "test1": 6,
        "train2": 18,
        "test2": 6,
    }
    assert values["lengths"] == {"16 to 30": 15, "31 to 60": 9}
    text = run("inspect", built_folder).stdout
    assert text.startswith(f"ucf101 ({built_folder})\n  24 samples, 660 frames, ")
    assert "  test1   6 samples, " in text
    assert "  16 to 30  15\n" in text
    assert text.endswith("\nsamples by class\n  Fall  8\n  Spin  8\n  Zoom  8\n")


def test_classes_without_samples_share_a_line(built_folder: Path) -> None:
    values = json.loads(run("inspect", built_folder, "--json").stdout)
    many = {f"c{number}": 0 for number in range(12)}
    lines = summary_lines(values | {"classes": {"Spin": 8} | many})
    named = "c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 ..."
    assert lines[-3:] == ["samples by class", "  Spin  8", f"  no sample of 12 of 13 classes: {named}"]


@pytest.mark.parametrize("key", ["Fall__v_Fall_g01_c01", "Zoom__v_Zoom_g03_c02"])
def test_inspect_shows_one_sample(built_folder: Path, key: str) -> None:
    record = json.loads(run("inspect", built_folder, "--key", key, "--json").stdout)
    assert record["path"] == f"{key.replace('__v', '/v')}.avi"
    assert record["num_frames"] == len(record["frame_bytes"])
    tar = (built_folder / f"shard-{record['shard']:06d}.tar").read_bytes()
    assert tar[record["offset"] : record["offset"] + 2] == b"\xff\xd8"
    text = run("inspect", built_folder, "--key", key).stdout
    assert f"key: {key}\n" in text
    assert "codec: mpeg4\n" in text
    assert max(map(len, text.splitlines())) < 100


def test_inspect_of_an_unknown_key_suggests_others(built_folder: Path) -> None:
    message = error_of(run("inspect", built_folder, "--key", "Fall__v_Fall_g01_c09"), 2)
    assert message.startswith(f"{built_folder} has no sample 'Fall__v_Fall_g01_c09'; close to it: Fall__v_Fall_g01_c0")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("verify",), "{0} of {0} shards, 0:00 left"),
        (("inspect",), "reading indexes: {0} of {0} shards, 0:00 left"),
        (("inspect", "--pixels", "3"), "decoding: 3 of 3 samples, 0:00 left"),
        (("inspect", "--key", "Zoom__v_Zoom_g03_c02"), "looking: 1 of {0} shards"),
    ],
)
def test_looking_at_a_data_set_tells_how_far_it_is(
    built_folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], line: str
) -> None:
    monkeypatch.setattr(ProgressLine, "LOG_SECONDS", 0.0)
    result = run(words[0], built_folder, *words[1:])
    assert result.exit_code == 0, result.output
    assert line.format(len(list(built_folder.glob("*.tar")))) in result.stderr
    monkeypatch.undo()
    assert run(words[0], built_folder, *words[1:]).stderr == ""  # brief work says nothing


def test_urls_are_absolute_paths_of_a_splits_shards(built_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(built_folder.parent)
    every = run("urls", built_folder.name).stdout.splitlines()
    assert every == [str(path.resolve()) for path in sorted(built_folder.glob("*.tar"))]
    test1 = run("urls", built_folder.name, "--split", "test1").stdout.splitlines()
    assert 0 < len(test1) < len(every)
    message = error_of(run("urls", built_folder, "--split", "nope"), 2)
    assert message == "data set ucf101 has no split 'nope'; its splits: train1, test1, train2, test2"


def test_preview_says_where_the_pictures_are(built_folder: Path, tmp_path: Path) -> None:
    result = run("preview", built_folder, "--out", tmp_path)
    assert result.exit_code == 0
    assert all(Path(line).read_bytes().startswith(b"\x89PNG") for line in result.stdout.splitlines())
    assert len(result.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "nowhere.yaml"], "cannot read config nowhere.yaml: No such file or directory"),
        (
            ["verify", "nowhere"],
            "nowhere does not exist in {here}; give the folder, or a URL such as s3://bucket/path, that",
        ),
        (["inspect", "ftp://bucket/set"], "ftp://bucket/set: use s3://bucket/path, gs://bucket/path"),
        (["urls", "."], "holds no manifest.json"),
        (["preview", ".", "--out", "x"], "holds no manifest.json"),
    ],
)
def test_wrong_requests_end_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message.replace("{here}", str(tmp_path)) in error_of(run(*arguments), 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("frame.height=3", "unknown key frame (did you mean frames?)"),
        ("frames.height=3", "frames.height = 3: "),
        ("min_frames=0", "min_frames = 0: "),
        ("min_frames=10000000", "min_frames = 10000000: "),
        ("videos_per_shard=10000000", "videos_per_shard = 10000000: "),
        ("workers=1000000", "workers = 1000000: "),
        ("seed=9223372036854775808", "seed = 9223372036854775808: "),
        ("frames.ffmpeg=/bin/ls", "does not run as ffmpeg; set frames.ffmpeg to bundled"),
        ("source.kind=ucf", "source"),
        ("source.videos=nowhere", "source.videos = nowhere: no such folder"),
        ("source.lists=nowhere", "nowhere"),
        ("frames.ffmpeg=/no/ffmpeg", "frames.ffmpeg = '/no/ffmpeg': /no/ffmpeg is not a program"),
        ("pack=zip", "pack = 'zip': "),
        ("workers", "write it as dotted.key=value"),
    ],
)
def test_wrong_configs_end_with_2_and_write_nothing(config: Path, tmp_path: Path, override: str, message: str) -> None:
    out = tmp_path / "out"
    assert message in error_of(run("build", config, "--set", f"out={out}", "--set", override), 2)
    assert not out.exists()


def test_a_folder_that_cannot_be_made_is_a_usage_error(config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = error_of(run("build", config, "--set", f"out={tmp_path / 'file' / 'out'}"), 2)
    assert message == f"cannot make the folder {tmp_path / 'file' / 'out'}: Not a directory"


@pytest.mark.parametrize(
    ("error", "exit_code", "line"),
    [
        (UsageError("two\n  lines"), 2, "error: two lines"),
        (WorkError("it failed"), 1, "error: it failed"),
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on from what is saved"),
        (OSError(errno.EDOM, "Out of domain"), 1, "error: Out of domain"),
        *((OSError(code, "No", "/x"), 1, f"error: /x: No; {advice}") for code, advice in ADVICE.items()),
    ],
)
def test_errors_end_with_one_line_and_their_exit_code(error: BaseException, exit_code: int, line: str) -> None:
    @click.group(cls=CommandGroup)
    def group() -> None: ...

    @group.command()
    def fail() -> None:
        raise error

    result = CliRunner().invoke(group, ["fail"])
    assert (result.exit_code, result.stderr, result.stdout) == (exit_code, f"{line}\n", "")


def test_programming_errors_keep_their_traceback() -> None:
    @click.group(cls=CommandGroup)
    def group() -> None: ...

    @group.command()
    def fail() -> None:
        raise ZeroDivisionError

    assert isinstance(CliRunner().invoke(group, ["fail"]).exception, ZeroDivisionError)


def test_help_names_every_command() -> None:
    text = run("--help").stdout
    for command in ("synthetic", "build", "verify", "inspect", "urls", "preview"):
        assert f"\n  {command} " in text


def test_python_m_shardify_and_building_load_no_torch() -> None:
    """Sharding machines run many workers; torch would cost each seconds and hundreds of megabytes."""
    code = (
        "import sys, shardify.cli, shardify.build.pool; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    done = subprocess.run([sys.executable, "-m", "shardify", "--help"], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("Usage: shardify [OPTIONS] COMMAND")

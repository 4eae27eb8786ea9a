"""Hostile input: mutated files of every kind give one line and an exit code, never a traceback or a hang.

Nothing is written outside OUT, no pickle is loaded, and no other machine is asked. A round is drawn from the seed, the
kind and its number, so a failure names all that repeats it. TEMPORAL_SSL_TEST_FUZZ_SECONDS is the time of all kinds
together.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner
from helpers_archives import files_below, write_tar
from helpers_datasets import numbered_jpeg, write_dataset
from helpers_hostile import Guard, mutate_bytes, mutate_json
from helpers_shards import make_videos
from helpers_training import run_tiny, tiny_values

import shardify.cli
import stream_train.cli
from shardify.build.config import BuildConfig
from shardify.config import load_config
from shardify.errors import UserFacingError
from stream_train.training.checkpoint import read_checkpoint
from stream_train.training.config import PretrainConfig
from stream_train.training.exports import load_backbone, load_model

SECONDS = float(os.environ.get("TEMPORAL_SSL_TEST_FUZZ_SECONDS", "20"))
SEED = os.environ.get("TEMPORAL_SSL_TEST_FUZZ_SEED", "0")
ROOT = Path(__file__).resolve().parents[2]
GUARD = Guard()

pytestmark = pytest.mark.slow
Files = dict[str, bytes]
"""Contents by path."""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good files of every kind, to mutate; read-only."""
    root = tmp_path_factory.mktemp("good")
    make_videos({root / "videos" / "a" / name: (17, 1) for name in ("one.avi", "two.mp4", "three.mkv", "four.mpg")})
    lists = root / "lists"
    lists.mkdir()
    (lists / "videos.csv").write_text("path,label,split\na/one.avi,walk,train\na/two.mp4,run,test\n")
    for packing in ("mjpg", "frames"):
        write_dataset(root / packing, [[16, 18], [17]], packing=packing)
    frames = {f"clip{v}/frame{f}.jpg": numbered_jpeg(v, f) for v in range(2) for f in range(17)}
    write_tar(root / "foreign" / "clips.tar", frames | {f"b.{f}.jpg": numbered_jpeg(3, f) for f in range(16)})
    write_tar(root / "archives" / "a.tar", files_below(root / "videos"))
    write_tar(root / "archives" / "b.tgz", {"x/one.avi": (root / "videos/a/one.avi").read_bytes()})
    run_tiny(root / "mjpg", root / "run", epochs=1)
    return root


def command(group: click.Group, *words: object) -> None:
    """Run a command here; raises AssertionError unless it ends as commands do."""
    result = CliRunner().invoke(group, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError("".join(traceback.format_exception(result.exception)))
    assert result.exit_code in (0, 1, 2), result.output
    assert "Traceback" not in result.output
    if result.exit_code:
        lines = [line for line in result.stderr.splitlines() if line.startswith(("error: ", "Error: "))]
        assert len(lines) == 1 or result.stdout, result.output


def build(kind: str, folder: Path, *words: str) -> None:
    sets = ("--set", f"out={folder / 'out'}", "--set", f"source.videos={folder / 'videos'}", "--set", "workers=1")
    small = ("--set", "frames.height=16", "--set", "frames.width=16", "--set", "frames.time_limit_seconds=20")
    command(shardify.cli.main, "build", ROOT / "configs" / "shards" / f"{kind}.yaml", *sets, *small, *words)


def videos(good: Path, folder: Path, rng: random.Random) -> None:
    """A video among good ones: it is packed or in the ledger, and the build ends."""
    name = rng.choice(sorted(path.name for path in (good / "videos" / "a").iterdir()))
    write(folder / "videos" / "a" / name, mutate_bytes((good / "videos" / "a" / name).read_bytes(), rng))
    shutil.copy(good / "videos" / "a" / "one.avi", folder / "videos" / "a" / "good.avi")
    build("flat", folder)


def lists(good: Path, folder: Path, rng: random.Random) -> None:
    shutil.copytree(good / "videos", folder / "videos")
    write(folder / "list.csv", mutate_bytes((good / "lists" / "videos.csv").read_bytes(), rng))
    build("csv", folder, "--set", f"source.lists={folder / 'list.csv'}")


def configs(good: Path, folder: Path, rng: random.Random) -> None:
    """YAML, as text and as values; nothing runs."""
    model, kind = rng.choice(((BuildConfig, "shards"), (PretrainConfig, "pretrain")))
    path = rng.choice(sorted((ROOT / "configs" / kind).glob("*.yaml")))
    data = path.read_bytes()
    if rng.random() < 0.5:
        data = mutate_json(json.dumps(yaml.safe_load(data)).encode(), rng)
    write(folder / "x.yaml", mutate_bytes(data, rng) if rng.random() < 0.5 else data)
    load(lambda: load_config(model, folder / "x.yaml", [mutate_bytes(b"a.b=[1, {c: d}]", rng).decode("latin-1")]))
    load(lambda: load_config(model, folder / "x.yaml"))


def read_data_set(folder: Path, rng: random.Random) -> None:
    """The commands that read shards, one of them, and a short training."""
    name = str(folder / "shards")
    words = rng.choice((["inspect", name], ["verify", name], ["verify", name, "--deep"], ["urls", name], ["train"]))
    if words != ["train"]:
        command(shardify.cli.main, *words)
        return
    values = tiny_values(
        name, folder / "out", epochs=1, split=None, data__reader={"kind": rng.choice(("indexed", "sequential"))}
    )
    (folder / "train.yaml").write_text(yaml.safe_dump(values))
    command(stream_train.cli.main, "pretrain", folder / "train.yaml")


def indexes(good: Path, folder: Path, rng: random.Random) -> None:
    """A changed index, mostly with the checksum that the manifest has of it."""
    shards = Path(shutil.copytree(good / rng.choice(("mjpg", "frames")), folder / "shards"))
    data = mutate_bytes((shards / "shard-000000.idx.npz").read_bytes(), rng)
    (shards / "shard-000000.idx.npz").write_bytes(data)
    manifest = json.loads((shards / "manifest.json").read_text())
    if rng.random() < 0.9:
        manifest["shardlist"][0] |= {"index_filesize": len(data), "index_sha256": hashlib.sha256(data).hexdigest()}
    (shards / "manifest.json").write_text(json.dumps(manifest))
    read_data_set(folder, rng)


def manifests(good: Path, folder: Path, rng: random.Random) -> None:
    shards = Path(shutil.copytree(good / "mjpg", folder / "shards"))
    name = rng.choice(("manifest.json", "manifest.json", "shard-000000.json"))
    write(shards / name, mutate_json((good / "mjpg" / name).read_bytes(), rng))
    read_data_set(folder, rng)


def shards(good: Path, folder: Path, rng: random.Random) -> None:
    """A changed tar of a data set."""
    packing = rng.choice(("mjpg", "frames"))
    shutil.copytree(good / packing, folder / "shards")
    write(folder / "shards" / "shard-000000.tar", mutate_bytes((good / packing / "shard-000000.tar").read_bytes(), rng))
    read_data_set(folder, rng)


def foreign_tars(good: Path, folder: Path, rng: random.Random) -> None:
    write(folder / "shards" / "clips.tar", mutate_bytes((good / "foreign" / "clips.tar").read_bytes(), rng))
    values = tiny_values(folder / "shards", folder / "out", epochs=1, split=None, data__reader={"kind": "sequential"})
    (folder / "train.yaml").write_text(yaml.safe_dump(values))
    command(stream_train.cli.main, "pretrain", folder / "train.yaml")


def archives(good: Path, folder: Path, rng: random.Random) -> None:
    name = rng.choice(("a.tar", "b.tgz"))
    write(folder / "videos" / name, mutate_bytes((good / "archives" / name).read_bytes(), rng))
    build("flat", folder, "--set", f"source.accept_damaged_archives={rng.choice(('true', 'false'))}")


def checkpoints(good: Path, folder: Path, rng: random.Random) -> None:
    (checkpoint,) = (path.name for path in (good / "run").glob("checkpoint-*.pt"))
    name = rng.choice((checkpoint, "backbone.safetensors", "network.safetensors"))
    write(folder / name, mutate_bytes((good / "run" / name).read_bytes(), rng))
    for read in (read_checkpoint, load_backbone, load_model):
        load(lambda read=read: read(folder / name))  # type: ignore[misc]


def builds(good: Path, folder: Path, rng: random.Random) -> None:
    """A build whose own files were changed is continued."""
    shutil.copytree(good / "videos", folder / "videos")
    build("flat", folder)
    name = rng.choice(("build.json", "shard-000000.json", "rejected.jsonl", "manifest.json"))
    path = folder / "out" / name
    write(path, mutate_json(path.read_bytes(), rng) if name.endswith(".json") else mutate_bytes(path.read_bytes(), rng))
    build("flat", folder)
    command(shardify.cli.main, "inspect", folder / "out")


KINDS = (videos, lists, configs, indexes, manifests, shards, foreign_tars, archives, checkpoints, builds)


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def load(read: Callable[[], object]) -> None:
    """A read that ends well, or with an error that is written for users."""
    with suppress(UserFacingError):
        read()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_mutated_files(
    kind: Callable[[Path, Path, random.Random], None], good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    end = time.monotonic() + SECONDS / len(KINDS)
    number = int(os.environ.get("TEMPORAL_SSL_TEST_FUZZ_ROUND", "0"))
    while True:
        name = f"{SEED} {kind.__name__} {number}"
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        try:
            with GUARD.watching(folder, tmp_path):
                kind(good, folder, random.Random(name))
        except BaseException as error:
            error.add_note(f"seed, kind and round: {name}; its files: {folder}")
            raise
        shutil.rmtree(folder)
        number += 1
        if time.monotonic() > end:
            return

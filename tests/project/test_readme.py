"""What the README claims: its order, its file map, the files and targets it names, and that its code runs."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_shards import build_config, make_video

from eval.features.config import features_config
from eval.features.of_videos import write_features
from eval.features.vectors import read_vectors
from shardify.build.config import BuildConfig
from shardify.build.run import build
from shardify.catalogs.folder import FlatConfig
from shardify.config import load_config
from shardify.frames.decoding import decode_video
from shardify.process import STOPPED_EXIT_CODE
from shardify.storage.retrying import DEFAULT_RETRY_SECONDS, FIRST_CONTACT_SECONDS
from stream_train.data.config import IndexedReaderConfig
from stream_train.training.config import PretrainConfig

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTIONS = [
    *(
        "Quick start",
        "Your data",
        "Buckets, clusters and jobs",
        "Evaluations",
        "Measured",
        "The shard format",
        "File map",
    ),
    *("Adding a data set, a pretext task, a network, an evaluation", "Limits"),
]


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def code(title: str) -> str:
    """The Python of a section."""
    blocks: list[str] = re.findall(r"^```python\n(.*?)^```", section(title), flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 1
    return blocks[0]


def test_sections_come_in_order_and_say_something() -> None:
    assert re.findall(r"^## (.+)$", README, flags=re.MULTILINE) == SECTIONS
    assert all(len(section(title).split()) > 20 for title in SECTIONS)
    picture = README.index("data-path.svg")
    assert README.index("# temporal-ssl") < picture < README.index("## Quick start")


def test_every_figure_is_filled_in() -> None:
    assert not re.findall(r"FILL[-A-Z]*", README)


def test_file_map_is_the_tree() -> None:
    listed = re.findall(r"^    ([\w/.]+\.py)  +\S", section("File map"), flags=re.MULTILINE)
    modules = [path for package in ("shardify", "stream_train", "eval") for path in (ROOT / package).rglob("*.py")]
    names = [path.relative_to(ROOT).as_posix() for path in modules if not path.name.startswith("__")]
    assert sorted(listed) == sorted(names)


def test_files_that_are_named_exist() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(r'src="([^":]+)"', README)
    paths = re.findall(r"`((?:configs|tests|shardify|stream_train|eval|\.\w+)/[\w./]*)`", README)
    paths += re.findall(r"\bconfigs/\w+/\w+\.yaml\b", README)
    assert ".github/data-path.svg" in links
    of_a_reader = re.compile(r"\.venv/|.*/mine\.py")
    assert not [name for name in links + paths if not (ROOT / name).exists() and not of_a_reader.match(name)]


def test_make_targets_variables_and_data_sets_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))
    variables = set(re.findall(r"^#: ([A-Z]+)", makefile, flags=re.MULTILINE))
    commands = re.findall(r"(?:^    |`)(make [^`\n]+)", README, flags=re.MULTILINE)
    assert {"make shards", "make pretrain"} <= {command.partition("#")[0].strip() for command in commands}
    for command in commands:
        assert command.split()[1] in targets, command
        assert set(re.findall(r"\b([A-Z]+)=", command)) <= variables, command
    for name in re.findall(r"DATASET=(\w+)", README):
        assert (ROOT / "configs" / "shards" / f"{name}.yaml").is_file()


def test_keys_and_variables_that_are_named_for_buckets_exist() -> None:
    text = section("Buckets, clusters and jobs")
    keys = re.findall(r"\b((source|data)(?:\.[a-z_]+)+)(?:=(\w+))?", text)
    assert len(keys) >= 6
    for key, home, value in keys:
        overrides = [f"{key}={value}"] if value else []
        config: BuildConfig | PretrainConfig = (
            load_config(BuildConfig, ROOT / "configs/shards/folder.yaml", overrides)
            if home == "source"
            else load_config(PretrainConfig, ROOT / "configs/pretrain/c3d.yaml", overrides)
        )
        functools.reduce(getattr, key.split("."), config)
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "shardify").rglob("*.py"))
    code += "".join(path.read_text(encoding="utf-8") for path in (ROOT / "stream_train").rglob("*.py"))
    variables = set(re.findall(r"\b((?:TEMPORAL_SSL|AWS|GOOGLE|AZURE)_[A-Z_]+|RAY_ADDRESS)\b", text))
    assert "TEMPORAL_SSL_CACHE" in variables
    assert not [name for name in variables if f'"{name}"' not in code]


def test_defaults_that_are_named_for_buckets_are_those_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(section("Buckets, clusters and jobs").split())
    data = load_config(PretrainConfig, ROOT / "configs/pretrain/c3d.yaml").data
    assert isinstance(data.reader, IndexedReaderConfig)
    assert data.reader.access == "auto"
    assert "`auto`, the default" in text
    for variable in ("TEMPORAL_SSL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    home_cache = data.reader.cache.resolved_folder.relative_to(Path.home())
    assert f"(`TEMPORAL_SSL_CACHE`, else `~/{home_cache}`:" in text
    assert f"holds {data.reader.cache.max_gigabytes:g} GB unless told otherwise" in text
    assert f"`data.videos_per_batch`, by default the paper's {data.videos_per_batch}," in text
    assert f"`TEMPORAL_SSL_RETRY_SECONDS` ({DEFAULT_RETRY_SECONDS:g})" in text
    assert f"nobody has ever answered after {FIRST_CONTACT_SECONDS:g} seconds" in text
    assert re.search(rf"exit code {STOPPED_EXIT_CODE}\b", text)


def test_the_reading_example_cuts_out_every_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_video(tmp_path / "videos" / "only.avi", num_frames=18)
    source = FlatConfig(kind="flat", videos=tmp_path / "videos")
    config = build_config(tmp_path, tmp_path / "data" / "demo" / "shards").model_copy(update={"source": source})
    build(config)
    monkeypatch.chdir(tmp_path)
    values: dict[str, Any] = {}
    exec(code("The shard format"), values)
    assert tuple(values["frames"]) == decode_video(tmp_path / "videos" / "only.avi", config.frames).jpegs
    assert values["start"] == len(values["sample"]["mjpg"])


def test_the_embedding_example_gives_the_vector_of_the_features_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the one clip of a video of 61 frames, cropped alike."""
    from stream_train.networks import build_backbone
    from stream_train.networks.config import C3DConfig
    from stream_train.training.exports import export_weights

    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "videos" / "video.mp4", num_frames=61)
    (tmp_path / "video.mp4").write_bytes((tmp_path / "videos" / "video.mp4").read_bytes())
    torch.manual_seed(0)
    config = C3DConfig(width=0.05)
    metadata = {"network": config.model_dump(mode="json"), "crop": 24, "num_frames": 16}
    metadata |= {"data.resize": None, "data_set.height": 32, "data_set.width": 40}
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    backbone = build_backbone(config, crop=24)
    export_weights(tmp_path / "runs" / "demo" / "backbone.safetensors", backbone, metadata)
    values: dict[str, Any] = {}
    exec(code("Evaluations"), values)
    words = {"source": "videos", "checkpoint": "runs/demo", "out": "vectors.npz"}
    write_features(features_config(words, ["num_workers=0", "device=cpu", "threads=1"]), lambda _: None)
    (vector,) = read_vectors(Path("vectors.npz")).values
    torch.testing.assert_close(values["vector"], torch.from_numpy(vector))


def test_the_catalog_example_works(tmp_path: Path) -> None:
    for name in ("dog_1.mp4", "cat_1.mp4", "cat_2.mp4", "notes.txt"):
        (tmp_path / name).touch()
    imports = (
        "from __future__ import annotations\n"
        "from pathlib import Path\n"
        "from typing import Literal\n"
        "from shardify.catalogs.base import Catalog, Listed, make_catalog\n"
        "from shardify.catalogs.files import is_video, scan_files\n"
        "from shardify.config import StrictModel\n"
    )
    values: dict[str, Any] = {"__name__": "mine"}
    exec(imports + code("Adding a data set, a pretext task, a network, an evaluation"), values)
    values["MineConfig"].model_rebuild(_types_namespace=values)
    catalog = values["read_mine"](values["MineConfig"](kind="mine", videos=tmp_path))
    assert catalog.classes == ("cat", "dog")
    assert sorted((video.path, video.label) for video in catalog.videos) == [
        ("cat_1.mp4", 0),
        ("cat_2.mp4", 0),
        ("dog_1.mp4", 1),
    ]

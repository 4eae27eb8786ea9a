"""`video-eval saliency` from end to end: whose clips are shown, what networks are made to say, what is refused."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_eval import LENGTHS, ucf_keys
from helpers_video_eval import (
    RANDOM,
    assert_error,
    contents,
    invoke,
    slow_clips,
    two_networks,
    write_config,
)
from PIL import Image

from eval.evaluations.guided_backpropagation import guided_gradient, saliency_maps
from eval.pictures.saliency import SaliencyBlock
from shardify.frames.decoding import decode_video
from shardify.frames.ffmpeg_command import FramesConfig
from stream_train.training.exports import load_model

KEYS = ucf_keys()
CROP = 16
pytestmark = pytest.mark.usefixtures("blank_charts")


@pytest.fixture(scope="module")
def config(world: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config with a pretrained, a random and a fine-tuned network; read-only."""
    folder = tmp_path_factory.mktemp("saliency-config")
    supervised = folder / "out" / "transfer" / "finetune" / "random" / "ucf101-tiny-train1" / "seed3"
    networks = two_networks(world[1]) | {"supervised": {"kind": "checkpoint", "path": str(supervised)}}
    path = write_config(
        folder / "config.yaml", world[0], folder / "out", networks=networks, transfer__networks=["random"]
    )
    assert invoke("transfer", path).exit_code == 0
    return path


def blocks_of(monkeypatch: pytest.MonkeyPatch, config: Path, out: Path, *changes: str) -> Sequence[SaliencyBlock]:
    """What would be drawn."""
    drawn: list[Sequence[SaliencyBlock]] = []
    for name in ("saliency_figure", "saliency_movie"):
        monkeypatch.setattr(f"eval.evaluations.saliency_pictures.{name}", lambda blocks, _: drawn.append(blocks))
    words = [word for change in (f"out={out}", *changes) for word in ("--set", change)]
    result = invoke("saliency", config, *words)
    assert result.exit_code == 0, result.output
    figure, movie = drawn
    assert figure is movie
    return figure


def middle_clip(video: int, num_frames: int, stride: int = 4) -> tuple[list[int], torch.Tensor]:
    """Frame numbers, and the clip itself as (1, 3, 16, crop, crop)."""
    while stride > 1 and 15 * stride + 1 > num_frames:
        stride -= 1
    start = (max(num_frames, 16) - 15 * stride - 1) // 2
    return [(start + i * stride) % num_frames for i in range(16)], slow_clips(video, num_frames, [start], stride, CROP)


@pytest.mark.slow
def test_the_files(config: Path, tmp_path: Path) -> None:
    result = invoke("saliency", config, "--set", f"out={tmp_path}", "--set", "saliency.num_videos=1")
    assert result.exit_code == 0, result.output
    picture, movie = tmp_path / "saliency" / "saliency.png", tmp_path / "saliency" / "saliency.mp4"
    assert result.stdout == f"{picture}, {movie}\n"
    assert {path.name for path in (tmp_path / "saliency").iterdir()} == {picture.name, movie.name}
    with Image.open(io.BytesIO(picture.read_bytes())) as image:
        image.load()
        assert image.width > 500
    assert len(decode_video(movie, FramesConfig()).jpegs) == 3 * 16  # thrice through the clip
    before = contents(tmp_path)
    assert invoke("saliency", config, "--set", f"out={tmp_path}", "--set", "saliency.num_videos=1").exit_code == 0
    assert [data for data, _ in contents(tmp_path).values()] == [data for data, _ in before.values()]


def test_clips_are_the_middle_ones_of_videos_of_different_classes(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = blocks_of(monkeypatch, config, tmp_path)
    assert [block.title for block in blocks] == [f"class{video % 2} ({KEYS[video]})" for video in (16, 17, 18)]
    for block, video in zip(blocks, (16, 17, 18), strict=True):
        indices, clip = middle_clip(video, LENGTHS[2][video - 16])
        assert block.indices.tolist() == indices
        pixels = ((clip[0].permute(1, 2, 3, 0) + 1) * 127.5).round().to(torch.uint8).numpy()
        assert np.array_equal(block.frames, pixels)
        assert [row.name for row in block.rows] == ["pretrained", "supervised"]


def test_maps_and_answers_are_those_of_the_exported_networks(
    world: tuple[Path, Path], config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pretrained one names a motion, the fine-tuned one a class, and how sure each is."""
    (block,) = blocks_of(
        monkeypatch, config, tmp_path, f"saliency.videos=[{KEYS[20]}]", "saliency.stride=2",
        "saliency.networks=[supervised, pretrained]",
    )  # fmt: skip
    supervised = config.parent / "out" / "transfer" / "finetune" / "random" / "ucf101-tiny-train1" / "seed3"
    assert [row.name for row in block.rows] == ["supervised", "pretrained"]
    answers = {
        "supervised": (supervised, "action", ["class0", "class1"]),
        "pretrained": (world[1], "motion", ["speed", "random", "periodic", "warp"]),
    }
    indices, clip = middle_clip(20, LENGTHS[2][4], stride=2)
    assert block.indices.tolist() == indices
    for row in block.rows:
        folder, head, names = answers[row.name]
        model, _ = load_model(folder / "network.safetensors")

        def logits_of(clips: torch.Tensor, model: torch.nn.Module = model, head: str = head) -> torch.Tensor:
            logits: torch.Tensor = model(clips)[head]
            return logits

        with torch.inference_mode():
            shares = torch.softmax(logits_of(clip)[0], dim=0)
        winner = int(shares.argmax())
        assert row.says == f"{names[winner]} {100 * float(shares[winner]):.0f}%"
        wanted = saliency_maps(guided_gradient(logits_of, clip))[0].numpy()
        np.testing.assert_allclose(row.maps, wanted, rtol=1e-3, atol=1e-4)
        assert row.maps.max() == 1


def test_answers_call_speeds_as_people_read_them(
    world: tuple[Path, Path], config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds = {"class_names": {"motion": [f"speed {kappa}" for kappa in range(4)]}}

    def load(place: str) -> tuple[torch.nn.Module, dict[str, Any]]:
        model, metadata = load_model(place)
        return model, metadata | speeds

    monkeypatch.setattr("eval.evaluations.saliency_pictures.load_model", load)
    (block,) = blocks_of(
        monkeypatch, config, tmp_path, f"saliency.videos=[{KEYS[20]}]", "saliency.networks=[pretrained]"
    )
    assert block.rows[0].says.split()[0] in ("1x", "2x", "4x", "8x")


def test_chosen_videos_come_in_the_order_asked_for(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [KEYS[23], KEYS[18]]  # videos of 16 and of 5 frames
    blocks = blocks_of(monkeypatch, config, tmp_path, f"saliency.videos={json.dumps(chosen)}")
    assert [block.title for block in blocks] == [f"class1 ({KEYS[23]})", f"class0 ({KEYS[18]})"]
    assert blocks[0].indices.tolist() == list(range(16))
    start = (16 - 15 - 1) // 2  # as if its five frames, over and over, were sixteen
    assert blocks[1].indices.tolist() == [(start + i) % 5 for i in range(16)]


def test_the_split_and_data_set_that_are_tested_on(
    world: tuple[Path, Path], config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = blocks_of(monkeypatch, config, tmp_path, "splits=[2, 1]", "saliency.num_videos=1")
    assert [block.title for block in blocks] == [f"class0 ({KEYS[0]})"]
    blocks = blocks_of(
        monkeypatch, config, tmp_path, "shards=nowhere", f"test_shards={world[0]}", "saliency.num_videos=1"
    )
    assert [block.title for block in blocks] == [f"class0 ({KEYS[16]})"]


@pytest.mark.parametrize(
    ("changes", "exit_code", "message"),
    [
        (
            [f"networks={json.dumps({'random': RANDOM})}"],
            2,
            "saliency explains networks that were trained; networks has no entry of kind checkpoint",
        ),
        (["saliency.networks=[random]"], 2, "networks.random has no trained head whose answer could be explained"),
        (["saliency.networks=[nobody]"], 2, "networks has no entry 'nobody'; it has: pretrained, random, supervised"),
        (["saliency.networks=[]"], 2, "saliency explains networks that were trained"),
        (["saliency.videos=[v_X]"], 2, f"split test1 has no video 'v_X'; keys look like '{KEYS[16]}'"),
        ([f"saliency.videos=[{KEYS[0]}]"], 2, f"split test1 has no video '{KEYS[0]}'"),
        (["data.crop=32"], 2, "network.safetensors was trained on crops of 16 pixels, but data.crop is 32"),
        (["splits=[7]"], 2, "no split 'test7'"),
        (["saliency.num_videos=0"], 2, "saliency.num_videos = 0"),
        (["networks.pretrained.path=nowhere"], 2, "there is no file network.safetensors"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    config: Path, tmp_path: Path, changes: list[str], exit_code: int, message: str
) -> None:
    words = [word for change in (f"out={tmp_path / 'out'}", *changes) for word in ("--set", change)]
    assert_error(invoke("saliency", config, *words), exit_code, message)
    assert not (tmp_path / "out").exists()


def test_a_backbone_alone_and_a_damaged_network(
    world: tuple[Path, Path], config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eval.evaluations.saliency_pictures.saliency_movie", lambda *_: None)
    for name in ("backbone.safetensors", "network.safetensors"):
        (tmp_path / name).write_bytes((world[1] / name).read_bytes())
    words = ("--set", f"out={tmp_path / 'out'}", "--set", "saliency.networks=[pretrained]", "--set")
    by_file = f"networks.pretrained.path={tmp_path / 'backbone.safetensors'}"
    assert invoke("saliency", config, *words, by_file).exit_code == 0  # its heads lie beside it
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "network.safetensors").write_bytes((world[1] / "network.safetensors").read_bytes()[:-10])
    assert_error(invoke("saliency", config, *words, by_file), 1, f"{tmp_path / 'network.safetensors'} is damaged")
    (tmp_path / "network.safetensors").unlink()
    assert_error(invoke("saliency", config, *words, by_file), 2, f"there is no file {tmp_path / 'network.safetensors'}")
    assert not (tmp_path / "out").exists()

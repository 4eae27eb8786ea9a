from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers_report import Page, as_validation, make_pretraining, make_validation, read_page

from eval.report.page import read_contents, render
from shardify.shards.manifest import read_manifest
from shardify.shards.seen import LeftOut, Seen
from shardify.storage import open_store

pytestmark = pytest.mark.usefixtures("blank_charts")


def report_of(run: Path) -> Page:
    return read_page(render(read_contents(run)))


def test_shards_are_described(tmp_path: Path, small_dataset: Path) -> None:
    make_pretraining(tmp_path / "demo", small_dataset)
    page = report_of(tmp_path / "demo")
    summary = read_manifest(open_store(small_dataset))
    num_frames = sum(shard.num_frames for shard in summary.shards)
    assert f"23, {num_frames:,} frames" in page.text
    assert any(re.match(rf"train1 23 {num_frames:,} [\d.]+ MB 5$", line) for line in page.rows())
    assert "Rejected videos None." in page.text


def test_rejected_videos_are_counted_by_reason(tmp_path: Path, small_dataset: Path) -> None:
    shards = tmp_path / "shards"
    shutil.copytree(small_dataset, shards)
    manifest = replace(read_manifest(open_store(shards)), num_rejected=3, num_missing=1)
    (shards / "manifest.json").write_bytes(manifest.to_json())
    reasons = ["no frames", "9 frames, but min_frames is 16", "no frames"]
    lines = [f'{{"key": "v{i}", "reason": "{reason}"}}\n' for i, reason in enumerate(reasons)]
    (shards / "rejected.jsonl").write_text("".join(lines))
    make_pretraining(tmp_path / "demo", shards)
    page = report_of(tmp_path / "demo")
    assert "3 videos rejected, 1 listed but missing" in page.text
    assert "no frames 2" in page.rows()


def test_shards_that_are_gone_are_named(tmp_path: Path) -> None:
    make_pretraining(tmp_path / "demo", tmp_path / "gone")
    text = report_of(tmp_path / "demo").text
    assert f"{tmp_path / 'gone'}, cannot be described: {tmp_path / 'gone'} does not exist" in text


def test_shards_that_have_changed_since_are_called_so(tmp_path: Path, small_dataset: Path) -> None:
    changed = "Its held-out videos are no longer those of the validation."
    make_pretraining(tmp_path / "demo", small_dataset)
    assert changed in report_of(tmp_path / "demo").text
    fingerprint = read_manifest(open_store(small_dataset)).fingerprint("train1")
    validation = replace(make_validation(fingerprint), split="train1")
    (tmp_path / "demo" / "validation.json").write_bytes(as_validation(validation))
    assert changed not in report_of(tmp_path / "demo").text


def test_everything_that_was_seen_is_accounted_for(tmp_path: Path, small_dataset: Path) -> None:
    shards = tmp_path / "shards"
    shutil.copytree(small_dataset, shards)
    left_out = (LeftOut(reason="a half download", count=1200, example="a/<b>.part"),)
    seen = Seen(num_taken=23, left_out=left_out, empty_classes=("Jump",), num_classes=8, notes=("read me",))
    manifest = replace(read_manifest(open_store(shards)), seen=seen)
    (shards / "manifest.json").write_bytes(manifest.to_json())
    make_pretraining(tmp_path / "demo", shards)
    page = report_of(tmp_path / "demo")
    assert "a half download 1,200 a/<b>.part" in page.rows()
    assert "Classes without a video (1 of 8): Jump. read me" in page.text

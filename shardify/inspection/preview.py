"""A contact sheet of a finished data set: a row of frames for each class, as a PNG in a folder or object store."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shardify.inspection.strips import Strip, make_strip, write_strips
from shardify.progress import counting
from shardify.shards.format import NO_LABEL
from shardify.shards.manifest import Manifest
from shardify.shards.reading import Sample, Shards
from shardify.storage.store import Store

CONTACT_SHEET_NAME = "contact_sheet.png"

MAX_SHEET_ROWS = 24
SHEET_COLUMNS = 8


def write_contact_sheet(store: Store, out: str | Path) -> str:
    """Draw a contact sheet into a folder or URL; returns and raises as :func:`write_strips`."""
    return write_strips(store, out, CONTACT_SHEET_NAME, contact_strips)


def contact_strips(store: Store, manifest: Manifest) -> list[Strip]:
    """One sample of each class (of MAX_SHEET_ROWS classes spread over all); without classes, the first samples."""
    strips = []
    for sample in _samples_to_show(store, manifest):
        indices = np.linspace(0, sample.num_frames - 1, SHEET_COLUMNS).round().astype(np.int64)
        title = sample.key if sample.label == NO_LABEL else manifest.classes[sample.label]
        seconds = f", {sample.num_frames / sample.fps:.1f} s" if sample.fps else ""
        strips.append(make_strip(sample, indices, title, f"{sample.num_frames} frames{seconds}"))
    return strips


def _samples_to_show(store: Store, manifest: Manifest) -> list[Sample]:
    num_classes = len(manifest.classes)
    shown = set(np.linspace(0, num_classes - 1, min(num_classes, MAX_SHEET_ROWS)).round().astype(int).tolist())
    by_label: dict[int, Sample] = {}
    unlabelled: list[Sample] = []
    for shard in counting(manifest.shards, unit="shard", doing="looking"):
        for sample in Shards(store=store, manifest=manifest, records=(shard,)):
            if sample.label == NO_LABEL:
                unlabelled.append(sample)
            elif sample.label in shown:
                by_label.setdefault(sample.label, sample)
        if len(by_label) == len(shown) and (shown or len(unlabelled) >= MAX_SHEET_ROWS):
            break
    return [by_label[label] for label in sorted(by_label)] or unlabelled[:MAX_SHEET_ROWS]

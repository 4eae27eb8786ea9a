"""A contact sheet of a finished data set: a row of frames for each class, as a PNG in a folder or object store."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shardify.inspection.strips import FoundSample, Strip, make_strip, write_strips
from shardify.progress import counting
from shardify.shards.format import NO_LABEL
from shardify.shards.index import read_index
from shardify.shards.manifest import Manifest
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
    for found in _samples_to_show(store, manifest):
        entry = found.entry
        indices = np.linspace(0, entry.num_frames - 1, SHEET_COLUMNS).round().astype(np.int64)
        title = entry.key if entry.label == NO_LABEL else manifest.classes[entry.label]
        seconds = f", {entry.num_frames / entry.fps:.1f} s" if entry.fps else ""
        strips.append(make_strip(store, manifest, found, indices, title, f"{entry.num_frames} frames{seconds}"))
    return strips


def _samples_to_show(store: Store, manifest: Manifest) -> list[FoundSample]:
    num_classes = len(manifest.classes)
    shown = set(np.linspace(0, num_classes - 1, min(num_classes, MAX_SHEET_ROWS)).round().astype(int).tolist())
    by_label: dict[int, FoundSample] = {}
    unlabelled: list[FoundSample] = []
    for shard in counting(manifest.shards, unit="shard", doing="looking"):
        for entry in read_index(store, shard):
            found = FoundSample(shard=shard.number, entry=entry)
            if entry.label == NO_LABEL:
                unlabelled.append(found)
            elif entry.label in shown:
                by_label.setdefault(entry.label, found)
        if len(by_label) == len(shown) and (shown or len(unlabelled) >= MAX_SHEET_ROWS):
            break
    return [by_label[label] for label in sorted(by_label)] or unlabelled[:MAX_SHEET_ROWS]

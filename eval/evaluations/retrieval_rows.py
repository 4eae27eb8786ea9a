"""Retrieval: the training videos whose features are nearest to those of a test video, the query (Table 4, Figure 5).

In: a config's networks and splits. Out, for each: a row with the share of queries whose top 1, 5, 10, 20, 50 hold a
video of their class; the ranked lists as JSON; a picture of queries and neighbours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eval.config import EvalConfig
from eval.evaluations.retrieval import RETRIEVAL, RetrievalSection
from eval.features.extraction import features_of
from eval.features.neighbours import normalise, rank_neighbours, topk_chance, topk_hits
from eval.judging.samples import Samples, read_frames, scores_of
from eval.judging.setting import Say, Setting, details_of, measured_row, settings_of, write_result
from eval.pictures.retrieval import Neighbour, Query, retrieval_figure
from eval.results.rows import Row
from shardify.arrays import ImageArray, IntArray
from shardify.shards.format import NO_LABEL
from shardify.storage.folder_store import FolderStore
from stream_train.training.distributed import World

LISTS_NAME = "neighbours.json"
PICTURE_NAME = "retrieval.png"
NEIGHBOURS_SHOWN = 2


def evaluate_retrieval(config: EvalConfig, world: World, say: Say) -> list[Row]:
    """Rank the training videos for every test video of each setting."""
    settings = settings_of(config, config.retrieval.networks, world, say, with_trivial=True)
    return [retrieval_row(setting, config.retrieval) for setting in settings]


def retrieval_row(setting: Setting, section: RetrievalSection) -> Row:
    """One row of Table 4: mean features of 10 clips, normalised by the training set, compared by cosine."""
    variant = section.features.layer
    details = details_of(setting, retrieval=section.model_dump(mode="json", exclude={"networks", "num_shown"}))
    if (row := measured_row(setting, RETRIEVAL.name, variant, details)) is not None:
        return row
    setting.train.require_labels()
    setting.test.require_labels()
    train, test = (features_of(setting, samples, section.features) for samples in (setting.train, setting.test))
    targets, queries = normalise(train.values, test.values)
    nearest, similarities = rank_neighbours(queries, targets, max(section.top), device=setting.world.device)
    hits = topk_hits(train.labels[nearest], test.labels, section.top, num_targets=len(train))

    def draw(folder: Path) -> None:
        FolderStore(folder).write(LISTS_NAME, lists_json(ranked_lists(setting, nearest, similarities)))
        shown = spread_over_classes(setting.test.labels, section.num_shown)
        queries_shown = [query_of(setting, position, nearest[position], similarities[position]) for position in shown]
        retrieval_figure(queries_shown, folder / PICTURE_NAME)

    scores = scores_of(setting.test, setting.test.positions, dict(hits))
    chance = topk_chance(train.labels, test.labels, section.top)
    return write_result(setting, RETRIEVAL.name, variant, details, scores, chance=chance, draw=draw)


def ranked_lists(
    setting: Setting, nearest: IntArray, similarities: npt.NDArray[np.float32]
) -> dict[str, list[dict[str, object]]]:
    """The query's key -> its neighbours, nearest first, with key, class and similarity."""
    train, test = setting.train, setting.test
    return {
        key: [
            {"key": train.keys[i], "class": class_name(train, i), "similarity": round(float(similarity), 6)}
            for i, similarity in zip(row.tolist(), closeness, strict=True)
        ]
        for key, row, closeness in zip(test.keys, nearest, similarities, strict=True)
    }


def lists_json(lists: Mapping[str, object]) -> bytes:
    """A JSON object with one query per line."""
    lines = (f"{json.dumps(key)}: {json.dumps(neighbours)}" for key, neighbours in lists.items())
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def query_of(setting: Setting, position: int, nearest: IntArray, similarities: npt.NDArray[np.float32]) -> Query:
    """A test video and its nearest training videos, for the picture."""
    neighbours = tuple(
        Neighbour(
            class_name=class_name(setting.train, found),
            frames=frames_shown(setting.train, found),
            similarity=float(similarity),
        )
        for found, similarity in zip(nearest[:NEIGHBOURS_SHOWN].tolist(), similarities, strict=False)
    )
    frames = frames_shown(setting.test, position)
    return Query(class_name=class_name(setting.test, position), frames=frames, neighbours=neighbours)


def frames_shown(samples: Samples, position: int) -> tuple[ImageArray, ...]:
    """The frames at a quarter, half and three quarters of a video."""
    last = int(samples.num_frames[position]) - 1
    return tuple(read_frames(samples, position, [round(last * share) for share in (0.25, 0.5, 0.75)]))


def class_name(samples: Samples, position: int) -> str:
    """The name of a sample's class."""
    label = int(samples.labels[position])
    return "no label" if label == NO_LABEL else samples.classes[label]


def spread_over_classes(labels: Sequence[int] | IntArray, count: int) -> list[int]:
    """Positions of `count` videos: the first of each class, then the second ...; of many classes, evenly chosen."""
    labels = np.asarray(labels)
    present = np.unique(labels)
    if count < len(present):
        present = present[np.linspace(0, len(present) - 1, count).round().astype(int)]
    by_class = [np.flatnonzero(labels == label).tolist() for label in present]
    rounds = range(max(map(len, by_class)))
    return [places[i] for i in rounds for places in by_class if i < len(places)][:count]

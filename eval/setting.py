"""What a result row is about: one network, a training and a test split, a seed; and where its results lie.

In: a config. Out: :class:`Setting`s, rows that are written once and found again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from eval.config import EvalConfig
from eval.intervals import measure
from eval.networks import Network, TrivialFeatures, entry_of, open_network
from eval.paper import reported_for
from eval.results import ROW_NAME, Row, VideoScores, read_row, write_row
from eval.samples import Samples, open_pair
from shardify.config import dump_config
from shardify.errors import UsageError
from shardify.storage import FolderStore
from stream_train.config import CONFIG_NAME
from stream_train.distributed import World
from stream_train.loader import DataConfig

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """Everything that a row depends on but the evaluation itself."""

    config: EvalConfig
    name: str
    """Of the network, in the config."""
    train: Samples
    test: Samples
    seed: int
    world: World
    say: Say

    @cached_property
    def network(self) -> Network:
        """The weights, read when they are first needed."""
        return open_network(self.name, self.config.networks, crop=self.config.data.crop)

    @property
    def trivial(self) -> TrivialFeatures | None:
        """What stands in place of a network, if the entry is none."""
        entry = entry_of(self.name, self.config.networks)
        return entry if isinstance(entry, TrivialFeatures) else None

    @property
    def data(self) -> DataConfig:
        """How clips are read, without the keys that only evaluations have."""
        return DataConfig(**{name: getattr(self.config.data, name) for name in DataConfig.model_fields})

    def folder(self, evaluation: str, variant: str) -> Path:
        """Where a result of this setting lies."""
        data = re.sub(r"[^\w.+-]", "_", f"{self.test.shard_set.name}-{self.train.split or 'all'}")
        return self.config.out / evaluation / variant / self.name / data / f"seed{self.seed}"

    def with_seed(self, seed: int) -> Setting:
        return replace(self, seed=seed)


def settings_of(
    config: EvalConfig, names: Sequence[str] | None, world: World, say: Say, *, with_trivial: bool = False
) -> Iterator[Setting]:
    """The settings of a config, split by split, seed by seed, network by network.

    Args:
        config: which splits, seeds and networks there are.
        names: the networks wanted; None is all.
        world: this process among its peers.
        say: tells the user a line; called on the main process only.
        with_trivial: whether None includes features that are no network's.

    Raises:
        UsageError: if a name, a split or a data set does not exist, or the two data sets have different classes.
    """
    trivial = {name for name, entry in config.networks.items() if isinstance(entry, TrivialFeatures)}
    chosen = [name for name in config.networks if with_trivial or name not in trivial] if names is None else names
    for name in chosen:
        entry_of(name, config.networks)
    for pair in config.splits:
        train, test = open_pair(config, pair)
        for seed in config.seeds:
            for name in chosen:
                yield Setting(
                    config=config,
                    name=name,
                    train=train,
                    test=test,
                    seed=seed,
                    world=world,
                    say=world.on_main(say),
                )


def measured_row(setting: Setting, evaluation: str, variant: str, details: dict[str, Any]) -> Row | None:
    """The row that an earlier command left, if it is of exactly this question; the same on every rank.

    Raises:
        UsageError: if a row of other settings stands in its place.
    """
    folder = setting.folder(evaluation, variant)
    found = read_row(folder) if (folder / ROW_NAME).is_file() else None
    row: Row | None = setting.world.from_main(found)
    if row is None:
        return None
    wanted = {"weights": weights_of(setting), "fingerprint": setting.test.shard_set.fingerprint, "config": details}
    differing = [name for name, value in wanted.items() if getattr(row, name) != value]
    if differing:
        names = [
            name if name != "config" else ", ".join(k for k in details if row.config.get(k) != details[k]) or "config"
            for name in differing
        ]
        raise UsageError(
            f"{folder} holds a result with other {', '.join(names)}; give another out, or delete that folder to "
            "measure anew"
        )
    setting.say(f"{evaluation} {variant}: {setting.name} is measured already ({folder})")
    return row


def write_result(
    setting: Setting,
    evaluation: str,
    variant: str,
    details: dict[str, Any],
    scores: VideoScores,
    *,
    chance: dict[str, float],
    num_left_out: int = 0,
) -> Row:
    """Turn per-video scores into a row with intervals, and write both on the main process.

    Args:
        setting: what was judged.
        evaluation: its name.
        variant: which form of it.
        details: the resolved settings, as JSON values.
        scores: of each test video.
        chance: metric -> what guessing gives.
        num_left_out: test videos too short for the question.
    """
    manifest = setting.test.shard_set.manifest
    pretraining = None if setting.trivial else setting.network.pretraining
    architecture = "none" if setting.trivial else setting.network.config.kind
    row = Row(
        evaluation=evaluation,
        variant=variant,
        network=setting.name,
        architecture=architecture,
        pretraining=pretraining,
        weights=weights_of(setting),
        data_set=manifest.name,
        fingerprint=setting.test.shard_set.fingerprint,
        train_split=setting.train.split,
        test_split=setting.test.split,
        seed=setting.seed,
        num_videos=len(scores.keys),
        num_groups=len(set(scores.groups)),
        num_left_out=num_left_out,
        num_classes=len(manifest.classes),
        chance=chance,
        metrics=measure(scores),
        reported=reported_for(
            evaluation=evaluation,
            variant=variant,
            architecture=architecture,
            pretraining=pretraining,
            data_set=manifest.name,
        ),
        config=details,
    )
    if setting.world.is_main:
        folder = setting.folder(evaluation, variant)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / CONFIG_NAME).is_file():
            FolderStore(folder).write(CONFIG_NAME, dump_config(setting.config).encode())
        write_row(folder, row, scores)
    return row


def details_of(setting: Setting, **section: Any) -> dict[str, Any]:
    """What a row was measured with: the given settings and those of the data, as JSON values."""
    data = setting.data.model_dump(mode="json")
    for key in ("num_workers", "prefetch_batches"):
        del data[key]
    return {
        **section,
        "data": data,
        "train_fingerprint": setting.train.shard_set.fingerprint,
        "precision": setting.config.precision,
    }


def weights_of(setting: Setting) -> str:
    """sha256 of the network's weights, empty where there are none."""
    return "" if setting.trivial else setting.network.weights

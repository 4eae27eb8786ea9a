"""A setting: one network, a training and a test split, a seed; and the folder of its results.

In: a config. Out: :class:`Setting`s, and result rows, which are written once and then read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from eval.judging.config import FineTuneOptimizer, JudgingConfig, TrivialFeatures, WeightsConfig
from eval.judging.networks import Network, entry_of, open_network, require_networks
from eval.judging.samples import Samples, open_pair
from eval.results.intervals import measure
from eval.results.paper import find_reported
from eval.results.rows import OTHER_TASK, ROW_NAME, SCORES_NAME, Row, VideoScores, read_row, read_scores, write_row
from shardify.config import dump_config
from shardify.errors import UsageError
from shardify.storage.folder_store import FolderStore
from shardify.storage.locations import join_location
from shardify.storage.work_folder import work_folder
from stream_train.data.config import DataConfig
from stream_train.training.checkpoint import require_same
from stream_train.training.config import CONFIG_NAME, flatten, without_neutral
from stream_train.training.distributed import World

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """Everything that a row depends on, except the evaluation itself."""

    config: JudgingConfig
    name: str
    """The network's name in the config."""
    train: Samples
    test: Samples
    seed: int
    world: World
    say: Say

    @cached_property
    def network(self) -> Network:
        """The network, read at the first use; raises as :func:`open_network` and :func:`require_unseen`."""
        network = open_network(self.name, self.config.networks, crop=self.config.data.crop)
        require_unseen(network, self)
        data = self.config.data
        size = data.test_size(self.test.shard_set.geometry)
        if network.frame_size not in (None, size):
            self.say(
                f"{self.name} was trained on frames of {network.frame_size} pixels (height, width), but these are "
                f"{size}: objects have another size in a crop; set data.resize if you do not want that"
            )
        return network

    @property
    def draws_weights(self) -> bool:
        """Whether the network's weights depend on the seed."""
        return self.trivial is None and self.network.state is None

    @property
    def trivial(self) -> TrivialFeatures | None:
        """The entry, if it stands for features without a network."""
        entry = entry_of(self.name, self.config.networks)
        return entry if isinstance(entry, TrivialFeatures) else None

    def optimizer_of(self, usual: FineTuneOptimizer) -> FineTuneOptimizer:
        """The optimiser of an evaluation, with the network's own learning rate if it has one."""
        rate = own_learning_rate(entry_of(self.name, self.config.networks))
        return usual if rate is None else usual.model_copy(update={"learning_rate": rate})

    @property
    def data(self) -> DataConfig:
        """How clips are read, without the keys that only evaluations use."""
        return DataConfig(**{name: getattr(self.config.data, name) for name in DataConfig.model_fields})

    def place(self, evaluation: str, variant: str) -> str:
        """The folder or URL of a result of this setting."""
        data = re.sub(r"[^\w.+-]", "_", f"{self.test.shard_set.name}-{self.train.split or 'all'}")
        return join_location(self.config.out, evaluation, variant, self.name, data, f"seed{self.seed}")

    def with_seed(self, seed: int) -> Setting:
        """The same setting with another seed; the network is not read again."""
        other = replace(self, seed=seed)
        if self.trivial is None:
            vars(other)["network"] = self.network
        return other


def require_unseen(network: Network, setting: Setting) -> None:
    """Raise UsageError if the network may have learnt from labels of the test videos."""
    pretraining = network.pretraining or {}
    question = str(pretraining.get("question", "transformations"))
    on_labels = question not in ("transformations", "torchvision") and not question.startswith(OTHER_TASK)
    same_data = pretraining.get("data_set") == setting.train.shard_set.name
    if on_labels and same_data and pretraining.get("split") != setting.train.split:
        raise UsageError(
            f"networks.{network.name} was trained with the labels of split {pretraining.get('split') or 'all'}, which "
            "may hold videos that it would be tested on; judge it on that split alone, not on "
            f"{setting.train.split or 'all'}"
        )


def own_learning_rate(entry: WeightsConfig) -> float | None:
    """The learning rate that an entry of `networks` asks for; None is the evaluation's."""
    return None if isinstance(entry, TrivialFeatures) else entry.learning_rate


def settings_of(
    config: JudgingConfig,
    names: Sequence[str] | None,
    world: World,
    say: Say,
    *,
    with_trivial: bool = False,
    with_own_rate: bool = False,
) -> Iterator[Setting]:
    """The settings of a config: for each split, for each seed, for each network.

    `names` are the networks; None is all, with features without a network only if `with_trivial`, and networks with a
    learning rate of their own only if `with_own_rate`. `say` prints a line for the user, on the main process only.

    Raises:
        UsageError: if there is no such network, its file is missing, or as :func:`open_pairs`.
    """
    usual = [
        name
        for name, entry in config.networks.items()
        if (with_trivial or not isinstance(entry, TrivialFeatures))
        and (with_own_rate or own_learning_rate(entry) is None)
    ]
    chosen = usual if names is None else names
    require_networks(chosen, config.networks)
    for train, test in open_pairs(config):
        for seed in config.seeds:
            for name in chosen:
                say_on_main = world.on_main(say)
                yield Setting(config=config, name=name, train=train, test=test, seed=seed, world=world, say=say_on_main)


def open_pairs(config: JudgingConfig) -> list[tuple[Samples, Samples]]:
    """Training and test samples of all splits; opens all of them first, so a mistake in the last split shows early.

    Raises UsageError as :func:`open_pair`, or if two splits would write to the same folder.
    """
    pairs = [open_pair(config, pair) for pair in config.splits]
    names = [pair.train or "all" for pair in config.splits]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise UsageError(
            f"splits names the training split {repeated[0]} more than once; results are told apart by training split, "
            "so give each its own config or out"
        )
    return pairs


def measured_row(setting: Setting, evaluation: str, variant: str, details: dict[str, Any]) -> Row | None:
    """The row of an earlier command or None, equal on every rank. Raises UsageError if that row has other settings."""
    place = setting.place(evaluation, variant)
    row: Row | None = setting.world.from_main(setting.world.do_on_main(lambda: _row_at(place)))
    if row is None:
        return None
    found = {"weights": row.weights, "test_fingerprint": row.fingerprint, **flatten(row.config)}
    wanted = {
        "weights": weights_of(setting),
        "test_fingerprint": setting.test.shard_set.fingerprint,
        **flatten(details),
    }
    require_same(found, wanted, origin=join_location(place, ROW_NAME))
    setting.say(f"{evaluation} {variant}: {setting.name} is measured already ({place})")
    return row


def _row_at(place: str) -> Row | None:
    with work_folder(place, (ROW_NAME,), create=False) as folder:
        return read_row(folder.path, place) if (folder.path / ROW_NAME).is_file() else None


def scores_at(place: str) -> VideoScores:
    """The scores of the videos of a result, by its folder or URL; raises as `eval.results.rows.read_scores`."""
    with work_folder(place, (SCORES_NAME,), create=False) as folder:
        return read_scores(folder.path)


def write_result(
    setting: Setting,
    evaluation: str,
    variant: str,
    details: dict[str, Any],
    scores: VideoScores,
    *,
    chance: dict[str, float],
    num_left_out: int = 0,
    draw: Callable[[Path], None] | None = None,
) -> Row:
    """Compute a row with intervals from scores per video, and write both on the main process.

    `details` and `chance` go to the row's `config` and `chance`. `draw` writes pictures and other files into the
    result's folder; the row is written last.
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
        metrics=setting.world.from_main(measure(scores) if setting.world.is_main else None),
        reported={},
        config=details,
        network_config={} if setting.trivial else setting.network.config.model_dump(mode="json"),
    )
    row = replace(row, reported=find_reported(row).numbers)
    setting.world.do_on_main(lambda: _write_result(setting, row, scores, draw))
    return row


def _write_result(setting: Setting, row: Row, scores: VideoScores, draw: Callable[[Path], None] | None) -> None:
    place = setting.place(row.evaluation, row.variant)
    with work_folder(place, (CONFIG_NAME,), last=(ROW_NAME,)) as folder:
        if draw is not None:
            draw(folder.path)
        if not (folder.path / CONFIG_NAME).is_file():
            FolderStore(folder.path).write(CONFIG_NAME, dump_config(setting.config).encode())
        write_row(folder.path, row, scores)
        folder.publish()


def details_of(setting: Setting, **section: Any) -> dict[str, Any]:
    """All that a row depends on, as JSON values; a network with a checksum is left out."""
    drawn = setting.trivial or setting.network.config
    return {
        **section,
        **({} if weights_of(setting) else {"network": drawn.model_dump(mode="json")}),
        "data": without_neutral(setting.data.model_dump(mode="json"), "data."),
        "train_fingerprint": setting.train.shard_set.fingerprint,
        "precision": setting.config.precision,
        "sync_batchnorm": setting.config.sync_batchnorm is True,
    }


def weights_of(setting: Setting) -> str:
    """sha256 of the network's weights; empty if there are none."""
    return "" if setting.trivial else setting.network.weights

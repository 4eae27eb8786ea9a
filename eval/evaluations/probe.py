"""Probes: what frozen features are worth to a new classifier, with all labels or few (Table 1, UCF101).

In: a config's networks and splits. Out, a row each: three new fully connected layers on the frozen convolutions (the
paper's probe), logistic regression and nearest neighbours on averaged features, for each label budget.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from eval.config import ALL_LABELS, EvalConfig
from eval.evaluations.actions import ActionTask, action_scores
from eval.evaluations.transfer import fit_and_test, write_action_result
from eval.features.extraction import features_of
from eval.features.labels import LabelBudget, choose_labelled
from eval.features.linear import classify_linearly
from eval.features.neighbours import Predictions, classify_by_neighbours
from eval.features.vectors import Vectors
from eval.judging.fitting import Fit
from eval.judging.samples import open_pair
from eval.judging.setting import Say, Setting, details_of, measured_row, settings_of
from eval.judging.subsequences import TestClips
from eval.pictures.label_curves import draw_label_curves
from eval.results.rows import Row, VideoScores, is_of_rows
from shardify.arrays import IntArray
from shardify.storage.work_folder import work_folder
from stream_train.training.distributed import World

EVALUATION = "probe"


def evaluate_probe(config: EvalConfig, world: World, say: Say) -> list[Row]:
    """All probes of each setting."""
    rows: list[Row] = []
    for setting in settings_of(config, config.probe.networks, world, say, with_trivial=True):
        if setting.trivial is None:
            rows += [fully_connected_row(setting, budget) for budget in config.probe.fc]
        rows += feature_rows(setting)
    if rows:
        world.do_on_main(lambda: draw_curves_of_labels(config, say))
    return rows


def draw_curves_of_labels(config: EvalConfig, say: Say) -> None:
    """The picture of everything that has been probed below the config's `out`."""
    train, test = open_pair(config, config.splits[0])
    with work_folder(config.out, lambda name: name.startswith(f"{EVALUATION}/") and is_of_rows(name)) as folder:
        picture = draw_label_curves(folder.path, train, test.shard_set.name)
        if picture is not None:
            folder.publish()
            say(folder.place(picture.relative_to(folder.path).as_posix()))


def fully_connected_row(setting: Setting, budget: LabelBudget = ALL_LABELS) -> Row:
    """Three new fully connected layers, trained on the videos of a budget."""
    variant = f"fc-{budget.slug}"
    details = fully_connected_details(setting, budget)
    if (row := measured_row(setting, EVALUATION, variant, details)) is not None:
        return row
    scores = fit_fully_connected(setting, EVALUATION, variant, labelled(setting, budget), still=False)
    return write_action_result(setting, EVALUATION, variant, details, scores)


def fully_connected_details(setting: Setting, budget: LabelBudget) -> dict[str, object]:
    """What decides such a row."""
    probe = setting.config.probe.model_dump(
        mode="json", include={"epochs", "optimizer", "frozen_norm", "stride", "all_clips", "short_videos"}
    )
    return details_of(setting, probe=probe, labels=budget.value)


def fit_fully_connected(
    setting: Setting, evaluation: str, variant: str, positions: IntArray | None, *, still: bool
) -> VideoScores:
    """Train the paper's probe and test it; `still` repeats one frame in each clip, of training and test."""
    section = setting.config.probe
    num_videos = len(setting.train) if positions is None else len(positions)
    plan = Fit(
        evaluation=evaluation,
        variant=variant,
        task=ActionTask(classes=setting.train.classes, stride=section.stride, still=still, rule=section.short_videos),
        epochs=epochs_of_fewer(section.epochs, len(setting.train), num_videos),
        optimizer=section.optimizer,
        new_fully_connected=True,
        frozen=True,
        frozen_norm=section.frozen_norm,
        positions=positions,
        details={"stride": section.stride, "still": still, "short_videos": section.short_videos},
    )
    clips = TestClips(stride=section.stride, all_starts=section.all_clips, still=still, rule=section.short_videos)
    return fit_and_test(setting, plan, clips)


def epochs_of_fewer(epochs: int, num_videos: int, num_chosen: int) -> int:
    """How often some of the videos are to be seen, so that there are as many steps as with all, rounded up."""
    return math.ceil(epochs * num_videos / num_chosen)


def feature_rows(setting: Setting) -> list[Row]:
    """Logistic regression and nearest neighbours for every budget; features are extracted once, if they are needed."""
    section = setting.config.probe
    setting.train.require_labels()
    setting.test.require_labels()
    vectors: dict[int, tuple[Vectors, Vectors]] = {}  # by the seed of the weights, where they are drawn
    rows = []
    for kind, budget, seed in feature_probes(setting):
        drawn = setting.with_seed(seed)
        variant = f"{kind}-{budget.slug}"
        options = section.logistic if kind == "linear" else section.neighbours
        details = details_of(
            drawn,
            features=section.features.model_dump(mode="json"),
            options=options.model_dump(mode="json"),
            labels=budget.value,
        )
        if (row := measured_row(drawn, EVALUATION, variant, details)) is None:
            weights_seed = seed if setting.draws_weights else 0
            if weights_seed not in vectors:
                train, test = (features_of(drawn, split, section.features) for split in (setting.train, setting.test))
                vectors[weights_seed] = train, test
            predictions = predict(drawn, kind, budget, *vectors[weights_seed])
            scores = action_scores(setting.test, predictions.scores)
            pictures = budget == ALL_LABELS
            row = write_action_result(drawn, EVALUATION, variant, details, scores, pictures=pictures)
        rows.append(row)
    return rows


def feature_probes(setting: Setting) -> Iterator[tuple[str, LabelBudget, int]]:
    """Kind, budget and seed of each; scarce labels, and random weights with them, are drawn for seeds of their own."""
    section = setting.config.probe
    for kind, budgets in (("linear", section.linear), ("knn", section.knn)):
        for budget in budgets:
            if budget == ALL_LABELS:
                yield kind, budget, setting.seed
            elif setting.seed == setting.config.seeds[0]:
                yield from ((kind, budget, seed) for seed in section.low_label_seeds)


def predict(setting: Setting, kind: str, budget: LabelBudget, train: Vectors, test: Vectors) -> Predictions:
    """The classes of the test vectors, learnt from those of a budget."""
    chosen = labelled(setting, budget)
    values, labels = (train.values, train.labels) if chosen is None else (train.values[chosen], train.labels[chosen])
    section, num_classes = setting.config.probe, len(setting.test.classes)
    if kind == "knn":
        return classify_by_neighbours(values, labels, test.values, section.neighbours, num_classes=num_classes)
    predictions: Predictions = setting.world.from_main(  # one fit, so that all ranks have the same
        classify_linearly(values, labels, test.values, section.logistic, num_classes=num_classes)
        if setting.world.is_main
        else None
    )
    if predictions.warning is not None:
        setting.say(f"{setting.name}, labels {budget.value}: {predictions.warning}")
    return predictions


def labelled(setting: Setting, budget: LabelBudget) -> IntArray | None:
    """Positions of the training videos whose labels may be used; None is all of them."""
    if budget == ALL_LABELS:
        return None
    return choose_labelled(setting.train.labels, setting.train.keys, budget, setting.seed)

"""Probes: new classifiers on frozen features, with all labels or few (Table 1, UCF101).

In: a config's networks and splits. Out: for each label budget, one row per classifier: three new fully connected layers
on the frozen convolutions (the paper's probe), logistic regression, and nearest neighbours on averaged features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from eval.config import EvalConfig
from eval.evaluations.actions import action_scores, fit_and_test, write_action_result
from eval.evaluations.probe import ALL_LABELS, PROBE, ProbeSection
from eval.features.config import LabelBudget
from eval.features.extraction import features_of
from eval.features.labels import choose_labelled
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
from shardify.progress import counting
from shardify.storage.work_folder import work_folder
from stream_train.tasks.action_labels import ActionLabels
from stream_train.training.distributed import World


def evaluate_probe(config: EvalConfig, world: World, say: Say) -> list[Row]:
    """All probes of each setting."""
    rows: list[Row] = []
    section = config.probe
    for setting in settings_of(config, section.networks, world, say, with_trivial=True):
        if setting.trivial is None:
            rows += [fully_connected_row(setting, section, budget) for budget in section.fc]
        rows += feature_rows(setting, section)
    if rows:
        world.do_on_main(lambda: draw_curves_of_labels(config, say))
    return rows


def draw_curves_of_labels(config: EvalConfig, say: Say) -> None:
    """Draw all probe results below the config's `out` as one picture."""
    train, test = open_pair(config, config.splits[0])
    with work_folder(config.out, lambda name: name.startswith(f"{PROBE.name}/") and is_of_rows(name)) as folder:
        picture = draw_label_curves(folder.path, train, test.shard_set.name)
        if picture is not None:
            folder.publish()
            say(folder.location_of(picture.relative_to(folder.path).as_posix()))


def fully_connected_row(setting: Setting, section: ProbeSection, budget: LabelBudget = ALL_LABELS) -> Row:
    """The row of three new fully connected layers, trained on the videos of a budget."""
    variant = f"fc-{budget.slug}"
    details = fully_connected_details(setting, section, budget)
    if (row := measured_row(setting, PROBE.name, variant, details)) is not None:
        return row
    scores = fit_fully_connected(setting, section, PROBE.name, variant, positions=labelled(setting, budget))
    return write_action_result(setting, PROBE.name, variant, details, scores)


def fully_connected_details(setting: Setting, section: ProbeSection, budget: LabelBudget) -> dict[str, object]:
    """The settings that the result of the fully connected probe depends on."""
    section = section.model_copy(update={"optimizer": setting.optimizer_of(section.optimizer)})
    keys = {"epochs", "optimizer", "frozen_norm", "stride", "all_clips", "short_videos"}
    return details_of(setting, probe=section.model_dump(mode="json", include=keys), labels=budget.value)


def fit_fully_connected(
    setting: Setting,
    section: ProbeSection,
    evaluation: str,
    variant: str,
    *,
    positions: IntArray | None = None,
    still: bool = False,
) -> VideoScores:
    """Train and test the paper's probe; `still` repeats one frame in each clip, in both."""
    num_videos = len(setting.train) if positions is None else len(positions)
    plan = Fit(
        evaluation=evaluation,
        variant=variant,
        task=ActionLabels(classes=setting.train.classes, stride=section.stride, still=still, rule=section.short_videos),
        epochs=epochs_of_fewer(section.epochs, len(setting.train), num_videos),
        optimizer=setting.optimizer_of(section.optimizer),
        new_fully_connected=True,
        frozen=True,
        frozen_norm=section.frozen_norm,
        positions=positions,
        details={"stride": section.stride, "still": still, "short_videos": section.short_videos},
    )
    clips = TestClips(stride=section.stride, all_starts=section.all_clips, still=still, rule=section.short_videos)
    return fit_and_test(setting, plan, clips)


def epochs_of_fewer(epochs: int, num_videos: int, num_chosen: int) -> int:
    """Epochs over `num_chosen` videos with as many steps as `epochs` over `num_videos`, rounded up."""
    return math.ceil(epochs * num_videos / num_chosen)


def feature_rows(setting: Setting, section: ProbeSection) -> list[Row]:
    """Logistic regression and nearest neighbours for every budget; features are extracted once, if a row is missing."""
    setting.train.require_labels()
    setting.test.require_labels()
    vectors: dict[int, tuple[Vectors, Vectors]] = {}  # by the seed of drawn weights, else 0
    rows = []
    probes = list(feature_probes(setting, section))
    for kind, budget, seed in counting(probes, unit="probe", doing=f"probes of {setting.name}"):
        drawn = setting.with_seed(seed)
        variant = f"{kind}-{budget.slug}"
        options = section.logistic if kind == "linear" else section.neighbours
        details = details_of(
            drawn,
            features=section.features.model_dump(mode="json"),
            options=options.model_dump(mode="json"),
            labels=budget.value,
        )
        if (row := measured_row(drawn, PROBE.name, variant, details)) is None:
            weights_seed = seed if setting.draws_weights else 0
            if weights_seed not in vectors:
                train, test = (features_of(drawn, split, section.features) for split in (setting.train, setting.test))
                vectors[weights_seed] = train, test
            predictions = predict(drawn, section, kind, budget, *vectors[weights_seed])
            scores = action_scores(setting.test, predictions.scores)
            pictures = budget == ALL_LABELS
            row = write_action_result(drawn, PROBE.name, variant, details, scores, pictures=pictures)
        rows.append(row)
    return rows


def feature_probes(setting: Setting, section: ProbeSection) -> Iterator[tuple[str, LabelBudget, int]]:
    """Classifier, budget and seed of each row. Budgets below 100 % use `low_label_seeds`, also for random weights."""
    for kind, budgets in (("linear", section.linear), ("knn", section.knn)):
        for budget in budgets:
            if budget == ALL_LABELS:
                yield kind, budget, setting.seed
            elif setting.seed == setting.config.seeds[0]:
                yield from ((kind, budget, seed) for seed in section.low_label_seeds)


def predict(
    setting: Setting, section: ProbeSection, kind: str, budget: LabelBudget, train: Vectors, test: Vectors
) -> Predictions:
    """Classify the test vectors with the training vectors of a budget."""
    chosen = labelled(setting, budget)
    values, labels = (train.values, train.labels) if chosen is None else (train.values[chosen], train.labels[chosen])
    num_classes = len(setting.test.classes)
    if kind == "knn":
        return classify_by_neighbours(values, labels, test.values, section.neighbours, num_classes=num_classes)
    predictions: Predictions = setting.world.from_main(  # fitted once, so that all ranks get equal results
        classify_linearly(values, labels, test.values, section.logistic, num_classes=num_classes)
        if setting.world.is_main
        else None
    )
    if predictions.warning is not None:
        setting.say(f"{setting.name}, labels {budget.value}: {predictions.warning}")
    return predictions


def labelled(setting: Setting, budget: LabelBudget) -> IntArray | None:
    """Positions of the training videos in a budget; None is all."""
    if budget == ALL_LABELS:
        return None
    return choose_labelled(setting.train.labels, setting.train.keys, budget, setting.seed)

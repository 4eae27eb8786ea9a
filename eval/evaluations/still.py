"""Still videos: the probe on clips that repeat one frame, beside the moving one (section 4, "Visualization").

In: a config's networks and splits. Out: two rows a setting, `still` and `moving`; the latter is the probe's own.
Features that are about motion alone are worth nothing where nothing moves.
"""

from __future__ import annotations

from eval.config import ALL_LABELS, EvalConfig
from eval.evaluations.probe import EVALUATION as PROBE
from eval.evaluations.probe import fit_fully_connected, fully_connected_details, fully_connected_row
from eval.evaluations.transfer import write_action_result
from eval.judging.setting import Say, Setting, measured_row, scores_at, settings_of
from eval.results.rows import Row, VideoScores
from stream_train.training.distributed import World

EVALUATION = "still"


def evaluate_still(config: EvalConfig, world: World, say: Say) -> list[Row]:
    """Both rows of each setting."""
    rows: list[Row] = []
    for setting in settings_of(config, config.still.networks, world, say):
        rows += [moving_row(setting), still_row(setting)]
    return rows


def moving_row(setting: Setting) -> Row:
    """The probe with all labels, measured if it is not yet, under this evaluation's name."""
    details = fully_connected_details(setting, ALL_LABELS)
    if (row := measured_row(setting, EVALUATION, "moving", details)) is not None:
        return row
    fully_connected_row(setting)
    place = setting.place(PROBE, f"fc-{ALL_LABELS.slug}")
    scores: VideoScores = setting.world.from_main(setting.world.do_on_main(lambda: scores_at(place)))
    return write_action_result(setting, EVALUATION, "moving", details, scores)


def still_row(setting: Setting) -> Row:
    """Trained and tested on still clips."""
    details = fully_connected_details(setting, ALL_LABELS) | {"still": True}
    if (row := measured_row(setting, EVALUATION, "still", details)) is not None:
        return row
    scores = fit_fully_connected(setting, EVALUATION, "still", None, still=True)
    return write_action_result(setting, EVALUATION, "still", details, scores)

"""Still videos: the probe on clips that repeat one frame, and on moving clips (section 4, "Visualization").

In: a config's networks and splits. Out: two rows per setting: `still`, and `moving` with the result of the probe.
Features that hold only motion cannot recognise a still video.
"""

from __future__ import annotations

from eval.config import EvalConfig
from eval.evaluations.actions import write_action_result
from eval.evaluations.probe import ALL_LABELS, PROBE, ProbeSection
from eval.evaluations.probe_rows import fit_fully_connected, fully_connected_details, fully_connected_row
from eval.evaluations.still import STILL
from eval.judging.setting import Say, Setting, measured_row, scores_at, settings_of
from eval.results.rows import Row, VideoScores
from stream_train.training.distributed import World


def evaluate_still(config: EvalConfig, world: World, say: Say) -> list[Row]:
    """Both rows of each setting."""
    settings = settings_of(config, config.still.networks, world, say)
    return [row(setting, config.probe) for setting in settings for row in (moving_row, still_row)]


def moving_row(setting: Setting, probe: ProbeSection) -> Row:
    """The probe with all labels, as a row of this evaluation; it is trained only if it has no result yet."""
    details = fully_connected_details(setting, probe, ALL_LABELS)
    if (row := measured_row(setting, STILL.name, "moving", details)) is not None:
        return row
    fully_connected_row(setting, probe)
    location = setting.place(PROBE.name, f"fc-{ALL_LABELS.slug}")
    scores: VideoScores = setting.world.from_main(setting.world.do_on_main(lambda: scores_at(location)))
    return write_action_result(setting, STILL.name, "moving", details, scores)


def still_row(setting: Setting, probe: ProbeSection) -> Row:
    """The probe, trained and tested on still clips."""
    details = fully_connected_details(setting, probe, ALL_LABELS) | {"still": True}
    if (row := measured_row(setting, STILL.name, "still", details)) is not None:
        return row
    scores = fit_fully_connected(setting, probe, STILL.name, "still", still=True)
    return write_action_result(setting, STILL.name, "still", details, scores)

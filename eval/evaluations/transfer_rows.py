"""Fine-tuning a network to recognise actions, from its weights or from scratch (Table 2; Table 1, HMDB51).

In: a config's networks and splits. Out, for each: a row, and pictures of the accuracy and confusion of classes.
"""

from __future__ import annotations

from eval.config import EvalConfig
from eval.evaluations.actions import fit_and_test, write_action_result
from eval.evaluations.transfer import TRANSFER, TransferSection
from eval.judging.fitting import Fit
from eval.judging.setting import Say, Setting, details_of, measured_row, settings_of
from eval.judging.subsequences import TestClips
from eval.results.rows import Row
from stream_train.tasks.action_labels import ActionLabels
from stream_train.training.distributed import World

VARIANT = "finetune"


def evaluate_transfer(config: EvalConfig, world: World, say: Say) -> list[Row]:
    """Fine-tune and test each setting."""
    section = config.transfer
    settings = settings_of(config, section.networks, world, say, with_own_rate=True)
    return [transfer_row(setting, section) for setting in settings]


def transfer_row(setting: Setting, section: TransferSection) -> Row:
    """Train all layers. All but the last fully connected layer start from the network's weights."""
    section = section.model_copy(update={"optimizer": setting.optimizer_of(section.optimizer)})
    exclude = {"networks", "validate_every_epochs"}
    details = details_of(setting, transfer=section.model_dump(mode="json", exclude=exclude))
    if (row := measured_row(setting, TRANSFER.name, VARIANT, details)) is not None:
        return row
    plan = Fit(
        evaluation=TRANSFER.name,
        variant=VARIANT,
        task=ActionLabels(classes=setting.train.classes, stride=section.stride, rule=section.short_videos),
        epochs=section.epochs,
        optimizer=section.optimizer,
        new_fully_connected=False,
        validate_every_epochs=section.validate_every_epochs,
        details={"stride": section.stride, "short_videos": section.short_videos},
    )
    clips = TestClips(stride=section.stride, all_starts=section.all_clips, rule=section.short_videos)
    return write_action_result(setting, TRANSFER.name, VARIANT, details, fit_and_test(setting, plan, clips))

"""The audit of a pre-training run: its held-out score, for changed clips, by simple observers, on parts of the videos.

In: a run with a checkpoint. Out: audit.json and audit.png beside it. One process; the held-out videos are read once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shardify.arrays import FloatArray, IntArray
from shardify.errors import UsageError
from shardify.storage.work_folder import work_folder
from stream_train.audit.observers import (
    Features,
    TreesObserver,
    frame_differences,
    ideal_answers,
    jpeg_sizes,
    train_observer,
)
from stream_train.audit.parts import parts_of
from stream_train.audit.seen import SeenFrames
from stream_train.audit.table import AUDIT_PICTURE, Audit, Counts, make_row, write_audit
from stream_train.audit.treatments import treatments
from stream_train.data.batch import Batch
from stream_train.data.device_ops import prepare_clips
from stream_train.data.evaluation_pass import each_sample_once, sample_lengths
from stream_train.data.reader import FrameReader, ShardSet, open_shard_set
from stream_train.tasks.base import ClipModel, ClipTask
from stream_train.tasks.dense_prediction import DensePrediction
from stream_train.tasks.transformations import Transformations
from stream_train.training.distributed import joined_world
from stream_train.training.metrics import add_to
from stream_train.training.precision import autocast, choose_precision
from stream_train.training.validation import OpenRun, batch_statistics, open_run

TRAIN_VIDEOS = 256
"""How many training videos the observers learn from."""
UNTOUCHED = ("network", "as in training")
OBSERVERS = {
    "frame differences": "boosted trees on mean differences between frames, blind to objects and directions",
    "JPEG sizes": "boosted trees on the size of each stored frame: above guessing, compression gives answers away",
}
FRAME_NUMBERS = "knows which frames are shown, sees no picture: the best that the task allows"
BATCH_STATISTICS = "BatchNorm's statistics come from each batch: much better means too few videos a batch in training"
Say = Callable[[str], None]


def audit_run(run: str | Path, overrides: tuple[str, ...] = (), *, say: Say, train_videos: int = TRAIN_VIDEOS) -> Audit:
    """Audit the newest checkpoint of a run (folder or URL) on its held-out split; writes audit.json and audit.png.

    Raises:
        UsageError: if there is no run or checkpoint, the config names no held-out split, several processes were
            started, or the task's score depends on the other videos of a batch.
        WorkError: if no checkpoint can be read, or a shard cannot.
    """
    from stream_train.audit.pictures import draw_audit

    opened = open_run(run, overrides)
    if isinstance(opened.task, DensePrediction):
        raise UsageError(
            "the score of dense_prediction depends on the other videos of a batch, so its clips cannot be audited one "
            "by one; audit a run of another task"
        )
    with joined_world(opened.config.device, opened.config.threads) as world, work_folder(run, create=False) as folder:
        if world.size > 1:
            raise UsageError("an audit is one process; start it without torchrun")
        audit = _Auditor(opened, opened.model(world.device).eval(), world.device, train_videos, say).audit()
        write_audit(folder.path, audit)
        draw_audit(audit, folder.path / AUDIT_PICTURE)
        folder.publish()
    return audit


def seen_part(task: ClipTask, batch: Batch) -> Batch:
    """The batch with those of its frames that the network sees: treatments and observers get no other."""
    frames = task.select_frames(batch.frames.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)
    indices = task.select_frames(batch.indices[:, None, :, None, None])[:, 0, :, 0, 0]
    return replace(batch, frames=frames, indices=indices)  # held-out clips keep their colours


def _videos_of(batch: Batch) -> list[Batch]:
    """The clips of each video of a batch; all have the same number."""
    num_videos = int((batch.sample[1:] != batch.sample[:-1]).sum()) + 1
    clips = len(batch) // num_videos
    return [batch.part(video * clips, (video + 1) * clips) for video in range(num_videos)]


@dataclass(eq=False)
class _Auditor:
    """Collects the sums of each line, video by video."""

    opened: OpenRun
    model: ClipModel
    device: torch.device
    train_videos: int
    say: Say
    lines: dict[tuple[str, str], tuple[str, Counts]] = field(default_factory=dict)
    """(group, name) of a line -> how to read it, and its sums."""

    def audit(self) -> Audit:
        task, held_out, config = self.opened.task, self.opened.held_out, self.opened.config
        assert config.validation is not None
        self.say(f"learning the observers from up to {self.train_videos} training videos")
        observers, seen = self._learn()
        self.say(f"testing {len(treatments(task.num_frames))} kinds of clips on {held_out.num_samples} held-out videos")
        features, lengths = self._features_of(held_out), sample_lengths(held_out)
        for batch in self._batches(held_out, config.validation.draws_per_video):
            seen_batch = seen_part(task, batch)
            clips = prepare_clips(seen_batch.to(self.device))
            self._test_network(batch, clips)
            self._count_baselines(batch, lengths)
            for name, observer in observers.items():
                scores = observer.scores(self._joined(features[name](seen_batch)))
                self._add(("observer", name), OBSERVERS[name], scores, batch)
            if isinstance(task, Transformations):
                ideal = ideal_answers(batch.indices.numpy(), task.motions)
                self._add(("observer", "frame numbers"), FRAME_NUMBERS, ideal, batch)
            if seen is not None:
                seen.test(clips, self._vectors, self._first_answers(batch))
        _, untouched = self.lines[UNTOUCHED]
        self.say("looking for repeated frames and frame rates")
        rows = [make_row(task, *line, counts, reading) for line, (reading, counts) in self.lines.items()]
        rows += [make_row(task, "videos", *part) for part in parts_of(held_out, untouched)]
        return Audit(
            task=config.task.kind,
            step=self.opened.checkpoint.step,
            split=held_out.split,
            shards_fingerprint=held_out.fingerprint,
            num_videos=len(untouched),
            guesses=task.guesses(rows[0].scores),
            rows=tuple(rows),
            frames_needed={} if seen is None else seen.shares(),
        )

    def _learn(self) -> tuple[dict[str, TreesObserver], SeenFrames | None]:
        """The observers, and the classifiers on some of the frames, from training videos; none without classes."""
        config, task = self.opened.config, self.opened.task
        names = {name: len(classes) for name, classes in task.class_names().items()}
        if not names:
            return {}, None
        shard_set = open_shard_set(config.shards, config.split, config.data)
        usable = self._usable(shard_set)
        chosen = usable[np.unique(np.linspace(0, len(usable) - 1, min(self.train_videos, len(usable))).astype(int))]
        seen = SeenFrames(classes=next(iter(task.class_names().values())))
        features = self._features_of(shard_set)
        rows: dict[str, list[FloatArray]] = defaultdict(list)
        right: dict[str, list[IntArray]] = defaultdict(list)
        for batch in self._batches(shard_set, 1, chosen):
            for name, answers in task.answers(batch).items():
                right[name].append(answers.numpy())
            seen_batch = seen_part(task, batch)
            for name, measure in features.items():
                rows[name].append(self._joined(measure(seen_batch)))
            seen.add(prepare_clips(seen_batch.to(self.device)), self._vectors, self._first_answers(batch))
        seen.learn()
        known = {name: np.concatenate(parts) for name, parts in right.items()}
        return {name: train_observer(np.concatenate(parts), known, names) for name, parts in rows.items()}, seen

    def _test_network(self, batch: Batch, clips: Tensor) -> None:
        random = torch.Generator().manual_seed(int(batch.sample[0]))
        for treatment in treatments(clips.shape[2]):
            outputs = self._outputs(treatment.change(clips, random))
            self._add(("network", treatment.name), treatment.reading, outputs, batch)
        with batch_statistics(self.model, len(batch) // self.opened.task.clips_per_answer):
            self._add(("network", "batch statistics"), BATCH_STATISTICS, self._outputs(clips), batch)

    def _add(self, line: tuple[str, str], reading: str, outputs: dict[str, Tensor], batch: Batch) -> None:
        """Add the sums of a batch's videos to a line."""
        _, counts = self.lines.setdefault(line, (reading, {}))
        videos = _videos_of(batch)
        for number, video in enumerate(videos):
            own = {name: value.chunk(len(videos))[number] for name, value in outputs.items()}
            add_to(counts.setdefault(int(video.sample[0]), {}), self.opened.task.count(own, video))

    def _count_baselines(self, batch: Batch, lengths: Tensor) -> None:
        """What guesses get that know a video's length, for the line of the untouched clips."""
        _, counts = self.lines[UNTOUCHED]
        for video in _videos_of(batch):
            add_to(counts[int(video.sample[0])], self.opened.task.count_baselines(video, lengths[video.sample]))

    def _usable(self, shard_set: ShardSet) -> IntArray:
        usable: IntArray = np.flatnonzero(sample_lengths(shard_set).numpy() >= self.opened.task.min_frames)
        return usable

    def _batches(self, shard_set: ShardSet, draws: int, positions: IntArray | None = None) -> Iterator[Batch]:
        config, task = self.opened.config, self.opened.task
        chosen = self._usable(shard_set) if positions is None else positions
        return each_sample_once(
            shard_set, config.data, task.draw_clips, seed=config.seed, positions=chosen, repetitions=draws
        )

    def _features_of(self, shard_set: ShardSet) -> dict[str, Features]:
        return {"frame differences": frame_differences, "JPEG sizes": jpeg_sizes(FrameReader(shard_set))}

    def _joined(self, rows: FloatArray) -> FloatArray:
        """The numbers of all clips that share an answer, in one row."""
        joined: FloatArray = rows.reshape(len(rows) // self.opened.task.clips_per_answer, -1)
        return joined

    def _first_answers(self, batch: Batch) -> IntArray:
        answers: IntArray = next(iter(self.opened.task.answers(batch).values())).numpy()
        return answers

    def _outputs(self, clips: Tensor) -> dict[str, Tensor]:
        """The heads' outputs for clips of the frames that the network sees."""
        with torch.inference_mode(), autocast(choose_precision(self.opened.config.precision, self.device), self.device):
            return {name: value.float().cpu() for name, value in self.model.outputs_of(clips).items()}

    def _vectors(self, clips: Tensor) -> FloatArray:
        """Feature vectors, those of a tuple's clips in one row."""
        with torch.inference_mode(), autocast(choose_precision(self.opened.config.precision, self.device), self.device):
            return self._joined(self.model.features(clips).float().cpu().numpy())

"""Batches from loader processes: the same numbers, in memory that is used again only when nobody holds it."""

from __future__ import annotations

import functools
import gc
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from stream_train.data import build_stream, open_data
from stream_train.data.batch import Batch
from stream_train.data.config import DataConfig
from stream_train.data.handover import BatchMemory, CarriedBatch, FrameBuffers
from stream_train.data.loader import HELD_BATCHES, LONG_VIDEO
from stream_train.draws import SampleDraws
from stream_train.tasks import build_task
from stream_train.tasks.config import TaskConfig
from stream_train.transformations.config import SamplingConfig
from stream_train.transformations.sampling import draw_clips

SHAPE = (2, 16, 4, 4, 3)
NUM_BYTES = 2 * 16 * 4 * 4 * 3


def batch_in(memory: BatchMemory, shape: tuple[int, ...] = SHAPE, value: int = 7) -> Batch:
    clips = shape[0]
    return Batch(
        frames=memory.allocate(shape).fill_(value),
        flip=torch.tensor([True, False] * (clips // 2)),
        label=torch.arange(clips),
        sample=torch.arange(clips) + 10,
        indices=torch.arange(clips * 16, dtype=torch.int32).reshape(clips, 16),
        targets={"motion": torch.arange(clips), "flow": torch.rand(clips, 3)},
        colour=torch.rand(clips, 16, 4),
    )


def sent(batch: Batch | CarriedBatch) -> Batch:
    """As a queue of processes sends it."""
    arrived = pickle.loads(pickle.dumps(batch))
    assert isinstance(arrived, Batch)
    return arrived


def test_a_batch_arrives_with_every_tensor_and_its_frames_stay_where_they_are() -> None:
    buffers = FrameBuffers(NUM_BYTES, 2)
    number = buffers.lend()
    memory = BatchMemory(buffers, number)
    batch = batch_in(memory)
    arrived = sent(memory.carry(batch))
    for (name, tensor), (same, other) in zip(batch.tensors(), arrived.tensors(), strict=True):
        assert name == same
        assert torch.equal(tensor, other)
        assert tensor.dtype == other.dtype
    batch.frames[0, 0, 0, 0, 0] = 99
    assert arrived.frames[0, 0, 0, 0, 0] == 99


def test_a_buffer_is_free_again_when_nothing_refers_to_its_frames() -> None:
    buffers = FrameBuffers(NUM_BYTES, 1)
    number = buffers.lend()
    assert number is not None
    assert buffers.lend() is None
    memory = BatchMemory(buffers, number)
    arrived = sent(memory.carry(batch_in(memory)))
    part = arrived.part(1, 2).frames[:, 3]
    del arrived
    gc.collect()
    assert buffers.lend() is None, "a part of the frames is still in use"
    del part
    gc.collect()
    assert buffers.lend() == number


@pytest.mark.parametrize("shape", [(4, *SHAPE[1:]), SHAPE])
def test_a_batch_without_room_takes_new_memory_and_gives_its_buffer_back(shape: tuple[int, ...]) -> None:
    buffers = FrameBuffers(NUM_BYTES, 1)
    number = buffers.lend() if shape != SHAPE else None
    memory = BatchMemory(buffers, number)
    batch = batch_in(memory, shape)
    carried = memory.carry(batch)
    assert isinstance(carried, CarriedBatch)
    arrive, values = carried.__reduce__()
    arrived = arrive(*values)
    assert torch.equal(arrived.frames, batch.frames)
    assert arrived.frames.is_shared()
    assert buffers.lend() == 0


def stream(shards: Path, num_workers: int, num_batches: int) -> Any:
    config = DataConfig.model_validate({"crop": 32, "videos_per_batch": 5, "num_workers": num_workers})
    draw = functools.partial(draw_clips, config=SamplingConfig())
    return build_stream(open_data(shards, "train1", config), config, draw, seed=5, num_batches=num_batches)


def test_there_is_room_for_the_clips_of_every_task_at_its_longest_stride() -> None:
    for kind, count in (("clip_order", 3), ("dense_prediction", 5)):
        task = build_task(TypeAdapter(TaskConfig).validate_python({"kind": kind, "stride": 64}), ())
        assert 1000 < task.min_frames <= LONG_VIDEO
        assert len(task.draw_clips(LONG_VIDEO, SampleDraws(0, 0, 0))) == count


def test_batches_that_are_kept_never_change(small_dataset: Path) -> None:
    """More of them than there are buffers; and with those that are let go, the buffers come again."""
    num_batches = 2 * (2 * 2 + HELD_BATCHES)
    alone = [batch.frames.clone() for batch in stream(small_dataset, 0, num_batches)]
    kept = list(stream(small_dataset, 2, num_batches))
    assert len(alone) == len(kept) == num_batches
    assert all(torch.equal(frames, batch.frames) for frames, batch in zip(alone, kept, strict=True))
    assert len({batch.frames.data_ptr() for batch in kept}) == num_batches
    places = []
    for frames, batch in zip(alone, stream(small_dataset, 2, num_batches), strict=True):
        assert torch.equal(frames, batch.frames)
        places.append(batch.frames.data_ptr())
    assert len(set(places)) <= 2 * 2 + HELD_BATCHES

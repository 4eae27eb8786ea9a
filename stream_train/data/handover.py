"""Handing batches over from loader processes to the main process, through memory that is used again and again.

In: a request with the number of a free buffer. Out: the batch; its frames lie in that buffer, which both processes have
mapped, and everything else is sent by value. New shared memory for each batch would be mapped, faulted in and thrown
away by both processes, and each small tensor of it would be an open file.
"""

from __future__ import annotations

import itertools
import math
import mmap
import os
import weakref
from collections import deque
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shardify.arrays import ImageArray
from stream_train.data.batch import Batch, new_frames, shared_memory_reported

_serials = itertools.count()
_buffers: weakref.WeakValueDictionary[str, FrameBuffers] = weakref.WeakValueDictionary()
"""Those that this process made."""


class FrameBuffers:
    """`count` buffers of `num_bytes` bytes. The process that makes them lends them out."""

    def __init__(self, num_bytes: int, count: int) -> None:
        self.name = f"{os.getpid()}-{next(_serials)}"
        descriptor = os.memfd_create("frames", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, max(1, num_bytes * count))
        self._open(descriptor, num_bytes)
        self._free = deque(range(count))
        _buffers[self.name] = self

    def _open(self, descriptor: int, num_bytes: int) -> None:
        self._descriptor, self._num_bytes = descriptor, num_bytes
        self._memory = mmap.mmap(descriptor, 0)
        weakref.finalize(self, os.close, descriptor)

    def __getstate__(self) -> dict[str, Any]:
        """For a loader process that is not forked; it does not lend."""
        return {"name": self.name, "file": DupFd(self._descriptor), "num_bytes": self._num_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.name = state["name"]
        self._open(state["file"].detach(), state["num_bytes"])

    def lend(self) -> int | None:
        """The number of a free buffer, which stays lent until its frames are gone; None if all are lent."""
        try:
            return self._free.popleft()
        except IndexError:
            return None

    def holds(self, shape: tuple[int, ...]) -> bool:
        """Whether uint8 frames of this shape fit into a buffer."""
        return math.prod(shape) <= self._num_bytes

    def view(self, number: int, shape: tuple[int, ...]) -> ImageArray:
        """The memory of a buffer, as uint8 frames."""
        start = number * self._num_bytes
        whole: ImageArray = np.frombuffer(self._memory, np.uint8, math.prod(shape), start)
        return whole.reshape(shape)

    def receive(self, number: int, shape: tuple[int, ...]) -> Tensor:
        """Frames that a loader process has written; the buffer is free when nothing refers to their memory any more."""
        frames = self.view(number, shape)
        weakref.finalize(frames, self._free.append, number).atexit = False
        return torch.from_numpy(frames)

    def give_back(self, number: int) -> None:
        """Make a lent buffer free that was not used."""
        self._free.append(number)


class BatchMemory:
    """Where a loader process builds one batch: in the buffer of its request, or in new memory if there is none."""

    def __init__(self, buffers: FrameBuffers | None, number: int | None) -> None:
        self._buffers, self._number = buffers, number
        self._is_used = False

    def allocate(self, shape: tuple[int, ...]) -> Tensor:
        """Memory for uint8 frames. Raises WorkError if shared memory is too small."""
        if self._buffers is None or self._number is None or not self._buffers.holds(shape):
            return new_frames(shape)
        self._is_used = True
        return torch.from_numpy(self._buffers.view(self._number, shape))

    def carry(self, batch: Batch) -> Batch | CarriedBatch:
        """The batch that was built here, ready to be sent."""
        if self._buffers is None:
            return batch
        return CarriedBatch(batch, self._buffers.name, self._number, is_in_buffer=self._is_used)


class CarriedBatch:
    """A batch on its way to the main process; it arrives there as a :class:`Batch`."""

    def __init__(
        self, batch: Batch, buffers: str = "", number: int | None = None, *, is_in_buffer: bool = False
    ) -> None:
        self._batch, self._place, self._is_in_buffer = batch, (buffers, number), is_in_buffer

    def __reduce__(self) -> tuple[Any, ...]:
        batch = self._batch
        with shared_memory_reported():
            frames = tuple(batch.frames.shape) if self._is_in_buffer else batch.frames.share_memory_()  # type: ignore[no-untyped-call]
        others = {name: tensor.numpy() for name, tensor in batch.tensors() if name != "frames"}
        return _arrive, (*self._place, frames, others, tuple(batch.targets))


def _arrive(
    name: str,
    number: int | None,
    frames: Tensor | tuple[int, ...],
    others: dict[str, npt.NDArray[Any]],
    targets: tuple[str, ...],
) -> Batch:
    if isinstance(frames, tuple):
        assert number is not None
        frames = _buffers[name].receive(number, frames)
    elif number is not None:
        _buffers[name].give_back(number)
    tensors = {key: torch.from_numpy(array) for key, array in others.items()}
    answers = {key: tensors.pop(key) for key in targets}
    return Batch(frames=frames, targets=answers, **tensors)

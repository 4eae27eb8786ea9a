"""Random draws that depend only on their purpose, never on the time or the process.

Every value for a sample comes from a counter-based generator (Philox 4x64), keyed by (seed, domain) and positioned by
(epoch, sample, purpose). So workers, ranks and readers do not change the draws, and a new purpose does not change the
others. This module maps raw 64-bit words to ranges and permutations: NumPy keeps the words stable, not its mappings.
"""

from __future__ import annotations

import enum
import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shardify.arrays import IntArray

Words = npt.NDArray[np.uint64]

_WORD = 1 << 64
_WORDS_PER_BLOCK = 4
_BUFFER_WORDS = 16


class Domain(enum.IntEnum):
    """Who draws. Domains share no random words. The numbers are part of a run's format."""

    ORDER = 0
    TRAINING = 1
    VALIDATION = 2
    LABELS = 3


class Purpose(enum.IntEnum):
    """What is drawn for a sample. The numbers are part of a run's format, so only append."""

    SPEED = 0
    SPEED_OFFSET = 1
    RANDOM_PERMUTATION = 2
    RANDOM_OFFSET = 3
    PERIODIC_TURN = 4
    PERIODIC_OFFSET = 5
    WARP_STEPS = 6
    WARP_OFFSET = 7
    CROP = 8
    FLIP = 9
    COLOUR = 10
    SUBSEQUENCE = 11
    SYNC_OFFSET = 12
    SYNC_START = 13
    PIECES_GAP = 14
    PIECES_START = 15
    PIECES_ORDER = 16
    SCALE = 17
    TASK_START = 18
    TASK_CHOICE = 19
    TASK_ORDER = 20
    TASK_PIXELS = 21


class _Generator(threading.local):
    """One Philox per thread, moved to each counter; a new one each time costs ten times as much."""

    def __init__(self) -> None:
        self._philox = np.random.Philox(0)
        self._state = self._philox.state

    def words(self, key: tuple[int, int], counter: tuple[int, int, int, int], count: int) -> Words:
        inner = self._state["state"]
        inner["key"][:] = key
        inner["counter"][:] = counter
        self._state["buffer_pos"] = _WORDS_PER_BLOCK  # nothing buffered: begin at the counter
        self._philox.state = self._state
        return self._philox.random_raw(count)


_generator = _Generator()


class Stream:
    """An endless sequence of draws from one Philox counter block.

    The seed and the three numbers of `counter`, which name the purpose, lie in [0, 2**64).
    """

    def __init__(self, seed: int, domain: Domain, counter: tuple[int, int, int]) -> None:
        self._key = (seed, int(domain))
        self._counter = counter
        self._blocks = 0
        self._buffer: Words = np.empty(0, dtype=np.uint64)

    def words(self, count: int) -> Words:
        """uint64 (count,) raw words."""
        if count > len(self._buffer):
            blocks = -(-max(count - len(self._buffer), _BUFFER_WORDS) // _WORDS_PER_BLOCK)
            fresh = _generator.words(self._key, (self._blocks, *self._counter), blocks * _WORDS_PER_BLOCK)
            self._blocks += blocks
            self._buffer = np.concatenate((self._buffer, fresh)) if len(self._buffer) else fresh
        words, self._buffer = self._buffer[:count], self._buffer[count:]
        return words

    def integer(self, low: int, high: int) -> int:
        """Uniform in [low, high); see :meth:`integers`."""
        return self._integers(low, high, 1)[0]

    def integers(self, low: int, high: int, count: int) -> IntArray:
        """int64 (count,) uniform in [low, high), from the high half of word * range. Raises ValueError if it is empty.

        The bias is below 2**-48 for ranges up to 65536.
        """
        return np.array(self._integers(low, high, count), dtype=np.int64)

    def _integers(self, low: int, high: int, count: int) -> list[int]:
        if high <= low:
            raise ValueError(f"cannot draw from the empty range [{low}, {high})")
        return [low + word * (high - low) // _WORD for word in self.words(count).tolist()]

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Uniform in [low, high), from the upper 53 bits of a word."""
        return low + (high - low) * ((int(self.words(1)[0]) >> 11) / (1 << 53))

    def boolean(self, probability: float = 0.5) -> bool:
        return self.uniform() < probability

    def permutation(self, count: int) -> IntArray:
        """int64 (count,): 0..count-1 in the order of `count` raw words (stable, so ties keep their order)."""
        return np.argsort(self.words(count), kind="stable").astype(np.int64, copy=False)


@dataclass(frozen=True)
class SampleDraws:
    """The draws of one sample in one epoch: a fresh :class:`Stream` for each purpose."""

    seed: int
    epoch: int
    sample: int
    domain: Domain = Domain.TRAINING

    def stream(self, purpose: Purpose, item: int = 0) -> Stream:
        """Draws for a purpose; `item` separates, for example, the crops of a video's clips."""
        return Stream(self.seed, self.domain, (int(purpose) | item << 16, self.sample, self.epoch))

"""Random draws are pure functions of what they are for."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from stream_train.draws import Domain, Purpose, SampleDraws, Stream


def stream(*counter: int) -> Stream:
    return Stream(11, Domain.TRAINING, (counter[0], counter[1], counter[2]))


def test_golden_words_ranges_and_permutations() -> None:
    """Frozen: numpy keeps Philox's words, the mappings are ours; a change here changes every past run."""
    assert stream(1, 2, 3).words(2).tolist() == [10010999556935846258, 18226953586565412018]
    assert stream(1, 2, 3).integers(10, 20, 8).tolist() == [15, 19, 15, 15, 14, 11, 15, 13]
    assert stream(1, 2, 3).permutation(8).tolist() == [5, 7, 4, 3, 6, 2, 0, 1]
    assert stream(1, 2, 3).uniform() == 0.5426973734190633


def test_integers_are_mapped_from_the_high_bits_and_uniform() -> None:
    words = stream(0, 0, 0).words(50).tolist()
    assert stream(0, 0, 0).integers(-3, 7, 50).tolist() == [-3 + word * 10 // 2**64 for word in words]
    counts = Counter(stream(4, 5, 6).integers(0, 10, 20_000).tolist())
    assert set(counts) == set(range(10))
    assert max(abs(count - 2000) for count in counts.values()) < 200  # sd 42
    with pytest.raises(ValueError, match=r"\[3, 3\)"):
        stream(0, 0, 0).integer(3, 3)


def test_permutations_hold_every_number_once_and_differ() -> None:
    permutations = stream(0, 0, 1)
    first, second = permutations.permutation(50), permutations.permutation(50)
    assert sorted(first.tolist()) == list(range(50))
    assert not np.array_equal(first, second)


def test_any_part_of_the_key_changes_the_words_and_the_same_key_repeats_them() -> None:
    keys = [(1, 2, 3, Domain.TRAINING), (2, 2, 3, Domain.TRAINING), (1, 3, 3, Domain.TRAINING)]
    keys += [(1, 2, 4, Domain.TRAINING), (1, 2, 3, Domain.VALIDATION)]
    words = set()
    for key in keys:
        for purpose in Purpose:
            for item in (0, 1):
                first, again = (int(SampleDraws(*key).stream(purpose, item).words(1)[0]) for _ in range(2))
                assert first == again
                words.add(first)
    assert len(words) == len(keys) * len(Purpose) * 2

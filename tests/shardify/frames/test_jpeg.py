from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from shardify.frames.jpeg import split_jpegs


def encode(seed: int, comment: bytes = b"", progressive: bool = False, restart_blocks: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(
        file, "JPEG", quality=90, comment=comment, progressive=progressive, restart_marker_blocks=restart_blocks
    )
    return file.getvalue()


@pytest.mark.parametrize("num_pictures", [0, 1, 7])
def test_a_stream_is_cut_into_the_pictures_it_was_joined_from(num_pictures: int) -> None:
    pictures = tuple(encode(seed) for seed in range(num_pictures))
    assert split_jpegs(b"".join(pictures)) == pictures


def test_markers_inside_header_segments_do_not_end_a_picture() -> None:
    pictures = (encode(0, comment=b"an end \xff\xd9, a start \xff\xd8, a scan \xff\xda"), encode(1))
    assert split_jpegs(b"".join(pictures)) == pictures


def test_restart_markers_do_not_end_a_picture() -> None:
    pictures = (encode(0, restart_blocks=2), encode(1, restart_blocks=1))
    assert b"\xff\xd0" in pictures[0]
    assert split_jpegs(b"".join(pictures)) == pictures


@pytest.mark.parametrize("lost_bytes", [1, 2, 100, 10_000])
def test_a_cut_stream_is_refused(lost_bytes: int) -> None:
    stream = encode(0) + encode(1)
    with pytest.raises(ValueError, match="at byte"):
        split_jpegs(stream[:-lost_bytes] if lost_bytes < 10_000 else stream[: len(encode(0)) + 30])


def test_bytes_between_pictures_are_refused() -> None:
    first = encode(0)
    with pytest.raises(ValueError, match=f"no JPEG begins at byte {len(first)} of"):
        split_jpegs(first + b"\0" + encode(1))

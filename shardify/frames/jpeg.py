"""Cuts the Motion-JPEG of ffmpeg's `mjpeg` muxer into JPEGs; reads only markers (ITU-T T.81, annex B)."""

from __future__ import annotations

_START_OF_IMAGE = b"\xff\xd8"
_END_OF_IMAGE = b"\xff\xd9"
_START_OF_SCAN = 0xDA


def split_jpegs(stream: bytes) -> tuple[bytes, ...]:
    """Cut a stream of zero or more single-scan JPEGs, with nothing in between, into its pictures, in order.

    Raises ValueError, with the byte offset, if the stream is cut short or holds anything else.
    """
    pictures: list[bytes] = []
    start = 0
    while start < len(stream):
        end = _end_of_jpeg(stream, start)
        pictures.append(stream[start:end])
        start = end
    return tuple(pictures)


def _end_of_jpeg(stream: bytes, start: int) -> int:
    """Offset just after the JPEG that begins at `start`.

    Header segments may hold any bytes, so they are skipped by their length. In the scan that follows, every 0xFF of the
    data is followed by 0x00 or a restart marker, so the first end marker is the right one.
    """
    if not stream.startswith(_START_OF_IMAGE, start):
        raise ValueError(f"no JPEG begins at byte {start} of {len(stream)}")
    position = start + len(_START_OF_IMAGE)
    marker = None
    while marker != _START_OF_SCAN:
        segment = stream[position : position + 4]
        if len(segment) < 4 or segment[0] != 0xFF:
            raise ValueError(f"the JPEG at byte {start} has a damaged header at byte {position} of {len(stream)}")
        marker = segment[1]
        position += 2 + int.from_bytes(segment[2:4], "big")
    end = stream.find(_END_OF_IMAGE, position)
    if end < 0:
        raise ValueError(f"the JPEG at byte {start} has no end before byte {len(stream)}")
    return end + len(_END_OF_IMAGE)

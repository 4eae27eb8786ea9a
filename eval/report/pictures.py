"""The pictures of a run: found below its folder, embedded as data URIs, each with words for what it shows.

In: PNG files. Out: :class:`Picture`, ready for the page's template.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from shardify.errors import WorkError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">8s4x4sII")
"""Signature, length of the first chunk (skipped), its type, and the width and height that it begins with."""
_LAST_CHUNK = b"IEND"
_LAST_CHUNK_BYTES = 12

WIDE_PIXELS = 800
"""Pictures from this width on are not shrunk to a phone's width, where nobody could read them; their box scrolls."""


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """What pictures of a name show."""

    pattern: str
    """Of the whole file name."""
    alternative: str
    """Stands in for the picture where it cannot be seen."""
    caption: str


_KINDS = (
    _Kind(
        pattern=r"curves\.png",
        alternative="Learning curves",
        caption="Learning curves over the epochs: the loss and its terms on the left, accuracies on the right. Faint "
        "lines are single records, bold ones their running mean, points held-out videos, dotted lines "
        "what guessing reaches.",
    ),
    _Kind(
        pattern=r"confusion_motion\.png",
        alternative="Confusion matrix of the motions",
        caption="Which motion a held-out clip shows (rows), and which the network says it shows (columns), in clips "
        "and as a share of the row. The diagonal is right.",
    ),
    _Kind(
        pattern=r"confusion_speed\.png",
        alternative="Confusion matrix of the speeds",
        caption="How fast a held-out clip plays (rows), and what the network says (columns), in clips and as a share "
        "of the row. Speed 0 shows every frame, 1 every 2nd, 2 every 4th, 3 every 8th. The diagonal is right.",
    ),
    _Kind(
        pattern=r"confusion.*\.png",
        alternative="Confusion matrix",
        caption="Confusion matrix: what a test video is (rows), and what the network says (columns), shaded by the "
        "share of the row. The diagonal is right.",
    ),
    _Kind(
        pattern=r"classes.*\.png",
        alternative="Accuracy of each class",
        caption="Accuracy of each class on its test videos.",
    ),
    _Kind(
        pattern=r"transformations\.png",
        alternative="A strip of frames for each temporal transformation",
        caption="The temporal transformations, all cut from one video (Figure 1 of the paper): the speeds, random "
        "order, periodic, warp. Under each frame stands its number in the video.",
    ),
    _Kind(
        pattern=r"contact_sheet\.png",
        alternative="Contact sheet of the videos",
        caption="Contact sheet: videos of the data set, one of each class where it has classes, from the first frame "
        "to the last. Under each frame stands its number.",
    ),
    _Kind(
        pattern=r"retrieval.*\.png",
        alternative="Query videos and their nearest neighbours",
        caption="Retrieval (Figure 5 of the paper): in each row frames of a test video, then of its nearest neighbours "
        "among the training videos, the nearest first.",
    ),
    _Kind(
        pattern=r"saliency.*\.png",
        alternative="Saliency maps over frames",
        caption="Saliency (Figure 4 of the paper): frames of a clip, and below them, for each network, the pixels that "
        "its answer hangs on, by guided backpropagation of the winning output.",
    ),
)
"""The first that fits is meant; pictures of one place are shown in this order."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG inside the page."""

    name: str
    """Path below the run's folder, with slashes."""
    uri: str
    """`data:image/png;base64,...`"""
    width: int
    height: int
    """In the file's pixels."""
    caption: str
    alternative: str
    """The alt text."""
    rank: int
    """Where it stands among the pictures of its place."""

    @property
    def is_wide(self) -> bool:
        """Whether its box scrolls sideways on a narrow screen."""
        return self.width >= WIDE_PIXELS

    def is_named(self, beginning: str) -> bool:
        """Whether the file's own name begins so."""
        return PurePosixPath(self.name).name.startswith(beginning)


def in_order(pictures: Iterable[Picture]) -> tuple[Picture, ...]:
    """Pictures of one place as they are to be shown."""
    return tuple(sorted(pictures, key=lambda picture: (picture.rank, picture.name)))


def find_pictures(run: Path) -> list[PurePosixPath]:
    """Every PNG below a folder, hidden ones left out, as sorted paths relative to it."""
    found = (PurePosixPath(path.relative_to(run).as_posix()) for path in run.rglob("*.png") if path.is_file())
    return sorted(name for name in found if not any(part.startswith(".") for part in name.parts))


def read_picture(run: Path, name: PurePosixPath) -> Picture:
    """Read a PNG whole.

    Args:
        run: the folder that the page is about.
        name: the picture, relative to it.

    Raises:
        WorkError: if the file is not a whole PNG.
    """
    data = (run / name).read_bytes()
    header = _HEADER.unpack_from(data.ljust(_HEADER.size))
    if header[0] != _SIGNATURE or header[1] != b"IHDR" or _LAST_CHUNK not in data[-_LAST_CHUNK_BYTES:]:
        raise WorkError(f"{run / name} is not a whole PNG picture; delete it, or run again what drew it")
    rank = next((i for i, kind in enumerate(_KINDS) if re.fullmatch(kind.pattern, name.name)), len(_KINDS))
    kind = _KINDS[rank] if rank < len(_KINDS) else None
    return Picture(
        name=str(name),
        uri="data:image/png;base64," + base64.b64encode(data).decode("ascii"),
        width=header[2],
        height=header[3],
        caption="" if kind is None else kind.caption,
        alternative=f"{'Picture' if kind is None else kind.alternative} ({name})",
        rank=rank,
    )

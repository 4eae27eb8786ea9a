"""The pictures below a run's folder, as data URIs with captions.

In: PNG files. Out: :class:`Picture`, ready for the page's template, as WebP: a page of a demo takes a few megabytes.
"""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from shardify.errors import WorkError

EXACT_BYTES = 300_000
"""PNGs of at most this size, most of them charts, keep every pixel; larger ones, most of them frames, lose a little."""
QUALITY = 80
WIDE_PIXELS = 800
"""Pictures of at least this width keep it on a phone, to stay readable; their box scrolls."""

_KINDS = (
    (
        r"curves\.png",
        "Learning curves",
        (
            "Learning curves over the epochs: the loss and its terms on the left, accuracies on the right. Faint "
            "lines are single records, bold ones their running mean, points held-out videos, dotted lines "
            "the value of guessing."
        ),
    ),
    (
        r"audit\.png",
        "Audit of the pretext score",
        (
            "Audit: the score on held-out videos (top), on changed clips (blue), by observers without a network "
            "(orange), and on parts of the videos (grey), with 95 % intervals over videos; dotted lines are guessing. "
            "On the right: what a new linear classifier on the network's features recognises if a clip stops early."
        ),
    ),
    (
        r"confusion_motion\.png",
        "Confusion matrix of the motions",
        (
            "Which motion a held-out clip shows (rows), and which the network says it shows (columns), in clips "
            "and as a share of the row. The diagonal is right."
        ),
    ),
    (
        r"confusion_speed\.png",
        "Confusion matrix of the speeds",
        (
            "How fast a held-out clip plays (rows), and what the network says (columns), in clips and as a share "
            "of the row. 1x shows every frame, 2x every 2nd, 4x every 4th, 8x every 8th. The diagonal is right."
        ),
    ),
    (
        r"confusion.*\.png",
        "Confusion matrix",
        (
            "Confusion matrix: what a test video is (rows), and what the network says (columns), shaded by the "
            "share of the row. The diagonal is right."
        ),
    ),
    (r"classes.*\.png", "Accuracy of each class", "Accuracy of each class on its test videos."),
    (
        r"transformations\.png",
        "A strip of frames for each temporal transformation",
        (
            "The temporal transformations, all cut from one video (Figure 1 of the paper): the speeds, random "
            "order, periodic, warp. Under each frame stands its number in the video."
        ),
    ),
    (
        r"contact_sheet\.png",
        "Contact sheet of the videos",
        (
            "Contact sheet: videos of the data set, one of each class where it has classes, from the first frame "
            "to the last. Under each frame stands its number."
        ),
    ),
    (
        r"retrieval.*\.png",
        "Query videos and their nearest neighbours",
        (
            "Retrieval (Figure 5 of the paper): in each row frames of a test video, then of its nearest neighbours "
            "among the training videos, the nearest first."
        ),
    ),
    (
        r"saliency.*\.png",
        "Saliency maps over frames",
        (
            "Saliency (Figure 4 of the paper): frames of a clip, and below them, for each network, the pixels that "
            "decide its answer, by guided backpropagation of the winning output."
        ),
    ),
    (r".*", "Picture", ""),
)
"""Pattern of the file name, alternative text, caption. The first match counts; pictures are shown in this order."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG inside the page."""

    name: str
    """Path relative to the run's folder, with `/`."""
    uri: str
    """`data:image/webp;base64,...`"""
    width: int
    height: int
    """In pixels of the file."""
    caption: str
    alternative: str
    rank: int
    """Its position among the pictures of its folder."""

    @property
    def is_wide(self) -> bool:
        """Whether its box scrolls sideways on a narrow screen."""
        return self.width >= WIDE_PIXELS


def find_pictures(run: Path) -> list[PurePosixPath]:
    """All PNGs below a folder except hidden ones, as sorted paths relative to it."""
    found = (PurePosixPath(path.relative_to(run).as_posix()) for path in run.rglob("*.png") if path.is_file())
    return sorted(name for name in found if not any(part.startswith(".") for part in name.parts))


def read_picture(run: Path, name: PurePosixPath) -> Picture:
    """Read the PNG `name` below a run's folder. Raises WorkError if the file is not a complete PNG."""
    data = (run / name).read_bytes()
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            width, height = image.size
            image.verify()
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:  # verify leaves an image unusable
            webp = _as_webp(image, len(data))
    except (OSError, SyntaxError):
        raise WorkError(f"{run / name} is not a whole PNG picture; delete it, or draw it again") from None
    rank = next(i for i, (pattern, _, _) in enumerate(_KINDS) if re.fullmatch(pattern, name.name, re.DOTALL))
    _, alternative, caption = _KINDS[rank]
    return Picture(
        name=str(name),
        uri="data:image/webp;base64," + base64.b64encode(webp).decode("ascii"),
        width=width,
        height=height,
        caption=caption,
        alternative=f"{alternative} ({name})",
        rank=rank,
    )


def _as_webp(image: Image.Image, num_bytes: int) -> bytes:
    """The picture as WebP; `num_bytes` is the size of its PNG."""
    image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    buffer = io.BytesIO()
    if num_bytes <= EXACT_BYTES:
        image.save(buffer, "WEBP", lossless=True, method=2)
    else:
        image.save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue()

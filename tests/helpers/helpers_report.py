"""A made-up run for the report: a pre-training folder and results of every evaluation, written by the real code."""

from __future__ import annotations

import base64
import io
import json
import re
import zlib
from dataclasses import asdict, dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from helpers_results import action_labels, pretraining_of, write_result
from helpers_training import tiny_config
from PIL import Image, ImageDraw

from shardify.config import dump_config
from shardify.shards.record import dump_json
from stream_train.training.validation import Validation, write_validation

NUM_VIDEOS = 24
DATA_SET = "ucf101-8"
TRANSFER_SHARES = {"pretrained": 0.5, "random": 0.25, "supervised": 0.75}
"""Right answers in `transfer`, for every split and seed."""
NETWORKS: dict[str, dict[str, Any] | None] = {
    "pretrained": pretraining_of(DATA_SET, epochs=30),
    "random": None,
    "supervised": action_labels(DATA_SET),
}
FIGURES = {"motion_accuracy": 0.46875, "speed_accuracy": 0.521, "speed_best_from_length": 0.336}
"""Of the pretext task, on held-out videos."""
PICTURES = {
    "transfer": ("curves.png", "confusion.png", "classes.png"),
    "probe": ("confusion.png", "classes.png"),
    "retrieval": ("retrieval.png",),
}
SIZES = {
    "curves.png": (1430, 546),
    "transformations.png": (1740, 700),
    "contact_sheet.png": (1200, 820),
    "retrieval.png": (1100, 600),
    "saliency.png": (1300, 900),
    "classes.png": (620, 1900),
}
"""Width and height, about those of real ones."""


def draw_picture(path: Path, shrink: int = 10) -> Path:
    """A PNG unlike that of any other path, with a border, `shrink` times smaller than a real one."""
    width, height = (pixels // shrink for pixels in SIZES.get(path.name, (676, 598)))
    number = zlib.crc32("/".join(path.parts[-6:]).encode())
    image = Image.new("RGB", (width, height), (235, 240, number % 60 + 180))
    pen = ImageDraw.Draw(image)
    border = (number % 180, number // 7 % 180, number // 49 % 180)
    pen.rectangle((0, 0, width - 1, height - 1), outline=border, width=6 // shrink + 1)
    pen.text((20, 20), f"{path.name} {number}", fill=(20, 20, 20))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def make_pretraining(run: Path, shards: Path, shrink: int = 10) -> None:
    """What a finished run leaves that the page shows."""
    run.mkdir(parents=True, exist_ok=True)
    config = tiny_config(shards, run, validation={"split": "test1"})
    (run / "config.yaml").write_text(dump_config(config))
    records = [
        {"step": 5, "epoch": 1.0, "loss": 2.9, "motion_accuracy": 0.31, "speed_accuracy": 0.41},
        {"step": 10, "epoch": 2.0, "loss": 2.1, "motion_accuracy": 0.5625, "speed_accuracy": 0.625},
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    write_validation(run, make_validation())
    for name in ("curves.png", "transformations.png", "contact_sheet.png"):
        draw_picture(run / name, shrink)


def make_validation(fingerprint: str = "unknown") -> Validation:
    """FIGURES, and the confusion matrices that go with a validation."""
    speeds = [f"speed {kappa}" for kappa in range(4)]
    return Validation(
        step=10,
        shards_fingerprint=fingerprint,
        split="test1",
        num_videos=128,
        draws_per_video=4,
        figures=FIGURES,
        counts={"motion": np.full((4, 4), 128).tolist(), "speed": np.full((4, 4), 32).tolist()},
        class_names={"motion": ["speed", "random", "periodic", "warp"], "speed": speeds},
    )


def as_validation(validation: Validation) -> bytes:
    """The content of a validation.json."""
    return dump_json(asdict(validation), indent=1)


def right_answers(share: float, turn: int = 0) -> list[float]:
    """As many ones among NUM_VIDEOS as the share says, in other places for other turns."""
    answers = np.zeros(NUM_VIDEOS)
    answers[: round(share * NUM_VIDEOS)] = 1
    return [float(answer) for answer in np.random.default_rng(turn).permutation(answers)]


def make_evaluations(out: Path, shrink: int = 10) -> None:
    """Rows of every evaluation: several networks, splits and seeds; pictures beside them."""
    for turn, (name, share) in enumerate(TRANSFER_SHARES.items()):
        shared: dict[str, Any] = {"network": name, "pretraining": NETWORKS[name], "data_set": DATA_SET}
        for split in (1, 2):
            for seed in (0, 1):
                answers = right_answers(share, turn=10 * turn + 2 * split + seed)
                write_result(out, "transfer", "finetune", answers, split=split, seed=seed, **shared)
        for variant in ("fc-all", "linear-all", "linear-10pct", "knn-all", "knn-1"):
            write_result(out, "probe", variant, right_answers(share - 0.125, turn), **shared)
        tops = {f"top{k}": right_answers(min(1, share + 0.04 * i), turn) for i, k in enumerate((1, 5, 10, 20, 50))}
        write_result(out, "retrieval", "pooled", tops, **shared)
        offsets = {"accuracy": right_answers(share / 2, turn), "mae": [float(i % 5) for i in range(NUM_VIDEOS)]}
        write_result(out, "sync", "frozen", offsets, chance={"accuracy": 1 / 13, "mae": 3.2}, num_left_out=3, **shared)
        write_result(out, "before_after", "finetune", right_answers(share, turn), chance={"accuracy": 0.5}, **shared)
        for variant in ("still", "moving"):
            write_result(out, "still", variant, right_answers(share, turn), **shared)
    untrained: dict[str, Any] = {"network": "colour", "architecture": "none", "data_set": DATA_SET}
    write_result(out, "probe", "linear-all", right_answers(0.2), **untrained)
    for evaluation, names in PICTURES.items():
        for row in sorted((out / evaluation).rglob("row.json")):
            for name in names:
                draw_picture(row.parent / name, shrink)
    draw_picture(out / "saliency" / "saliency.png", shrink)


@dataclass
class Element:
    """A tag of a page with the text inside it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""


NETWORK_ATTRIBUTES = {"src", "href", "srcset", "action", "formaction", "poster", "data", "xlink:href", "background"}
Pixels = tuple[tuple[int, int], bytes]
"""Size and RGB bytes of a picture."""


def pixels_of(data: bytes) -> Pixels:
    """What a PNG or WebP shows."""
    with Image.open(io.BytesIO(data)) as image:
        return image.size, image.convert("RGB").tobytes()


@dataclass
class Page:
    """What a browser would make of a page's text."""

    elements: list[Element] = field(default_factory=list)
    text: str = ""

    def all(self, tag: str) -> list[Element]:
        return [element for element in self.elements if element.tag == tag]

    def rows(self) -> list[str]:
        """The text of each line of the tables, cells separated by spaces."""
        return [words(row.text) for row in self.all("tr")]

    def pictures(self) -> list[Pixels]:
        """The pictures inside the page."""
        sources = [image.attributes["src"].partition("base64,") for image in self.all("img")]
        assert all(start == "data:image/webp;" for start, _, _ in sources)
        return [pixels_of(base64.b64decode(data, validate=True)) for _, _, data in sources]


class _Reader(HTMLParser):
    VOID = ("meta", "link", "img", "br", "hr", "input", "line", "circle", "path", "polyline", "wbr")
    APART = ("strong", "td", "th", "small", "p", "li", "dt", "dd", "h2", "h3", "h4")
    """Tags that a browser sets apart from what follows."""

    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        self.open: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag=tag, attributes={name: value or "" for name, value in attrs})
        self.page.elements.append(element)
        if tag in self.APART:
            self.handle_data(" ")
        if tag not in self.VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open[-1].tag == tag, f"</{tag}> ends <{self.open[-1].tag}>"
            if tag in self.APART:
                self.handle_data(" ")
            self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data
        self.page.text += data


def read_page(html: str) -> Page:
    """Parse; fails where tags are not closed in order."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert not reader.open, f"never closed: {[element.tag for element in reader.open]}"
    reader.page.text = words(reader.page.text)
    return reader.page


def assert_self_contained(html: str, page: Page) -> None:
    """The page refers to nothing outside, and runs nothing."""
    targets = [value for e in page.elements for name, value in e.attributes.items() if name in NETWORK_ATTRIBUTES]
    assert {target.partition(":")[0] if not target.startswith("#") else "#" for target in targets} == {"data", "#"}
    assert not {"script", "iframe", "object", "embed", "base", "form"} & {e.tag for e in page.elements}
    (style,) = page.all("style")
    assert "url(" not in style.text
    assert "@import" not in style.text
    assert not re.search(r"\bon\w+=", re.sub(r'"data:[^"]*"', "", html))
    policy = next(e.attributes["content"] for e in page.all("meta") if "http-equiv" in e.attributes)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def words(text: str) -> str:
    """Text with every run of white space, unbreakable ones too, as a single space."""
    return " ".join(text.split())

"""Charts say what they were given: right values at the right place, every letter inside and legible."""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from helpers_figures import LONG_NAMES, Box, overlapping
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from eval.pictures.charts import COLOURS, LabelCurve, class_figure, low_label_figure
from eval.results.rows import Metric
from stream_train.training.pictures import draw_confusion, save_figure

DPI = 130
"""Of saved charts."""


def class_names(count: int) -> list[str]:
    """As long as UCF101's, all different."""
    return [f"{LONG_NAMES[i % len(LONG_NAMES)]}{i // len(LONG_NAMES) or ''}" for i in range(count)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The charts as matplotlib's figures, which are not saved."""
    figures: list[Figure] = []
    for module in ("stream_train.training.pictures", "eval.pictures.charts"):
        monkeypatch.setattr(f"{module}.save_figure", lambda figure, _: figures.append(figure))
    return figures


def texts_of(figure: Figure) -> list[Text]:
    return cast("list[Text]", figure.findobj(Text))


def text_boxes(figure: Figure) -> list[tuple[str, Box]]:
    """Every visible text and where it is, in pixels from the lower left."""
    figure.set_dpi(DPI)
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    found = []
    for text in texts_of(figure):
        if text.get_visible() and text.get_text().strip():
            box = text.get_window_extent()
            if box.width and box.height:
                found.append((text.get_text(), (box.x0, box.y0, box.x1, box.y1)))
    return found


def assert_legible(figure: Figure) -> None:
    """No text is cut off, covers another, or is smaller than six points."""
    boxes = text_boxes(figure)
    width, height = figure.bbox.width, figure.bbox.height
    assert boxes
    for text, (left, bottom, right, top) in boxes:
        assert min(left, bottom, width - right, height - top) >= -0.5, text
    assert not overlapping(boxes)
    assert min(float(text.get_fontsize()) for text in texts_of(figure) if text.get_text()) >= 6


def cell_texts(axes: Axes) -> dict[tuple[int, int], str]:
    """(row, column) -> what is written there."""
    places = {text.get_position(): text.get_text() for text in axes.texts}
    return {(int(y), int(x)): text for (x, y), text in places.items() if text}


def names_on(axes: Axes) -> tuple[list[str], list[str]]:
    return [t.get_text() for t in axes.get_yticklabels()], [t.get_text() for t in axes.get_xticklabels()]


def test_confusion_of_a_few_classes_has_shares_and_counts(tmp_path: Path, drawn: list[Figure]) -> None:
    counts = np.array([[3, 1], [0, 0]])
    draw_confusion(counts, ["before", "after"], tmp_path / "c.png", "a title", noun="video")
    axes = drawn[0].axes[0]
    assert cell_texts(axes) == {(0, 0): "75%\n3", (0, 1): "25%\n1", (1, 0): "0%\n0", (1, 1): "0%\n0"}
    assert np.asarray(axes.images[0].get_array()).tolist() == [[0.75, 0.25], [0, 0]]
    assert names_on(axes) == (["before", "after"],) * 2
    assert (axes.get_ylabel(), axes.get_xlabel(), drawn[0].get_suptitle()) == ("video is", "network says", "a title")
    save_figure(drawn[0], tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.size == tuple((DPI * drawn[0].get_size_inches()).astype(int))


def test_confusion_of_more_classes_has_the_shares_that_are_not_zero(tmp_path: Path, drawn: list[Figure]) -> None:
    counts = np.diag(np.arange(13)) * 2
    counts[0, 12], counts[5, 4] = 6, 10
    draw_confusion(counts, [f"{offset:+d}" for offset in range(-6, 7)], tmp_path / "c.png", "offsets")
    expected = {(i, i): "100" for i in range(1, 13)} | {(0, 12): "100", (5, 5): "50", (5, 4): "50"}
    assert cell_texts(drawn[0].axes[0]) == expected
    assert_legible(drawn[0])


@pytest.mark.parametrize("num_classes", [101, pytest.param(150, marks=pytest.mark.slow)])
def test_confusion_is_legible_for_any_number_of_classes(tmp_path: Path, drawn: list[Figure], num_classes: int) -> None:
    names = class_names(num_classes)
    counts = np.random.default_rng(0).integers(0, 5000, (num_classes, num_classes))
    title = "probe/linear-10pct, self-supervised on UCF101 train1, judged on HMDB51 test1, 1530 videos: 38.2 %"
    draw_confusion(counts, names, tmp_path / "c.png", title)
    assert_legible(drawn[0])
    rows, columns = names_on(drawn[0].axes[0])
    assert rows == columns
    if num_classes <= 101:
        assert rows == names
    else:
        assert rows == [names[round(place)] for place in drawn[0].axes[0].get_yticks()]
        assert len(rows) == 75
    assert DPI * max(drawn[0].get_size_inches()) < 2200


def test_class_bars_are_sorted_and_counted(tmp_path: Path, drawn: list[Figure]) -> None:
    correct, totals = np.array([1, 4, 0, 3, 2]), np.array([4, 4, 0, 4, 8])
    class_figure(correct, totals, ["a", "b", "never", "c", "d"], tmp_path / "b.png", title="bars", chance=0.2)
    (axes,) = drawn[0].axes
    (bars,) = axes.containers
    assert isinstance(bars, BarContainer)
    assert [bar.get_width() for bar in bars] == [1, 0.75, 0.25, 0.25]
    assert names_on(axes)[0] == ["b (4)", "c (4)", "a (4)", "d (8)"]
    assert [text.get_text() for text in axes.texts] == ["100%", "75%", "25%", "25%"]
    top, bottom = bars[0].get_window_extent(), bars[3].get_window_extent()
    assert top.y0 > bottom.y1
    lines = [[float(place) for place in np.asarray(line.get_xdata())] for line in axes.lines]
    assert [0.5, 0.5] in lines  # 10 of 20 videos, not the mean over classes
    assert [0.2, 0.2] in lines
    facts = drawn[0].get_suptitle().replace("\n", " ")
    assert facts == "bars dashed: 10 of all 20 videos, 50.0%; classes without test videos: 1"


@pytest.mark.parametrize(("num_classes", "num_columns"), [(1, 1), pytest.param(111, 3, marks=pytest.mark.slow)])
def test_class_bars_are_legible(tmp_path: Path, drawn: list[Figure], num_classes: int, num_columns: int) -> None:
    totals = np.random.default_rng(0).integers(20, 48, num_classes)
    correct = np.random.default_rng(1).integers(0, totals + 1)
    names = class_names(num_classes)
    class_figure(correct, totals, names, tmp_path / "b.png", title="transfer/finetune on UCF101 test1", chance=0.01)
    assert_legible(drawn[0])
    assert len(drawn[0].axes) == num_columns
    written = [label for axes in drawn[0].axes for label in names_on(axes)[0]]
    order = sorted(range(num_classes), key=lambda i: (-correct[i] / totals[i], names[i]))
    assert written == [f"{names[i]} ({totals[i]})" for i in order]


@pytest.mark.parametrize(
    ("correct", "totals"), [([1], [1, 1]), ([1, 1], [1]), ([2, 0], [1, 1]), ([-1, 0], [1, 1]), ([0, 0], [0, 0])]
)
def test_class_counts_that_cannot_be_are_refused(tmp_path: Path, correct: list[int], totals: list[int]) -> None:
    with pytest.raises(ValueError, match=r"cannot be right|no class has a test video"):
        class_figure(np.array(correct), np.array(totals), ["a", "b"], tmp_path / "b.png", title="bars")


def metric(value: float, low: float = math.nan, high: float = math.nan) -> Metric:
    return Metric(value=value, low=low, high=high)


def error_bars(axes: Axes) -> dict[str, ErrorbarContainer]:
    return {str(c.get_label()): c for c in axes.containers if isinstance(c, ErrorbarContainer)}


def segments(container: ErrorbarContainer) -> list[tuple[float, float]]:
    """Lower and upper end of each point's interval."""
    (bars,) = container.lines[2]
    ends = [np.asarray(path.vertices)[:, 1] for path in bars.get_paths()]
    return [(float(low), float(high)) for low, high in ends]


def test_low_label_curves_have_their_points_and_intervals(tmp_path: Path, drawn: list[Figure]) -> None:
    ours = {10.0: metric(0.5, 0.4, 0.7), 1.0: metric(0.2), 72.0: metric(0.6, 0.5, 0.65)}
    curves = [
        LabelCurve(probe="linear", network="pretrained", metrics=ours),
        LabelCurve(probe="linear", network="random", metrics={1: metric(0.1, 0.0, 0.2)}),
        LabelCurve(probe="knn", network="random", metrics={1: metric(0.15, 0.1, 0.2)}),
    ]
    low_label_figure(curves, tmp_path / "l.png", title="labels", chance=0.125)
    assert_legible(drawn[0])
    linear, knn = drawn[0].axes
    assert (linear.get_title(), knn.get_title()) == ("linear", "knn")
    assert list(error_bars(linear)) == ["pretrained", "random"]
    line = error_bars(linear)["pretrained"].lines[0]
    x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
    assert x == pytest.approx([1, 10, 72], rel=0.1)
    assert y.tolist() == [0.2, 0.5, 0.6]
    without, *others = segments(error_bars(linear)["pretrained"])
    assert all(map(math.isnan, without))
    assert others == [pytest.approx((0.4, 0.7)), pytest.approx((0.5, 0.65))]
    colours = [error_bars(axes)["random"].lines[0].get_color() for axes in (linear, knn)]
    assert colours == [COLOURS[1], COLOURS[1]], "a network has one colour in all panels"
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["pretrained", "random"]
    assert 0.7 < linear.get_ylim()[1] <= 1
    assert "guessing" in linear.get_ylabel()


def test_low_label_ticks_keep_apart(tmp_path: Path, drawn: list[Figure]) -> None:
    points = {number: metric(0.3, 0.2, 0.4) for number in (1.0, 5.0, 9.4, 10.0, 94.4)}
    names = class_names(9)
    curves = [LabelCurve(probe="fc", network=name, metrics=points) for name in names]
    low_label_figure(
        curves, tmp_path / "l.png", title="a title that is much longer than one narrow panel is wide, so wrap"
    )
    assert_legible(drawn[0])
    (axes,) = drawn[0].axes
    assert names_on(axes)[1] == ["1", "5", "10", "94.4"]
    styles = {(c.lines[0].get_color(), c.lines[0].get_linestyle()) for c in error_bars(axes).values()}
    assert len(styles) == len(names)


def test_low_label_curves_without_points_are_refused(tmp_path: Path) -> None:
    empty = LabelCurve(probe="knn", network="random", metrics={})
    none_labelled = LabelCurve(probe="knn", network="random", metrics={0: metric(0.1)})
    for curves in ([], [empty], [none_labelled]):
        with pytest.raises(ValueError, match="more than 0 labelled videos"):
            low_label_figure(curves, tmp_path / "l.png", title="labels")

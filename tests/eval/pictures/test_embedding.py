from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox
from PIL import Image
from sklearn.decomposition import PCA

from eval.pictures import embedding
from eval.pictures.embedding import MAX_THUMBNAILS, embedding_figure, principal_components, spread
from shardify.arrays import FloatArray, ImageArray


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures, in the order in which they are saved."""
    figures: list[Figure] = []
    monkeypatch.setattr(embedding, "save_figure", lambda figure, _: figures.append(figure))
    return figures


def test_places_are_sklearn_s_up_to_the_sign_of_a_direction() -> None:
    values = np.random.default_rng(0).normal(size=(40, 6)) * [5, 3, 1, 1, 0.5, 0.1] + 7
    places, shares = principal_components(values)
    reference = PCA(2).fit(values)
    assert np.allclose(np.abs(places), np.abs(reference.transform(values)))
    assert np.allclose(shares, reference.explained_variance_ratio_)
    again, _ = principal_components(values.astype(np.float32)[:, ::-1])
    assert np.allclose(again, places, atol=1e-4), "the sign does not depend on the order of the dimensions"


@pytest.mark.parametrize("values", [np.zeros((3, 5)), np.ones((2, 1)), np.array([[0.0], [1.0], [5.0]])])
def test_vectors_without_two_directions_have_places(values: FloatArray) -> None:
    places, shares = principal_components(values)
    assert places.shape == (len(values), 2)
    assert np.isfinite(places).all()
    assert 0 <= shares.sum() <= 1 + 1e-9


def test_frames_lie_apart_and_are_few() -> None:
    crowd = np.random.default_rng(1).normal(size=(2000, 2)) * [100, 1]
    kept = spread(crowd)
    assert 10 < len(kept) <= MAX_THUMBNAILS
    scaled = crowd[kept] / np.ptp(crowd, axis=0)
    distances = np.hypot(*(scaled[:, None] - scaled[None]).transpose(2, 0, 1)) + np.eye(len(kept))
    assert distances.min() >= 0.075
    assert spread(np.zeros((9, 2))) == [spread(np.zeros((9, 2)))[0]]


@pytest.mark.parametrize("num_classes", [0, 3, 20])
def test_classes_are_named_if_they_are_few_and_each_frame_is_that_of_its_vector(
    drawn: list[Figure], tmp_path: Path, num_classes: int
) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, num_classes, 50) if num_classes else np.full(50, -1)
    values = rng.normal(size=(50, 4))
    asked: list[int] = []

    def show(number: int) -> ImageArray:
        asked.append(number)
        return np.full((12, 16, 3), number, np.uint8)

    classes = [f"class{number}" for number in range(num_classes)]
    embedding_figure(values, labels.astype(np.int64), classes, show, tmp_path / "x.png")
    (axes,) = drawn[0].axes
    legend = axes.get_legend()
    assert (legend is not None) == (num_classes == 3)
    if legend is not None:
        assert [text.get_text() for text in legend.get_texts()] == classes
    boxes = [artist for artist in axes.get_children() if isinstance(artist, AnnotationBbox)]
    places, _ = principal_components(values)
    assert len(boxes) == len(asked) == len(set(asked))
    for number, box in zip(asked, boxes, strict=True):
        assert np.allclose(box.xy, places[number])


def test_a_picture_of_many_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "MAX_POINTS", 30)
    values = np.random.default_rng(0).normal(size=(40, 3))
    grey = np.full((12, 16, 3), 90, np.uint8)
    embedding_figure(values, np.zeros(40, np.int64), ["a"], lambda _: grey, tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert image.width > 300
    with pytest.raises(ValueError, match="two vectors"):
        embedding_figure(values[:1], np.zeros(1, np.int64), ["a"], lambda _: grey, tmp_path / "y.png")

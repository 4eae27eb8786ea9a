"""The notebook runs from its first cell to its last, and what it says and shows is right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image, ImageColor

from eval.features.config import features_config
from eval.features.of_videos import write_features
from eval.pictures.lettering import RIGHT, WRONG

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "notebooks" / "own_videos.ipynb"


def read_notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]


def printed(cell: Any) -> str:
    return "".join(output["text"] for output in cell["outputs"] if output.get("name") == "stdout")


def test_no_outputs_are_kept() -> None:
    cells = read_notebook()["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    assert [cell["id"] for cell in cells if "parameters" in cell["metadata"].get("tags", ())] == ["settings"]


@pytest.mark.slow
def test_the_notebook_runs_and_counts_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # beside other tests, threads wait for each other
    notebook = read_notebook()
    cells = {cell["id"]: cell for cell in notebook["cells"]}
    for usual, small in (("num_groups = 12", "num_groups = 3"), ("epochs = 24", "epochs = 1")):
        assert usual in cells["settings"]["source"]
        cells["settings"]["source"] = cells["settings"]["source"].replace(usual, small)
    NotebookClient(notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    work = tmp_path / "own_videos"
    assert printed(cells["shards"]) == "48 videos of 8 classes\n"

    values = {"source": str(work / "demo" / "videos"), "checkpoint": str(work / "run"), "out": str(tmp_path / "x.npz")}
    write_features(features_config(values, ()), lambda _: None)  # another way to the vectors, through shards
    with np.load(tmp_path / "x.npz") as arrays:
        vectors, labels, names = arrays["vectors"].astype(np.float64), arrays["labels"], arrays["names"]
    vectors -= vectors.mean(axis=0)
    lengths = np.linalg.norm(vectors, axis=1)
    distances = [
        [np.inf if i == k else 1 - vectors[i] @ vectors[k] / lengths[i] / lengths[k] for k in range(48)]
        for i in range(48)
    ]
    nearest = np.argsort(distances, axis=1)
    hits = int((labels[nearest[:, 0]] == labels).sum())
    said = re.fullmatch(
        r"The nearest video .* for (\d+) of (\d+) videos \(guessing: (.*)\)\.\n", printed(cells["vectors"])
    )
    assert said is not None
    assert [int(said[1]), int(said[2])] == [hits, 48]
    assert float(said[3]) == pytest.approx(48 * 5 / 47, abs=0.05)

    order = np.argsort(names)
    first = [next(i for i in order if labels[i] == label) for label in range(8)]
    right = labels[nearest[first, :2]] == labels[first][:, None]
    with Image.open(work / "neighbours.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.std() > 20, "it is not blank"
    borders = {colour: (pixels == ImageColor.getrgb(colour)).all(axis=2).sum() for colour in (RIGHT, WRONG)}
    assert borders[RIGHT] / sum(borders.values()) == pytest.approx(right.mean(), abs=0.04)
    (shown,) = cells["show"]["outputs"]
    assert "image/png" in shown["data"]

"""The report: every number and picture of a run, in one page that needs nothing else."""

from __future__ import annotations

import base64
import re
import shutil
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import yaml
from helpers_report import (
    DATA_SET,
    Page,
    as_validation,
    assert_self_contained,
    draw_picture,
    make_evaluations,
    make_pretraining,
    make_validation,
    pixels_of,
    read_page,
    words,
)
from helpers_results import pretraining_of, write_result
from helpers_training import VALIDATED, tiny_config
from PIL import Image

from eval.report.page import read_contents, render, write_report
from eval.report.pictures import EXACT_BYTES, read_picture
from eval.report.pretraining import read_pretraining
from eval.results.combined import combine
from eval.results.rows import Row, find_rows, read_row
from shardify.errors import UsageError, WorkError

pytestmark = pytest.mark.usefixtures("blank_charts")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, small_dataset: Path) -> Path:
    """A finished run with results of every evaluation; read-only."""
    folder = tmp_path_factory.mktemp("report") / "demo"
    make_pretraining(folder, small_dataset)
    make_evaluations(folder / "eval")
    return folder


@pytest.fixture(scope="module")
def html(run: Path) -> str:
    return render(read_contents(run))


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return read_page(html)


def report_of(run: Path) -> Page:
    return read_page(render(read_contents(run)))


def rows_below(run: Path) -> Iterator[Row]:
    return (read_row(folder) for folder in find_rows(run))


def test_every_row_stands_in_the_page_with_its_numbers(run: Path, page: Page) -> None:
    lines = page.rows()
    expected: Counter[str] = Counter()
    for row in rows_below(run):
        parts = [row.network, row.variant]
        parts += [row.architecture] if row.architecture != "none" else []
        for name, metric in row.metrics.items():
            scale, digits, unit = (1, 2, "") if name == "mae" else (100, 1, " %")
            parts.append(f"{scale * metric.value:.{digits}f}{unit}")
            ends = (f"{scale * end:.{digits}f}" for end in (metric.low, metric.high))
            parts.append(f"[{', '.join(ends)}]" if metric.has_interval else "no interval")
            parts.append(f"guessing {scale * row.chance[name]:.{digits}f}{unit}")
            parts += [f"paper {scale * row.reported[name]:.{digits}f}{unit}"] if name in row.reported else []
        parts += [row.data_set, f"{row.train_split} → {row.test_split}", f"seed {row.seed}, 8 classes"]
        parts += ["24", "in 12 groups"] + ([f"{row.num_left_out} left out"] if row.num_left_out else [])
        expected[" ".join(parts)] += 1
    found = Counter(key for line in lines for key in expected if line.startswith(key))
    assert sum(expected.values()) == 3 * (4 + 5 + 1 + 1 + 1 + 2) + 1
    assert found == expected


def test_a_row_by_hand(tmp_path: Path) -> None:
    answers = [1, 1, 1, 0, 0, 0, 0, 0]  # 3 of 8 right
    write_result(tmp_path, "transfer", "finetune", answers, pretraining=pretraining_of(), num_left_out=2)
    page = report_of(tmp_path)
    (line,) = [line for line in page.rows() if "37.5 %" in line]
    for part in ("pretrained", "finetune", "c3d", "guessing 12.5 %", "paper 68.3 %", "in 4 groups", "2 left out"):
        assert part in line
    assert "transformations (random, periodic, warp, speed), on ucf101 train1, 100 epochs" in line
    assert "weights sha256 of pr" in line
    dots = [element.attributes["cx"] for element in page.all("circle")]
    chances = [e.attributes["x1"] for e in page.all("line") if e.attributes["class"] == "chance"]
    diamonds = [e.attributes["x"] for e in page.all("svg") if e.attributes.get("class") == "mark"]
    assert (dots, chances, diamonds) == (["22", "37.5%"], ["2", "12.5%"], ["8", "68.3%"])  # the legend's first


def test_numbers_without_an_interval_say_so(tmp_path: Path) -> None:
    write_result(tmp_path, "transfer", "finetune", [1.0] * 8)
    contents = read_contents(tmp_path)
    assert contents.panels[0].lines[0].ends_at is None
    page = read_page(render(contents))
    assert sum("100.0 %" in line and "no interval" in line for line in page.rows()) == 1
    ranges = [element for element in page.all("line") if element.attributes["class"] == "range"]
    assert len(ranges) == 3  # the legend's


def test_the_figure_has_a_line_for_each_network_of_each_variant(run: Path) -> None:
    contents = read_contents(run)
    panels = (*contents.panels, *contents.more_panels)
    assert sum(len(panel.lines) for panel in panels) == len(combine([run])) == 3 * (1 + 5 + 1 + 1 + 1 + 2) + 1
    assert [panel.title for panel in contents.panels] == [
        *("Transfer", "Probe", "Probe", "Probe", "Retrieval", "Synchronisation"),
        *("Before or after", "Still videos", "Still videos"),
    ]
    assert [panel.subtitle for panel in contents.more_panels] == [
        f"{variant} · {DATA_SET} · accuracy" for variant in ("linear-10pct", "knn-1")
    ]
    assert [line.label for line in contents.panels[0].lines] == ["pretrained", "supervised", "random"]


def test_splits_and_seeds_share_a_line(run: Path) -> None:
    contents = read_contents(run)
    transfer = next(panel for panel in contents.panels if panel.title == "Transfer")
    assert transfer.shared == "2 splits, 2 seeds, 48 test videos in 24 groups · guessing 12.5\N{NO-BREAK SPACE}%"
    line = transfer.lines[0]
    assert (line.label, words(line.number), line.value_at) == ("pretrained", "50.0 %", 50.0)
    (result,) = [r for r in combine([run]) if r.row.evaluation == "transfer" and r.row.network == "pretrained"]
    metric = result.metrics["accuracy"]
    assert line.ends_at == pytest.approx((100 * metric.low, 100 * metric.high), abs=0.005)
    assert line.interval == f"[{100 * metric.low:.1f}, {100 * metric.high:.1f}]"
    assert line.chance_at == 12.5


def test_errors_are_not_drawn_among_shares(tmp_path: Path) -> None:
    write_result(tmp_path, "sync", "frozen", {"mae": [2.0, 1.0, 3.0, 4.0]}, chance={"mae": 3.2})
    contents = read_contents(tmp_path)
    assert contents.panels == ()
    assert "2.50" in read_page(render(contents)).text


def test_networks_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for name, motions in (("one", ["random"]), ("other", ["warp"])):
        learnt = pretraining_of(motions=motions)
        write_result(tmp_path / name, "transfer", "finetune", [1, 0, 0, 0], pretraining=learnt, weights=name)
    (panel,) = read_contents(tmp_path).panels
    assert [line.detail for line in panel.lines] == [
        "transformations (random, speed), on ucf101 train1, 100 epochs · one",
        "transformations (warp, speed), on ucf101 train1, 100 epochs · other",
    ]


def test_the_tables_stand_in_the_page(run: Path, page: Page) -> None:
    contents = read_contents(run)
    titles = [words(heading.text) for heading in page.all("h3")]
    lines = Counter(page.rows())
    assert len(contents.tables) >= 5
    for table in (*contents.tables, *contents.unmeasured_tables):
        assert table.title in titles
        for row in table.rows:
            assert lines[words(" ".join(row.cells))] >= 1, row.cells
        assert all(words(note) in page.text for note in table.notes)


def test_tables_without_results_are_set_apart(tmp_path: Path) -> None:
    write_result(tmp_path, "sync", "frozen", [1, 1, 0, 0], pretraining=pretraining_of(), data_set="ucf101")
    contents = read_contents(tmp_path)
    assert [table.name for table in contents.tables] == ["table3"]
    assert {"table1", "table2", "table4"} <= {table.name for table in contents.unmeasured_tables}
    page = read_page(render(contents))
    (folded,) = [e.text for e in page.all("details") if "without measured numbers" in e.text]
    assert contents.unmeasured_tables[0].title in words(folded)


def test_the_first_paragraph_and_the_pretext_task(page: Page, small_dataset: Path) -> None:
    (summary,) = [words(e.text) for e in page.all("p") if e.attributes.get("class") == "summary"]
    assert f"c3d, pre-trained on split train1 of {small_dataset} for 2 of 2 epochs." in summary
    assert "motion accuracy 46.9 % (guessing 25.0 %), speed accuracy 52.1 % (guessing 33.6 %)" in summary
    assert re.search(
        r"better than those of random weights in [1-9] of \d+ comparisons \(the 95 % interval of the", summary
    )
    assert "for example Transfer (finetune): 50.0 % against 25.0 %." in summary
    assert summary.count(". ") == 2, "three sentences"
    assert {"motion accuracy 46.9 % 56.2 % 25.0 %", "speed accuracy 52.1 % 62.5 % 33.6 %"} <= set(page.rows())
    assert "2 epochs, 10 steps (finished)" in page.text


def test_the_first_paragraph_claims_nothing_that_is_not_certain(tmp_path: Path) -> None:
    write_result(tmp_path, "transfer", "finetune", [1, 0, 1, 0], pretraining=pretraining_of(), data_set="ucf101")
    write_result(tmp_path, "transfer", "finetune", [0, 1, 1, 0], network="random", data_set="ucf101")
    (summary,) = read_contents(tmp_path).summary
    assert summary == (
        "Its features are better than those of random weights in 0 of 1 comparison (the 95 % interval of the "
        "difference, on the same videos, lies above 0)."
    )


def test_settings_are_shown_as_they_are_and_once(run: Path, tmp_path: Path, page: Page) -> None:
    assert (run / "config.yaml").read_text() in [element.text for element in page.all("pre")]
    shutil.copytree(run, tmp_path / "demo")
    folders = find_rows(tmp_path / "demo")
    for folder in folders[:3]:
        (folder / "config.yaml").write_text("shards: <nowhere> & more\n")
    shown = report_of(tmp_path / "demo")
    texts = [element.text for element in shown.all("pre")]
    assert texts.count("shards: <nowhere> & more\n") == 1
    (folded,) = [e.text for e in shown.all("details") if "<nowhere>" in e.text]
    for folder in folders[:3]:
        assert f"{folder.relative_to(tmp_path / 'demo')}/config.yaml" in words(folded)


def test_every_picture_is_inside_exactly_once_with_words_and_size(run: Path, page: Page) -> None:
    names = sorted(str(path.relative_to(run)) for path in run.rglob("*.png"))
    assert len(names) == 5 + 3 * 4 * 3 + 16 * 2 + 3 + 1
    assert Counter(page.pictures()) == Counter(pixels_of((run / name).read_bytes()) for name in names)
    captions = [words(element.text) for element in page.all("figcaption")]
    sizes = {e.attributes["alt"]: (e.attributes["width"], e.attributes["height"]) for e in page.all("img")}
    for name in names:
        assert sum(caption.endswith(f" {name}") for caption in captions) == 1, name
        assert sum(f"({name})" in text for text in sizes) == 1, name
    assert sizes["Learning curves (curves.png)"] == ("143", "54")


def test_foreign_pictures_are_shown_too(tmp_path: Path) -> None:
    write_result(tmp_path, "transfer", "finetune", [1, 0, 0, 0])
    picture = draw_picture(tmp_path / "notes" / "whiteboard.png")
    draw_picture(tmp_path / ".trash" / "old.png")
    page = report_of(tmp_path)
    assert page.pictures() == [pixels_of(picture.read_bytes())]
    assert "Other pictures" in page.text
    assert "notes/whiteboard.png" in page.text


@pytest.mark.parametrize("part", [0, 8, 33, -5])
def test_a_damaged_picture_is_named(tmp_path: Path, part: int) -> None:
    folder = write_result(tmp_path, "transfer", "finetune", [1, 0, 0, 0])
    picture = draw_picture(folder / "confusion.png")
    picture.write_bytes(picture.read_bytes()[:part])
    with pytest.raises(WorkError, match=r"seed0/confusion.png"):
        read_contents(tmp_path)
    picture.write_bytes(b"no picture")
    with pytest.raises(WorkError, match=r"seed0/confusion.png"):
        read_contents(tmp_path)


def test_the_page_refers_to_nothing_outside(html: str, page: Page) -> None:
    assert_self_contained(html, page)


def test_links_lead_somewhere_and_headings_leave_out_no_level(page: Page) -> None:
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    links = {link.attributes["href"] for link in page.all("a")}
    assert links >= {"#glance", "#tables", "#pretraining", "#evaluations", "#saliency", "#data", "#settings"}
    assert links <= {f"#{name}" for name in ids}
    levels = [int(element.tag[1]) for element in page.elements if re.fullmatch(r"h[1-6]", element.tag)]
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_equal_runs_give_equal_pages(run: Path, html: str) -> None:
    assert render(read_contents(run)) == html


def test_names_and_texts_are_escaped(tmp_path: Path) -> None:
    nasty = "<script>alert('1')</script>&amp;\""
    run = tmp_path / "<b>run"
    folder = write_result(run, "transfer", "finetune", [1, 0, 0, 0], network="pre", data_set=nasty, weights="<i>")
    (folder / "config.yaml").write_text(f"out: </pre></details>{nasty}\n")
    draw_picture(folder / '"><img src=x onerror=1>.png')
    page = report_of(run)
    assert not {"script", "i", "b"} & {element.tag for element in page.elements}
    assert len(page.all("img")) == 1
    assert f"out: </pre></details>{nasty}\n" in [element.text for element in page.all("pre")]
    assert any(nasty in line and "<i>" in line for line in page.rows())
    assert '"><img src=x onerror=1>.png' in page.all("img")[0].attributes["alt"]
    assert page.all("title")[0].text == "<b>run: report"


def test_the_templates_are_installed_with_the_package() -> None:
    root = Path(__file__).resolve().parents[3]
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert "eval.report" in settings["packages"]
    patterns = settings["package-data"]["eval.report"]
    files = [path.name for path in (root / "eval" / "report").iterdir() if path.is_file() and path.suffix != ".py"]
    assert len(files) == 5
    assert all(any(fnmatch(name, pattern) for pattern in patterns) for name in files)


MAKERS = {
    "config.yaml": "stream-train pretrain CONFIG",
    "metrics.jsonl": "stream-train pretrain {run}/config.yaml",
    "curves.png": "stream-train pretrain {run}/config.yaml",
    "validation.json": "stream-train validate {run}",
    "confusion_motion.png": "stream-train validate {run}",
    "confusion_speed.png": "stream-train validate {run}",
    "transformations.png": "stream-train preview {shards} --out {run}",
    "contact_sheet.png": "shardify preview {shards} --out {run}",
}


@pytest.mark.parametrize(
    ("kind", "validated", "question"),
    [
        ("pace", False, "pace: speed (1x, 2x, 4x, 8x)"),
        ("rotation", True, "rotation: rotation (0, 90, 180, 270)"),
        ("action_labels", True, "action_labels: action (archery, bowling)"),
        ("action_labels", False, "action_labels"),
        ("dense_prediction", False, "dense_prediction"),
    ],
)
def test_the_question_of_any_task_is_told(tmp_path: Path, kind: str, validated: bool, question: str) -> None:
    """Also where only a validation knows the answers, the data set's labels."""
    config = tiny_config("data/demo/shards", tmp_path, task={"kind": kind}, validation=VALIDATED)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    guessing = []
    if validated:
        head, answers = re.fullmatch(r".*: (\w+) \((.*)\)", question).groups()  # type: ignore[union-attr]
        names = {head: answers.split(", ")}
        shown = replace(make_validation(), figures={f"{head}_accuracy": 1.0}, counts={}, class_names=names)
        (tmp_path / "validation.json").write_bytes(as_validation(shown))
        guessing = [f"{100 / len(names[head]):.1f}\N{NO-BREAK SPACE}%"]
    pretraining = read_pretraining(tmp_path, (), str(tmp_path))
    assert dict(pretraining.facts)["question"] == question
    assert [metric.guessing for metric in pretraining.metrics] == guessing
    has_strips = any("strips" in missing.what for missing in pretraining.missing)
    assert has_strips == (kind == "pace"), "these show the paper's clips"


def test_missing_parts_of_pretraining_are_named(tmp_path: Path, small_dataset: Path) -> None:
    run = tmp_path / "demo"
    make_pretraining(run, small_dataset)
    assert absent_lists(run) == [], "what could be added is no missing part"
    for name, command in MAKERS.items():
        (run / name).rename(tmp_path / name)
        (missing,) = absent_lists(run)
        maker = re.escape(command.format(run=run, shards=small_dataset))
        assert re.search(rf"\b{re.escape(name)}\b.*: made by {maker}$", missing)
        (tmp_path / name).rename(run / name)


def absent_lists(run: Path) -> list[str]:
    """What the page calls missing, except the saliency pictures."""
    boxes = [words(e.text) for e in report_of(run).elements if e.attributes.get("class") == "absent"]
    return [box.removeprefix("Missing: ") for box in boxes if "saliency" not in box]


def test_missing_evaluations_are_named(tmp_path: Path, small_dataset: Path) -> None:
    make_pretraining(tmp_path / "my demo", small_dataset)
    page = report_of(tmp_path / "my demo")
    run = f"'networks.pretrained.path={tmp_path / 'my demo'}'"
    every = "transfer, probe, retrieval, synchronisation, before or after, still videos"
    assert f"There are none yet: video-eval all CONFIG --set {run} adds {every}." in page.text
    assert [words(e.text) for e in page.all("h2")] == ["Contents", "Pre-training", "Evaluations", "Data", "Settings"]
    write_result(tmp_path, "transfer", "finetune", [1, 0, 0, 0])
    write_result(tmp_path, "retrieval", "pooled", {"top1": [1, 0, 0, 0]})
    text = report_of(tmp_path).text
    assert "video-eval transfer" not in text
    assert "made by video-eval probe CONFIG" in text
    assert "neighbours: made by video-eval retrieval CONFIG" in text


def test_results_without_pretraining_are_enough(tmp_path: Path) -> None:
    folder = write_result(tmp_path / "eval", "transfer", "finetune", [1, 0, 0, 0])
    page = report_of(tmp_path)
    assert f"{tmp_path} holds no pre-training run" in page.text
    assert any("25.0 %" in line for line in page.rows())
    (folder / "config.yaml").write_text("question: {}\n")
    picture = draw_picture(folder / "curves.png")
    page = report_of(folder)
    assert f"{folder} holds no pre-training run" in page.text
    assert page.pictures() == [pixels_of(picture.read_bytes())]


def test_a_large_picture_of_frames_loses_a_little_and_most_of_its_size(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    image = Image.fromarray(frames).resize((800, 600), Image.Resampling.BICUBIC)
    image.save(tmp_path / "large.png")
    size = (tmp_path / "large.png").stat().st_size
    assert size > EXACT_BYTES
    picture = read_picture(tmp_path, PurePosixPath("large.png"))
    data = base64.b64decode(picture.uri.partition("base64,")[2])
    assert len(data) < size / 4
    (width, height), pixels = pixels_of(data)
    assert (width, height) == (picture.width, picture.height) == (800, 600)
    difference = np.frombuffer(pixels, dtype=np.uint8).astype(int) - np.asarray(image).reshape(-1)
    assert np.abs(difference).mean() < 12


def test_there_must_be_something_to_report(tmp_path: Path, small_dataset: Path) -> None:
    (tmp_path / "file").touch()
    draw_picture(tmp_path / "empty" / "picture.png")
    for name in ("none", "file", "empty"):
        with pytest.raises(UsageError, match=f"{name} "):
            write_report(tmp_path / name)
    assert not (tmp_path / "empty" / "report.html").exists()
    make_pretraining(tmp_path / "demo", small_dataset)
    (tmp_path / "demo" / "validation.json").write_text("{}")
    with pytest.raises(WorkError, match=r"validation.json is damaged"):
        read_contents(tmp_path / "demo")


def test_settings_of_another_version_do_not_stop_the_report(tmp_path: Path, small_dataset: Path) -> None:
    make_pretraining(tmp_path / "demo", small_dataset)
    with (tmp_path / "demo" / "config.yaml").open("a") as file:
        file.write("colour_of_the_bike_shed: green\n")
    page = report_of(tmp_path / "demo")
    assert "unknown key colour_of_the_bike_shed" in page.text
    assert "motion accuracy 46.9 % 56.2 % –" in page.rows()


def test_the_report_is_written_where_it_is_wanted(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_result(run, "transfer", "finetune", [1, 0, 0, 0])
    assert write_report(run) == str(run / "report.html")
    assert write_report(run, tmp_path / "new" / "page.html") == str(tmp_path / "new" / "page.html")
    assert (run / "report.html").read_bytes() == (tmp_path / "new" / "page.html").read_bytes()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["page.html"]
    with pytest.raises(UsageError, match=r"new is a folder; give a file with --out, such as .*new/report.html"):
        write_report(run, tmp_path / "new")

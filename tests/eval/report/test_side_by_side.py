"""Runs side by side on one page: every number of every run, what differs, and what cannot be compared."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_report import (
    Page,
    assert_self_contained,
    make_pretraining,
    read_page,
    right_answers,
    words,
)
from helpers_results import pretraining_of, write_result
from helpers_training import tiny_config
from helpers_video_eval import invoke

from eval.report.held_out import held_out_plots
from eval.report.runs import distinct_names, opened_runs
from eval.report.side_by_side import SideBySide, compare_runs, write_side_by_side
from eval.report.writing import fill
from eval.results.combined import combine
from eval.results.differences import paired_difference
from shardify.config import dump_config
from shardify.errors import UsageError
from stream_train.training.exports import BACKBONE_NAME, export_weights

pytestmark = pytest.mark.usefixtures("blank_charts")


def make_run(folder: Path, shards: Path, held_out: dict[float, float], epochs: int = 2, **changes: Any) -> Path:
    """A run with a held-out motion accuracy at some epochs; `changes` are those of its config."""
    make_pretraining(folder, shards)
    values = {"validation": {"split": "test1"}, "epochs": epochs} | changes
    (folder / "config.yaml").write_text(dump_config(tiny_config(shards, folder, **values)))
    records = [
        {"step": round(5 * epoch), "epoch": epoch, "validation_motion_accuracy": value}
        for epoch, value in held_out.items()
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


@contextmanager
def compared(*runs: Path) -> Iterator[SideBySide]:
    with opened_runs(runs) as found:
        yield compare_runs(found)


def page_of(*runs: Path) -> Page:
    with compared(*runs) as contents:
        return read_page(fill("side_by_side.html", contents))


def boxes(page: Page) -> list[str]:
    return [words(e.text) for e in page.elements if e.attributes.get("class") == "absent"]


def test_only_keys_that_differ_are_in_the_table(tmp_path: Path, small_dataset: Path) -> None:
    one = make_run(tmp_path / "one", small_dataset, {2.0: 0.5})
    other = make_run(tmp_path / "other", small_dataset, {3.0: 0.5}, epochs=3, task={"kind": "rotation"})
    with compared(one, other) as contents:
        table = {line.name: list(line.values) for line in contents.settings}
        assert table["epochs"] == ["2", "3"]
        assert table["task.kind"] == ["transformations", "rotation"]
        assert table["task.speed_loss"] == ["true", "–"]
        assert {name for name in table if not name.startswith("task.")} == {"epochs"}
        equal = sum(contents.runs[0].settings.get(key) == value for key, value in contents.runs[1].settings.items())
        assert contents.num_equal == equal > 20
    page = page_of(one, other)
    assert "epochs 2 3" in page.rows()
    assert f"{equal} other keys have equal values." in page.text


def test_equal_configs_are_called_so(tmp_path: Path, small_dataset: Path) -> None:
    runs = [make_run(tmp_path / name, small_dataset, {2.0: 0.5}) for name in ("one", "other")]
    page = page_of(*runs)
    assert re.search(r"Nothing: all \d+ keys have equal values", page.text)
    assert boxes(page) == []


def test_held_out_results_share_axes(tmp_path: Path, small_dataset: Path) -> None:
    one = make_run(tmp_path / "one", small_dataset, {1.0: 0.25, 2.0: 0.75})
    other = make_run(tmp_path / "other", small_dataset, {1.0: 0.5, 4.0: 1.0}, epochs=4)
    with compared(one, other) as contents:
        motion, speed = contents.plots
    assert motion.title == "motion accuracy"
    assert motion.epochs == [(25.0 * epoch, str(epoch)) for epoch in range(5)]
    assert motion.values == [(100.0, "0"), (75.0, "25"), (50.0, "50"), (25.0, "75"), (0.0, "100")]
    assert [[(mark.x, mark.y) for mark in line.marks] for line in motion.lines] == [
        [(25.0, 75.0), (50.0, 25.0)],
        [(25.0, 50.0), (100.0, 0.0)],
    ]
    assert [line.name for line in motion.lines] == ["one", "other"]
    assert [words(mark.words) for mark in motion.lines[0].marks][-1] == "one: epoch 2.0, 75.0 %"
    assert (motion.guess_at, words(motion.guess)) == (75.0, "25.0 %")
    # A validation after training (step 10, epoch 2) has no record of its own. The other run has no record of step 10.
    assert [(line.name, [(mark.x, mark.y) for mark in line.marks]) for line in speed.lines] == [("one", [(50.0, 47.9)])]
    assert speed.epochs == motion.epochs


def test_the_legend_of_the_plots_leaves_out_runs_without_validation(tmp_path: Path, small_dataset: Path) -> None:
    never = make_run(tmp_path / "never", small_dataset, {})
    (never / "validation.json").unlink()
    one, other = (make_run(tmp_path / name, small_dataset, {2.0: 0.5}) for name in ("one", "other"))
    page = page_of(one, never, other)
    _, of_plots, *_ = [words(e.text) for e in page.all("ul") if e.attributes.get("class") == "legend"]
    assert of_plots == "one other guessing, where all runs have the same"


def test_scores_below_zero_have_room(tmp_path: Path, small_dataset: Path) -> None:
    folder = make_run(tmp_path / "one", small_dataset, {1.0: 0.5})
    with (folder / "metrics.jsonl").open("a") as file:
        for epoch, value in ((1, -7.0), (2, -0.4), (3, 0.5)):
            file.write(json.dumps({"step": 5 * epoch, "epoch": epoch, "validation_flow_explained": value}) + "\n")
    with opened_runs([folder]) as found:
        plot = {plot.title: plot for plot in held_out_plots(found.runs)}["flow explained"]
    assert [mark.y for mark in plot.lines[0].marks] == [100.0, 70.0, 25.0]
    assert (plot.values[0], plot.values[-1]) == ((100.0, "-100"), (0.0, "100"))


def test_numbers_stand_beside_each_other_with_their_difference(tmp_path: Path) -> None:
    shares = {"one": 0.5, "other": 0.75}
    for turn, (name, share) in enumerate(shares.items()):
        learnt = pretraining_of(epochs=turn)
        write_result(tmp_path / name, "transfer", "finetune", right_answers(share, turn), pretraining=learnt)
        write_result(tmp_path / name, "probe", "knn-1", right_answers(share, turn), pretraining=learnt)
        tops = {"top1": right_answers(share, turn), "top5": right_answers(1.0)}
        write_result(tmp_path / name, "retrieval", "pooled", tops, pretraining=learnt)
    page = page_of(tmp_path / "one", tmp_path / "other")
    (one,), (other,) = ([r for r in combine([tmp_path / n]) if r.row.evaluation == "transfer"] for n in shares)
    difference = paired_difference(other, one, "accuracy")
    assert difference is not None
    assert 100 * difference.value == pytest.approx(25.0)
    expected = [
        "pretrained accuracy, guessing 12.5 %",
        *(f"{100 * m.value:.1f} % [{100 * m.low:.1f}, {100 * m.high:.1f}]" for m in [one.metrics["accuracy"]]),
        *(f"{100 * m.value:.1f} % [{100 * m.low:.1f}, {100 * m.high:.1f}]" for m in [other.metrics["accuracy"]]),
        f"+25.0 [{100 * difference.low:.1f}, {100 * difference.high:.1f}]",
    ]
    lines = [line for line in page.rows() if line.startswith("pretrained accuracy")]
    assert [re.sub(r" (better|worse|undecided)$", "", line) for line in lines] == [" ".join(expected)] * 2
    verdict = "better" if difference.low > 0 else "undecided"
    assert all(line.endswith(verdict) for line in lines)
    folded = [words(e.text) for e in page.all("details")]
    assert ["top 5" in text for text in folded] == [True, False]
    assert ["knn-1" in text for text in folded] == [False, True]
    assert sum("top 1," in line for line in page.rows()) == 1
    assert boxes(page) == []


def test_a_difference_says_on_how_many_seeds_it_rests_if_a_run_has_more(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        write_result(tmp_path / "one", "transfer", "finetune", [1, 0, 0, 0], seed=seed)
        write_result(tmp_path / "all", "transfer", "finetune", [1, 1, 0, 0], seed=seed)
    write_result(tmp_path / "two", "transfer", "finetune", [1, 1, 1, 0], seed=2)
    (line,) = [line for line in page_of(*(tmp_path / n for n in ("one", "all", "two"))).rows() if "25.0 %" in line]
    assert "+50.0 no interval, on 1 seed" in line
    assert line.count(", on ") == 1, "the other difference has all seeds"


def test_a_run_without_a_result_has_a_dash(tmp_path: Path) -> None:
    write_result(tmp_path / "one", "transfer", "finetune", [1, 0, 0, 0], pretraining=pretraining_of())
    write_result(tmp_path / "other", "before_after", "finetune", [1, 1, 0, 0], pretraining=pretraining_of())
    lines = page_of(tmp_path / "one", tmp_path / "other").rows()
    starts = ("pretrained accuracy, guessing 12.5 % 25.0 %", "pretrained accuracy, guessing 12.5 % – 50.0 %")
    for start in starts:
        (line,) = [line for line in lines if line.startswith(start)]
        assert "–" in line
        assert "better" not in line


def test_several_results_of_one_run_stand_below_each_other(tmp_path: Path) -> None:
    for name, folder, answers in (("one", "a", [1, 0, 0, 0]), ("one", "b", [1, 1, 1, 0]), ("other", "a", [1, 1, 0, 0])):
        config = {"epochs": len(folder) + sum(map(int, answers)), "train_fingerprint": "train1"}
        where = tmp_path / name / folder
        write_result(where, "transfer", "finetune", answers, pretraining=pretraining_of(), config=config)
    (line,) = [line for line in page_of(tmp_path / "one", tmp_path / "other").rows() if line.startswith("pretrained")]
    assert re.search(r"25\.0 % .*\ba 75\.0 % .*\bb 50\.0 %", line)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fingerprint": "changed videos"}, "test videos: test1 (one); changed vide (other)"),
        ({"split": 2}, "splits: train1/test1 (one); train2/test2 (other)"),
        (
            {"config": {"epochs": 5, "train_fingerprint": "train1", "data": {"crop": 40}}},
            "epochs: 50 (one); 5 (other) differs: data.crop: none (one); 40 (other)",
        ),
        (
            {"config": {"epochs": 50, "train_fingerprint": "fewer"}},
            "training videos: train1 (one); fewer (other)",
        ),
    ],
)
def test_results_that_cannot_be_compared_are_marked(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    answers = right_answers(0.5)
    write_result(tmp_path / "one", "transfer", "finetune", answers, pretraining=pretraining_of())
    write_result(tmp_path / "other", "transfer", "finetune", answers, pretraining=pretraining_of(), **changes)
    page = page_of(tmp_path / "one", tmp_path / "other")
    (group,) = [line for line in page.rows() if line.startswith("Transfer finetune")]
    assert f"differs: {said}" in group
    assert boxes(page) == [
        "Compare with care: Settings or data of evaluations differ: Transfer; the table says which.",
    ]
    (line,) = [line for line in page.rows() if line.startswith("pretrained")]
    has_same_videos = not {"fingerprint", "split"} & changes.keys()
    assert line.endswith("0.0 no interval") == has_same_videos, "a difference needs the same videos"


def test_networks_that_learnt_from_other_data_are_named(tmp_path: Path, small_dataset: Path) -> None:
    identities: dict[str, dict[str, Any]] = {
        "a": {"data_set.fingerprint": "1" * 64, "data_set.height": 64, "data_set.width": 86, "data.resize": [48, 64]},
        "b": {"data_set.fingerprint": "2" * 64, "data_set.height": 64, "data_set.width": 86, "data.resize": None},
        "c": {"data_set.fingerprint": "1" * 64, "data_set.height": 64, "data_set.width": 86, "data.resize": [48, 64]},
    }
    identities["c"]["data_set.resizing"] = "fixed-point bilinear"
    runs = [make_run(tmp_path / name, small_dataset, {2.0: 0.5}) for name in identities]
    for run in runs:
        export_weights(run / BACKBONE_NAME, torch.nn.Linear(1, 1), identities[run.name])
    (box,) = boxes(page_of(*runs))
    assert box.split(". ") == [
        f"Compare with care: The networks learnt from other videos, by fingerprint: {'1' * 12} (a, c); {'2' * 12} (b)",
        "The networks saw frames of other sizes before the crop: 48 × 64 (a, c); 64 × 86 (b)",
        "Frames were resized by other code: of an earlier version (a); fixed-point bilinear (c).",
    ]


def test_held_out_results_of_other_videos_or_questions_are_named(tmp_path: Path, small_dataset: Path) -> None:
    one = make_run(tmp_path / "one", small_dataset, {2.0: 0.5})
    other = make_run(tmp_path / "other", small_dataset, {2.0: 0.5}, data__crop=12, task={"kind": "rotation"})
    record = json.loads((other / "validation.json").read_text())
    (other / "validation.json").write_text(json.dumps(record | {"num_videos": 100}))
    (box,) = boxes(page_of(one, other))
    assert box == (
        "Compare with care: The held-out videos differ: split test1 of 128 videos, unknown (one); split test1 of 100 "
        "videos, unknown (other). "
        "The held-out results answer other questions; these keys differ: task.kind, data.crop."
    )


def test_missing_and_unfinished_runs_are_named_and_the_rest_is_shown(tmp_path: Path, small_dataset: Path) -> None:
    whole = make_run(tmp_path / "whole", small_dataset, {2.0: 0.5})
    begun = make_run(tmp_path / "begun", small_dataset, {1.0: 0.25})
    damaged = make_run(tmp_path / "damaged", small_dataset, {2.0: 0.25})
    (damaged / "validation.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    page = page_of(whole, tmp_path / "gone", begun, tmp_path / "empty", damaged)
    left_out, unfinished = boxes(page)
    assert f"{tmp_path / 'gone'} does not exist" in left_out
    assert f"{tmp_path / 'empty'} holds neither" in left_out
    assert f"{damaged / 'validation.json'} is damaged" in left_out
    assert unfinished == "Not finished: begun : 1 of 2 epochs"
    assert "motion accuracy 46.9 % guessing 25.0 % 46.9 % guessing 25.0 %" in page.rows()
    assert page.all("h1")[0].text == "2 runs side by side"


def test_without_any_run_there_is_no_page(tmp_path: Path, small_dataset: Path) -> None:
    with pytest.raises(UsageError, match=r"gone does not exist.*other does not exist"):
        write_side_by_side([tmp_path / "gone", tmp_path / "other"], tmp_path / "runs.html")
    run = make_run(tmp_path / "run", small_dataset, {2.0: 0.5})
    with pytest.raises(UsageError, match=r"run/\.\./run is given more than once"):
        write_side_by_side([f"{run}/../run", run], tmp_path / "runs.html")
    with pytest.raises(UsageError, match="is a folder"):
        write_side_by_side([run, tmp_path / "gone"], tmp_path)
    assert not (tmp_path / "runs.html").exists()


def test_names_are_as_short_as_they_can_be() -> None:
    assert distinct_names(["/a/runs/one", "/a/runs/two"]) == ["one", "two"]
    assert distinct_names(["/a/one/eval", "/a/two/eval"]) == ["one/eval", "two/eval"]
    assert distinct_names(["/a/b", "s3://c/b"]) == ["a/b", "c/b"]
    assert distinct_names(["/b", "/a/b"]) == ["/b", "a/b"]


def test_the_command_takes_one_run_or_several(
    tmp_path: Path, small_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [make_run(tmp_path / name, small_dataset, {2.0: 0.5}) for name in ("one", "other")]
    assert invoke("report", runs[0]).stdout == f"{runs[0]}/report.html\n"
    assert "one: training and results" in (runs[0] / "report.html").read_text()
    assert invoke("report", *runs).stdout == "runs.html\n"
    assert "2 runs side by side" in (tmp_path / "runs.html").read_text()
    assert invoke("report", *runs, "--out", tmp_path / "new" / "page.html").exit_code == 0
    assert (tmp_path / "new" / "page.html").read_bytes() == (tmp_path / "runs.html").read_bytes()
    assert invoke("report", runs[0], runs[0]).exit_code == 2
    assert invoke("report").exit_code == 2


def test_the_page_needs_nothing_else(tmp_path: Path, small_dataset: Path) -> None:
    runs = []
    for name in ("one", "<b>&amp;other"):
        runs.append(make_run(tmp_path / name, small_dataset, {1.0: 0.25, 2.0: 0.75}))
        write_result(runs[-1] / "eval", "transfer", "finetune", [1, 0, 0, 0], pretraining=pretraining_of(name))
    html = Path(write_side_by_side(runs, tmp_path / "runs.html")).read_text()
    page = read_page(html)
    assert_self_contained(html, page)
    assert page.all("b") == []
    assert page.all("title")[0].text == "one, <b>&amp;other: side by side"
    links = {link.attributes["href"] for link in page.all("a")}
    assert links == {f"#{e.attributes['id']}" for e in page.all("section")}


def test_a_line_of_dashes_tells_runs_of_one_colour_apart(tmp_path: Path, small_dataset: Path) -> None:
    runs = [make_run(tmp_path / str(number), small_dataset, {1.0: 0.1 * number}) for number in range(8)]
    styles = [e.attributes["class"] for e in page_of(*runs).all("g") if e.attributes.get("class", "").startswith("run")]
    motion = styles[:8]
    assert motion == [*(f"run run{number}" for number in range(7)), "run run0 again"]


def test_settings_of_another_version_are_compared_as_they_are(tmp_path: Path, small_dataset: Path) -> None:
    one = make_run(tmp_path / "one", small_dataset, {2.0: 0.5})
    old = make_run(tmp_path / "old", small_dataset, {2.0: 0.5})
    with (old / "config.yaml").open("a") as file:
        file.write("colour_of_the_bike_shed: green\n")
    page = page_of(one, old)
    assert "colour_of_the_bike_shed – green" in page.rows()
    assert "old : The settings are shown as they are" in page.text

"""The tables: what stands beside the paper's numbers, what is said where it may not be compared, and their text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers_results import ALL_MOTIONS, action_labels, pretraining_of, trained_at, write_result

from eval.tables.build import MARKDOWN_NAME, build_tables, tables_markdown, write_tables
from eval.tables.format import Table

RIGHT = [1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0]  # 62.5 %
WRONG = [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]  # 25.0 %
ERRORS = [1.0, 2.0, 0.0, 1.0, 3.0, 0.0, 0.0, 1.0]  # 1.00
TOPS = {f"top{k}": RIGHT for k in (1, 5, 10, 20, 50)}
NAMES = ("table1", "table2", "table3", "still", "table4", "probes")


def tables_of(*roots: Path) -> dict[str, Table]:
    tables = build_tables(roots)
    assert len({table.name for table in tables}) == len(tables)
    return {table.name: table for table in tables}


def value_of(cell: str) -> str:
    """Without the interval."""
    return cell.partition(" [")[0]


def measured(table: Table) -> dict[tuple[str, ...], list[str]]:
    """The values of lines with any, without intervals, by the line's labels."""
    at = [i for i, column in enumerate(table.columns) if column.startswith("measured")]
    found = {}
    for row in table.rows:
        values = [value_of(row.cells[i]) for i in at]
        if any(value not in {"-", "not measured"} for value in values):
            found[row.cells[: table.num_label_columns]] = values
    return found


def test_without_results_the_tables_say_what_there_is_to_measure() -> None:
    tables = tables_of()
    assert tuple(tables) == NAMES
    assert not any(measured(table) for table in tables.values())
    assert {row.kind for table in tables.values() for row in table.rows} == {"paper", "published", "extra"}
    assert len(tables["table1"].rows) == 16 + 1
    expected = ("speed + random + warp", "yes", "60.4", "not measured", "39.2", "not measured", "")
    assert tables["table1"].rows[12].cells == expected
    assert tables["table3"].rows[3].cells == (
        *("this method", "42.4", "not measured", "1.61", "not measured", "76.9", "not measured", ""),
    )
    assert tables["still"].rows[1].cells[:5] == ("this method", "1.0", "not measured", "58.1", "not measured")
    assert [row.cells[:5] for row in tables["table4"].rows[-3:]] == [
        ("this method", "3D-ResNet18", "authors'", "paper", "26.1"),
        ("this method", "3D-ResNet18", "authors'", "measured", "not measured"),
        ("random weights", "3D-ResNet18", "-", "measured", "not measured"),
    ]


def test_competitors_stand_where_the_paper_has_them_and_scratch_beside_each_network() -> None:
    rows = [row.cells for row in tables_of()["table2"].rows]
    assert len(rows) == 24 + 3 * 2
    assert rows[0] == ("Shuffle&Learn", "AlexNet", "-", "UCF101", "50.2", "-", "18.1", "-", "")
    assert rows[2][4:8] == ("78.1", "-", "-", "-")  # AoT has no number on HMDB51
    assert rows[7][0] == "Shuffle&Learn*"
    assert rows[14:18] == [
        ("this method", "C3D", "-", "UCF101", "68.3", "not measured", "38.4", "not measured", ""),
        ("this method", "C3D", "-", "Kinetics", "69.9", "not measured", "39.6", "not measured", ""),
        ("from scratch, 5e-5", "C3D", "-", "-", "-", "not measured", "-", "not measured", ""),
        ("from scratch, 3e-4", "C3D", "-", "-", "-", "not measured", "-", "not measured", ""),
    ]
    scratch = [row[:2] for row in rows if row[0].startswith("from scratch")]
    assert scratch == [(f"from scratch, {r}", n) for n in ("C3D", "3D-ResNet18", "R(2+1)D") for r in ("5e-5", "3e-4")]
    own = [row[1:4] for row in rows if row[0] == "this method"]
    assert own[2:] == [
        (n, "authors'", d) for n, d in (*(("3D-ResNet18", d) for d in ("UCF101", "Kinetics")), ("R(2+1)D", "UCF101"))
    ]


def test_measured_numbers_stand_beside_the_paper_s(tmp_path: Path) -> None:
    for data_set, right in (("ucf101", RIGHT), ("hmdb51", WRONG)):
        for split in (1, 2, 3):
            root = tmp_path / data_set
            shared: dict[str, Any] = {"data_set": data_set, "split": split}
            write_result(root, "transfer", "finetune", right, pretraining=pretraining_of(), **shared)
            write_result(root, "transfer", "finetune", WRONG, network="random", **shared)
    table = tables_of(tmp_path)["table2"]
    assert measured(table) == {
        ("this method", "C3D", "-", "UCF101"): ["62.5", "25.0"],
        ("from scratch", "C3D", "-", "-"): ["25.0", "25.0"],
        ("guessing", "-", "-", "-"): ["12.5", "12.5"],
    }
    (line,) = [row.cells for row in table.rows if row.kind == "measured"]
    assert (line[4], line[6]) == ("68.3", "38.4")
    low, high = line[5].removeprefix("62.5 [").removesuffix("]").split(", ")
    assert 0 < float(low) < 62.5 < float(high) < 100
    (note,) = [note for note in table.notes if note.startswith(f"[{line[-1]}] pretrained: transformations")]
    assert "3 splits, 1 seed, 24 test videos in 12 groups" in note


def test_the_ablation_fills_table_1_and_leaves_table_2_to_longer_training(tmp_path: Path) -> None:
    ablated = pretraining_of(epochs=50, motions=["warp", "random"])
    short, long = pretraining_of(epochs=50), pretraining_of(epochs=100)
    for name, network in (("rw", ablated), ("short", short), ("long", long)):
        write_result(tmp_path / "u", "probe", "fc-all", RIGHT, network=name, pretraining=network)
        write_result(
            tmp_path / "h", "transfer", "finetune", WRONG, network=name, pretraining=network, data_set="hmdb51"
        )
    tables = tables_of(tmp_path)
    everything = ("speed + random + periodic + warp", "yes")
    rows = [row.cells for row in tables["table1"].rows if row.cells[:2] == everything]
    assert [[value_of(cell) for cell in row[2:6]] for row in rows] == [
        ["60.6", "62.5", "38.0", "not measured"],  # 100 epochs: Table 2's on HMDB51
        ["60.6", "62.5", "38.0", "25.0"],
    ]
    assert measured(tables["table1"])["speed + random + warp", "yes"] == ["62.5", "25.0"]
    assert measured(tables["table2"]) == {
        ("this method", "C3D", "-", "UCF101"): ["not measured", "25.0"],
        ("guessing", "-", "-", "-"): ["-", "12.5"],
    }


def test_action_labels_stand_on_their_line(tmp_path: Path) -> None:
    shared: dict[str, Any] = {"network": "supervised", "pretraining": action_labels()}
    write_result(tmp_path, "probe", "fc-all", RIGHT, **shared)
    write_result(tmp_path, "sync", "frozen", {"accuracy": RIGHT, "mae": ERRORS}, **shared)
    write_result(tmp_path, "before_after", "finetune", {"accuracy": WRONG, "seam_accuracy": RIGHT}, **shared)
    write_result(tmp_path, "still", "still", WRONG, **shared)
    tables = tables_of(tmp_path)
    assert measured(tables["table1"])["action labels", "-"] == ["62.5", "not measured"]
    assert measured(tables["table3"])[("action labels",)] == ["62.5", "1.00", "25.0"]
    assert measured(tables["table3"])[("seam only",)] == ["-", "-", "62.5"]
    assert measured(tables["still"])[("action labels",)] == ["25.0", "not measured"]


def test_other_pretext_tasks_stand_on_their_lines(tmp_path: Path) -> None:
    """Rotation, which the paper's authors trained on C3D, clip order, published on C3D, and speed alone."""
    shared: dict[str, Any] = {"data_set": "ucf101", "split": "train1", "epochs": 50, "step": 1000, "changes": {}}
    for kind, right in (("rotation", RIGHT), ("clip_order", WRONG), ("speednet", WRONG)):
        network: dict[str, Any] = {
            "network": kind,
            "pretraining": {"question": f"pretext_task_{kind}"} | shared,
        }
        write_result(tmp_path / "u", "transfer", "finetune", right, **network)
        write_result(tmp_path / "u", "sync", "frozen", {"accuracy": right, "mae": ERRORS}, **network)
    speed = pretraining_of(epochs=50, motions=[], changes={"data.videos_per_batch": 28})
    write_result(tmp_path / "h", "transfer", "finetune", RIGHT, network="pace", pretraining=speed, data_set="hmdb51")
    tables = tables_of(tmp_path)
    lines = {row.cells[:4]: row for row in tables["table2"].rows}
    rotation = lines["3D-RotNet*", "C3D", "-", "UCF101"]
    assert [value_of(cell) for cell in rotation.cells[4:8]] == ["60.6", "62.5", "27.3", "-"]
    assert rotation.kind == "measured"
    assert lines["Shuffle&Learn*", "C3D", "-", "UCF101"].kind == "published"
    assert [value_of(cell) for cell in lines["Clip Order", "C3D", "-", "UCF101"].cells[4:8]] == [
        "65.6",
        "25.0",
        "28.4",
        "-",
    ]
    assert value_of(lines["pretext task speednet", "C3D", "-", "UCF101"].cells[5]) == "25.0", "no line in the paper"
    assert measured(tables["table3"])[("3D-RotNet*",)] == ["62.5", "1.00", "-"]
    assert measured(tables["table3"])[("pretext task clip order",)] == ["25.0", "1.00", "-"]
    assert measured(tables["table1"])["speed", "yes"] == ["not measured", "62.5"]
    notes = "\n".join(tables["table1"].notes + tables["table2"].notes)
    assert "unlike the paper: our version of the task (published: another C3D, of 8 convolutions" in notes
    assert "pre-trained with data.videos_per_batch = 28" in notes


def test_other_variants_have_lines_of_their_own_beside_the_paper_s_number(tmp_path: Path) -> None:
    network = pretraining_of()
    write_result(tmp_path, "sync", "finetune", {"accuracy": RIGHT, "mae": ERRORS}, pretraining=network)
    write_result(tmp_path, "before_after", "frozen", WRONG, pretraining=network)
    tables = tables_of(tmp_path)
    found = [[value_of(cell) for cell in row.cells[:7]] for row in tables["table3"].rows[-3:-1]]
    assert found == [
        ["this method, fine-tuned", "42.4", "62.5", "1.61", "1.00", "-", "-"],
        ["this method, frozen convolutions", "-", "-", "-", "-", "76.9", "25.0"],
    ]


def test_networks_that_the_paper_has_not_follow_its_own(tmp_path: Path) -> None:
    write_result(tmp_path, "retrieval", "pooled", TOPS, pretraining=pretraining_of())
    write_result(tmp_path, "retrieval", "pooled", TOPS, network="colour", architecture="none")
    write_result(tmp_path, "retrieval", "pooled", TOPS, network="random")
    imported = {"question": "torchvision", "data_set": "kinetics400", "weights": "KINETICS400_V1"}
    shared: dict[str, Any] = {"network": "imported", "pretraining": imported, "architecture": "r3d18"}
    write_result(tmp_path, "retrieval", "pooled", TOPS, **shared)
    write_result(tmp_path, "probe", "fc-all", WRONG, **shared)
    write_result(tmp_path, "transfer", "finetune", WRONG, **shared)
    tables = tables_of(tmp_path)
    extra = [row.cells[:5] for row in tables["table4"].rows[9:]]
    assert [(*labels, value_of(cell)) for *labels, cell in extra] == [
        ("this method", "C3D", "-", "measured", "62.5"),
        ("torchvision's weights", "3D-ResNet18", "-", "measured", "62.5"),
        ("random weights", "C3D", "-", "measured", "62.5"),
        ("colour, no network", "-", "-", "measured", "62.5"),
        ("guessing", "-", "-", "-", "12.5"),
    ]
    assert tables["table4"].rows[7].cells[4] == "not measured", "a C3D is not the paper's 3D-ResNet18"
    assert measured(tables["table1"])["torchvision's weights, 3D-ResNet18", "-"] == ["25.0", "-"]
    assert measured(tables["table2"])["torchvision's weights", "3D-ResNet18", "-", "kinetics400"] == ["25.0", "-"]


def test_a_result_stands_on_one_line_of_one_table(tmp_path: Path) -> None:
    imported = {"question": "torchvision", "data_set": "kinetics400"}
    shared: dict[str, Any] = {"network": "imported", "pretraining": imported, "architecture": "r3d18"}
    write_result(tmp_path / "u", "sync", "frozen", {"accuracy": RIGHT, "mae": ERRORS}, **shared)
    write_result(tmp_path / "u", "before_after", "finetune", WRONG, **shared)
    write_result(tmp_path / "h", "transfer", "finetune", RIGHT, data_set="hmdb51", **shared)
    tables = tables_of(tmp_path)
    assert measured(tables["table3"]) == {
        ("torchvision's weights, 3D-ResNet18",): ["62.5", "1.00", "25.0"],
        ("guessing",): ["12.5", "0.12", "12.5"],
    }
    assert measured(tables["table2"])["torchvision's weights", "3D-ResNet18", "-", "kinetics400"] == ["-", "62.5"]
    assert not measured(tables["table1"])


def test_the_paper_s_retrieval_is_compared_with_its_like_alone(tmp_path: Path) -> None:
    network = pretraining_of("kinetics600", 15)
    write_result(tmp_path, "retrieval", "pooled", TOPS, pretraining=network, architecture="r3d18")
    rows = tables_of(tmp_path)["table4"].rows
    assert [(row.kind, value_of(row.cells[4])) for row in rows[6:8]] == [("paper", "26.1"), ("measured", "62.5")]
    assert rows[6].numbers == ()
    assert [number.reported for number in rows[7].numbers] == [0.261, 0.485, 0.591, 0.696, 0.828]


def test_partial_motions_have_a_line_in_table_2(tmp_path: Path) -> None:
    for i, (motions, speed_loss) in enumerate(((["warp"], True), (ALL_MOTIONS, False))):
        network = pretraining_of(motions=motions, speed_loss=speed_loss)
        write_result(tmp_path, "transfer", "finetune", RIGHT, network=f"n{i}", pretraining=network)
    methods = [labels[0] for labels in measured(tables_of(tmp_path)["table2"])]
    assert methods == ["speed + warp", "speed + random + periodic + warp, no speed loss", "guessing"]


def test_small_data_sets_have_tables_of_their_own_that_say_so(tmp_path: Path) -> None:
    network = pretraining_of("ucf101-8", 30)
    for evaluation, variant in (("transfer", "finetune"), ("probe", "fc-all")):
        shared: dict[str, Any] = {"pretraining": network, "data_set": "ucf101-8"}
        write_result(tmp_path / "small", evaluation, variant, RIGHT, **shared)
    tables = tables_of(tmp_path)
    assert tuple(tables) == ("table1_ucf101-8", "table2_ucf101-8", "table3", "still", "table4", "probes_ucf101-8")
    table = tables["table2_ucf101-8"]
    assert table.title.endswith("tested on ucf101-8")
    assert table.columns[4:] == ("measured ucf101-8", "note")
    assert measured(table)["this method", "C3D", "-", "ucf101-8"] == ["62.5"]
    for name in ("table1_ucf101-8", "table2_ucf101-8"):
        assert "The paper has no numbers for ucf101-8." in tables[name].notes
        assert not any(number.reported for row in tables[name].rows for number in row.numbers)

    write_result(tmp_path / "whole", "transfer", "finetune", WRONG, pretraining=pretraining_of())
    tables = tables_of(tmp_path)
    assert list(tables)[1:3] == ["table2", "table2_ucf101-8"]
    assert measured(tables["table2"])["this method", "C3D", "-", "UCF101"] == ["25.0", "not measured"]
    assert measured(tables["table2_ucf101-8"])["this method", "C3D", "-", "ucf101-8"] == ["62.5"]
    assert str(tmp_path / "small") in tables["table2_ucf101-8"].notes[-1], "several folders: say which"


def test_data_that_the_paper_has_no_numbers_for(tmp_path: Path) -> None:
    write_result(tmp_path, "transfer", "finetune", RIGHT, pretraining=pretraining_of("mine"), data_set="my/data")
    write_result(tmp_path, "transfer", "finetune", WRONG, network="random", data_set="my/data")
    tables = tables_of(tmp_path)
    table = tables["table2_my_data"]
    assert table.columns == ("method", "network", "variant", "trained on", "measured my/data", "note")
    assert [(row.kind, value_of(row.cells[4])) for row in table.rows] == [
        ("extra", "25.0"),
        ("extra", "62.5"),
        ("chance", "12.5"),
    ]
    assert "The paper has no numbers for my/data." in table.notes
    assert "table2" not in tables
    write_result(tmp_path, "sync", "frozen", RIGHT, pretraining=pretraining_of(), data_set="hmdb51")
    assert measured(tables_of(tmp_path)["table3_hmdb51"])[("this method",)] == ["62.5", "-", "-"]


def test_notes_name_the_settings_of_the_results(tmp_path: Path) -> None:
    def note(table: str, start: str) -> str:
        return next(note for note in tables_of(tmp_path)[table].notes if note.startswith(start))

    usual = note("table4", "Our choices")
    assert "10 clips at even distances, stride 4" in usual
    shared: dict[str, Any] = {"pretraining": pretraining_of()}
    for number, clips in (("a", 10), ("b", 2)):
        features = {"layer": "pooled", "stride": 4, "clips_per_video": clips}
        config = {"retrieval": {"features": features, "top": [1]}}
        write_result(tmp_path / number, "retrieval", "pooled", TOPS, network=number, config=config, **shared)
        assert note("table4", "Our choices") == usual.replace(
            "10 clips", "10 clips" if clips == 10 else "10 or 2 clips"
        )
    section = {"stride": 2, "gap": "near", "frozen": False}
    write_result(tmp_path / "c", "before_after", "finetune", RIGHT, config={"before_after": section}, **shared)
    assert "stride 2;" in note("table3", "Our choices")
    assert "1 to 16 frames between the pieces" in note("table3", "order: all")
    assert "32 to 63" in note("table2", "Test:")
    write_result(tmp_path / "d", "transfer", "finetune", RIGHT, config={"transfer": {"all_clips": True}}, **shared)
    assert note("table2", "Test:") == "Test: probabilities averaged over all clips of a video."


def test_both_learning_rates_of_new_weights_have_their_lines(tmp_path: Path) -> None:
    for network, rate, right in (("random", 5e-5, WRONG), ("random_3e-4", 3e-4, RIGHT)):
        write_result(tmp_path, "transfer", "finetune", right, network=network, config=trained_at(rate))
        labels = action_labels() | {"learning_rate": rate}
        write_result(tmp_path, "probe", "fc-all", right, network=f"labels_{rate}", pretraining=labels)
    tables = tables_of(tmp_path)
    found = {labels[0]: values[0] for labels, values in measured(tables["table2"]).items()}
    assert found == {"from scratch, 5e-5": "25.0", "from scratch, 3e-4": "62.5", "guessing": "12.5"}
    notes = tables["table2"].notes
    assert "[2] random_3e-4: random weights; 75 epochs at 3e-4." in notes
    said = "Every measured number: 1 split, 1 seed, 8 test videos in 4 groups."
    assert [note for note in notes if " split, " in note] == [said], "said once"
    write_result(tmp_path, "transfer", "finetune", RIGHT, network="random", config=trained_at(5e-5), seed=1)
    notes = tables_of(tmp_path)["table2"].notes
    assert "[1] random: random weights; 75 epochs at 5e-5; 1 split, 2 seeds, 8 test videos in 4 groups." in notes
    assert said not in notes
    found = {labels[0]: values[0] for labels, values in measured(tables["table1"]).items()}
    assert found == {"action labels, 5e-5": "25.0", "action labels, 3e-4": "62.5", "guessing": "12.5"}


def test_every_number_of_a_note_has_its_note(tmp_path: Path) -> None:
    recipe = {"probe": {"optimizer": {"learning_rate": 1e-3}, "epochs": 5}}
    for network, pretraining in (("pretrained", pretraining_of()), ("random", None)):
        write_result(tmp_path, "probe", "fc-all", RIGHT, network=network, pretraining=pretraining, config=recipe)
        write_result(tmp_path, "retrieval", "pooled", TOPS, network=network, pretraining=pretraining)
    table = tables_of(tmp_path)["differences"]
    marks = {row.cells[-1] for row in table.rows} - {""}
    assert len(marks) > 1
    assert {note.partition("]")[0] for note in table.notes if note.startswith("[")} == {f"[{mark}" for mark in marks}


def test_both_variants_of_a_network_stand_beside_the_paper_s_number(tmp_path: Path) -> None:
    network = pretraining_of("kinetics600", 15, split="train")
    for variant, right in (("official", RIGHT), ("torchvision", WRONG)):
        options = {"kind": "r3d18", "variant": variant, "width": 1.0}
        shared: dict[str, Any] = {"network": variant, "architecture": "r3d18", "network_config": options}
        write_result(
            tmp_path, "transfer", "finetune", right, pretraining=network, config=trained_at(5e-5, 150), **shared
        )
        write_result(tmp_path, "retrieval", "pooled", TOPS, pretraining=network, **shared)
    tables = tables_of(tmp_path)
    lines = [row.cells for row in tables["table2"].rows if row.kind == "measured"]
    assert [(*line[1:5], value_of(line[5])) for line in lines] == [
        ("3D-ResNet18", "authors'", "Kinetics", "79.3", "62.5"),
        ("3D-ResNet18", "torchvision's", "Kinetics", "79.3", "25.0"),
    ]
    notes = [next(n for n in tables["table2"].notes if n.startswith(f"[{line[-1]}]")) for line in lines]
    assert "unlike the paper" not in notes[0]
    assert notes[1].endswith("; unlike the paper: torchvision's network, 40.7 GMAC a clip (paper 8.1).")
    retrieved = [row.cells[2:4] for row in tables["table4"].rows if row.kind in ("paper", "measured")]
    paper = ("authors'", "paper")
    assert retrieved == [paper, ("authors'", "measured"), paper, ("torchvision's", "measured")]


def test_probes_have_a_column_for_each_network_and_the_labels_in_order(tmp_path: Path) -> None:
    for variant in ("knn-1", "linear-5", "linear-10pct", "linear-all", "fc-all", "linear-50pct", "linear-10"):
        for seed in range(1 + (variant == "linear-5")):
            right = WRONG if seed else RIGHT
            write_result(tmp_path, "probe", variant, right, pretraining=pretraining_of(), seed=seed)
    write_result(tmp_path, "probe", "linear-5", WRONG, network="colour", architecture="none")
    table = tables_of(tmp_path)["probes"]
    assert table.columns == ("classifier", "labels", "pretrained", "colour", "note")
    assert [row.cells[:2] for row in table.rows] == [
        ("three new layers", "all"),
        ("logistic regression", "all"),
        ("logistic regression", "50 %"),
        ("logistic regression", "10 %"),
        ("logistic regression", "10 a class"),
        ("logistic regression", "5 a class"),
        ("nearest neighbours", "1 a class"),
        ("guessing", "-"),
    ]
    assert [value_of(cell) for cell in table.rows[5].cells[2:4]] == ["43.8", "25.0"]
    assert table.rows[0].cells[3] == "not measured"
    assert table.rows[0].numbers[0].reported == 0.606
    note = next(note for note in table.notes if note.startswith(f"[{table.rows[5].cells[-1]}]"))
    assert "colour: 1 split, 1 seed" in note
    assert "pretrained: 1 split, 2 seeds" in note
    assert "colour: no network." in table.notes


def test_networks_of_one_name_have_columns_of_their_own(tmp_path: Path) -> None:
    for name, right in (("a", RIGHT), ("b", WRONG)):
        shared: dict[str, Any] = {"pretraining": pretraining_of(), "weights": name}
        write_result(tmp_path / name, "probe", "linear-all", right, **shared)
    table = tables_of(tmp_path)["probes"]
    assert table.columns[2:4] == ("pretrained", "pretrained (2)")
    assert [value_of(cell) for cell in table.rows[0].cells[2:4]] == ["62.5", "25.0"]


def test_tables_are_written_whole(tmp_path: Path) -> None:
    write_result(tmp_path / "runs", "transfer", "finetune", [1.0] * 8, pretraining=pretraining_of())
    tables = build_tables([tmp_path / "runs"])
    paths = [Path(place) for place in write_tables(tables, tmp_path / "out" / "tables")]
    assert sorted(paths) == sorted((tmp_path / "out" / "tables").iterdir())
    assert [path.name for path in paths] == [*(f"{name}.csv" for name in NAMES), MARKDOWN_NAME]
    text = (tmp_path / "out" / "tables" / MARKDOWN_NAME).read_text(encoding="utf-8")
    assert text == tables_markdown(tables)
    assert "| this method        | C3D         | -        | UCF101     |         68.3 |           100.0 |" in text, (
        "no interval"
    )

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers_results import pretraining_of, write_result
from helpers_study import study_config

from eval.results.combined import combine
from eval.study.comparisons import Comparisons
from eval.study.config import StudyConfig
from eval.study.findings import findings_table, judge
from shardify.errors import UsageError

CLAIM = {"claim": "it helps", "row": "all", "than": ["speed", "random"], "judged_by": ["probe/fc-all"]}


def lines_of(config: StudyConfig, out: Path) -> list[tuple[str, ...]]:
    results = combine([out], study=out)
    return [row.cells for table in findings_table(config, Comparisons.of(results)) for row in table.rows]


def write(
    out: Path, row: str, right: Sequence[float], variant: str = "fc-all", evaluation: str = "probe", seed: int = 0
) -> None:
    trained = None if row == "random" else pretraining_of()
    folder = out / row / f"seed{seed}" / "x"
    write_result(folder, evaluation, variant, right, network=row, pretraining=trained, seed=seed)


def config_of(out: Path, **changes: Any) -> StudyConfig:
    return study_config(out, out, findings=[CLAIM | changes])


def test_a_claim_holds_only_if_every_comparison_bears_it_out(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    write(tmp_path, "all", [1] * 12)
    write(tmp_path, "speed", [0] * 9 + [1] * 3)
    (first, second) = lines_of(config, tmp_path)
    assert first[:3] == ("it helps", "undecided", "all - speed, UCF101: probe fc-all")
    assert first[3].startswith("75.0 [")
    assert first[4] == "better"
    assert second == ("", "", "all - random, probe/fc-all", "not measured", "-")
    write(tmp_path, "random", [0] * 8 + [1] * 4)
    assert [line[1] for line in lines_of(config, tmp_path)] == ["holds", ""]


def test_a_claim_whose_opposite_is_certain_does_not_hold(tmp_path: Path) -> None:
    for row, right in (("all", 12), ("speed", 24), ("random", 0)):
        write(tmp_path, row, [1] * right + [0] * (24 - right))
    (first, second) = lines_of(config_of(tmp_path), tmp_path)
    assert (first[1], first[4], second[4]) == ("does not hold", "worse", "better")


def test_only_the_named_questions_count(tmp_path: Path) -> None:
    for row, right in (("all", 12), ("speed", 0)):
        write(tmp_path, row, [1] * right + [0] * (12 - right))
        write(tmp_path, row, [1] * right + [0] * (12 - right), "linear-all")
        write(tmp_path, row, [1] * right + [0] * (12 - right), "pooled", "retrieval")
    lines = lines_of(config_of(tmp_path, than=["speed"], judged_by=["probe"]), tmp_path)
    assert [line[2].rpartition(" ")[2] for line in lines] == ["fc-all", "linear-all"]
    assert len(lines_of(config_of(tmp_path, than=["speed"]), tmp_path)) == 1


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"judged_by": ["probe/fc-all", "transfer/finetune"]}, "transfer/finetune"),
        ({"judged_by": ["probe/fc-all", "probe/fc_al"]}, "probe/fc_al"),
        ({"data_set": "UCF101-mpeg4"}, "probe/fc-all"),
    ],
)
def test_a_claim_does_not_hold_before_everything_that_it_names_is_measured(
    tmp_path: Path, changes: dict[str, Any], missing: str
) -> None:
    for row, right in (("all", 12), ("speed", 3)):
        write(tmp_path, row, [1] * right + [0] * (12 - right))
    values = study_config(tmp_path, tmp_path).model_dump()["evaluate"]
    values["tiny"]["evaluations"] = ["probe", "transfer"]
    config = study_config(tmp_path, tmp_path, findings=[CLAIM | {"than": ["speed"]} | changes], evaluate=values)
    lines = lines_of(config, tmp_path)
    assert lines[0][1] in ("undecided", "not measured")
    assert f"all - speed, {missing}" in [line[2] for line in lines if line[3] == "not measured"]


def test_a_claim_holds_only_with_all_seeds(tmp_path: Path) -> None:
    config = study_config(tmp_path, tmp_path, findings=[CLAIM | {"than": ["speed"]}], seeds=[0, 1])
    for row, right in (("all", 12), ("speed", 3)):
        write(tmp_path, row, [1] * right + [0] * (12 - right))
    ((_, judged, _, _, alone),) = lines_of(config, tmp_path)
    assert (judged, alone) == ("undecided", "better, 1 of 2 seeds")
    for row, right in (("all", 12), ("speed", 3)):
        for seed in (1, 2):  # one more than the config has now
            write(tmp_path, row, [1] * right + [0] * (12 - right), seed=seed)
    ((_, judged, _, _, alone),) = lines_of(config, tmp_path)
    assert (judged, alone) == ("holds", "better")


def test_a_claim_fails_only_with_all_seeds(tmp_path: Path) -> None:
    config = study_config(tmp_path, tmp_path, findings=[CLAIM | {"than": ["speed"]}], seeds=[0, 1])
    for seed, verdict in ((0, ("undecided", "worse, 1 of 2 seeds")), (1, ("does not hold", "worse"))):
        for row, right in (("all", 3), ("speed", 12)):
            write(tmp_path, row, [1] * right + [0] * (12 - right), seed=seed)
        ((_, judged, _, _, alone),) = lines_of(config, tmp_path)
        assert (judged, alone) == verdict


@pytest.mark.parametrize(
    ("said", "is_whole", "verdict"),
    [
        ([], False, "not measured"),
        (["better"], True, "holds"),
        (["better"], False, "undecided"),
        (["better", "no interval"], True, "undecided"),
        (["undecided", "worse"], False, "does not hold"),
    ],
)
def test_verdicts(said: list[str], is_whole: bool, verdict: str) -> None:
    assert judge(said, is_whole=is_whole) == verdict


@pytest.mark.parametrize(
    ("changes", "named"), [({"than": ["sped"]}, "sped"), ({"row": "none"}, "none"), ({"judged_by": ["sync/x"]}, "sync")]
)
def test_claims_about_rows_or_evaluations_that_are_not_there_are_refused(
    changes: dict[str, Any], named: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=named):
        config_of(tmp_path, **changes)

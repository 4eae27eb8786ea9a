"""The command temporal-ssl: its steps are commands that exist, and the first that fails ends it."""

from __future__ import annotations

import shlex

import click
import pytest
from click.testing import CliRunner

from eval.demo import EVALUATION, PRETRAINING, main, program_group


@pytest.mark.parametrize("step", [*PRETRAINING, *EVALUATION])
def test_a_step_is_a_command_with_a_recipe_that_exists(step: str) -> None:
    program, name, *words = shlex.split(step)
    group = program_group(program)
    parent = click.Context(group, **group.context_settings)  # a command keeps the help options of its first parent
    command = group.get_command(parent, name)
    assert command is not None
    context = command.make_context(name, words, parent=parent)
    if "config" in context.params:
        assert CliRunner().invoke(group, ["recipes", context.params["config"]]).exit_code == 0


def test_the_first_step_that_fails_ends_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "eval.demo.PRETRAINING", ("shardify recipes demo", "stream-train show-config nowhere", "shardify recipes")
    )
    result = CliRunner().invoke(main, ["demo"])
    assert result.exit_code == 2
    assert "nowhere" in result.stderr
    assert "$ shardify recipes demo\n# The embedded demo data set" in result.stdout
    assert "$ shardify recipes\n" not in result.stdout

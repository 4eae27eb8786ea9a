"""The help of the three commands fits a terminal."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

import eval.cli
import shardify.cli
import stream_train.cli


@pytest.mark.parametrize(
    "group", [shardify.cli.main, stream_train.cli.main, eval.cli.main], ids=lambda group: group.name
)
def test_no_line_of_a_list_of_commands_is_cut(group: click.Group) -> None:
    result = CliRunner().invoke(group, ["--help"], terminal_width=80)
    assert result.exit_code == 0
    lines = result.output.partition("Commands:\n")[2].splitlines()
    assert len(lines) == len([command for command in group.commands.values() if not command.hidden])
    assert [line for line in lines if line.endswith("...")] == []

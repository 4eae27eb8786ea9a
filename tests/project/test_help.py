"""The help of the three commands fits a terminal."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from eval.cli import main as video_eval
from shardify.cli import main as shardify
from stream_train.cli import main as stream_train


@pytest.mark.parametrize("group", [shardify, stream_train, video_eval])
def test_no_line_of_a_list_of_commands_is_cut(group: click.Group) -> None:
    result = CliRunner().invoke(group, ["--help"], terminal_width=80)
    assert result.exit_code == 0
    lines = result.output.partition("Commands:\n")[2].splitlines()
    assert len(lines) == len([command for command in group.commands.values() if not command.hidden])
    assert [line for line in lines if line.endswith("...")] == []

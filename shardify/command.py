"""Options, exit codes and one-line errors, shared by the three commands."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import Any

import click
from pydantic import BaseModel

from shardify.config import dump_config, load_config
from shardify.errors import UsageError, UserFacingError, WorkError, one_line, system_error
from shardify.process import answer_interrupt, as_command, is_first_process, terminable
from shardify.progress import closed_lines
from shardify.recipes import recipe_names, recipe_path, recipe_title

FIRST_PROCESS_SECONDS = 10.0

set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a config key, for example --set out=/data/shards; may be given several times.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


class CommandGroup(click.Group):
    """A click group whose commands end with one clear line and the right exit code, never with a traceback.

    0 good, 1 the work failed, 2 the request was wrong, 75 stopped by SIGTERM or SIGUSR1, 130 interrupted. Programming
    errors keep their traceback. Under torchrun, one process of each machine reports an error that all processes find.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with closed_lines(), as_command(), terminable():
                return super().invoke(ctx)
        except UserFacingError as error:
            if isinstance(error, UsageError):
                _let_first_process_speak()
            self._end(ctx, f"error: {error}", error.exit_code)
        except click.UsageError:
            _let_first_process_speak()
            raise
        except KeyboardInterrupt as interrupt:
            ctx.exit(answer_interrupt(interrupt))
        except OSError as error:
            if error.errno in (None, errno.EPIPE):  # a closed pipe (`| head`) is handled by click
                raise
            self._end(ctx, f"error: {system_error(error)}", WorkError.exit_code)

    @staticmethod
    def _end(ctx: click.Context, message: str, exit_code: int) -> None:
        click.echo(one_line(message), err=True)
        ctx.exit(exit_code)


def add_recipe_commands(main: click.Group, room: str, config_of: Callable[[], type[BaseModel]]) -> None:
    """Give a command `recipes`, for one room of `configs/`, and `show-config`, for one type of config."""

    @main.command("recipes")
    @click.argument("name", required=False)
    def recipes_command(name: str | None) -> None:
        """List the configs that come with the program.

        With NAME, print that file.
        """
        if name is not None:
            click.echo(recipe_path(room, name).read_text(encoding="utf-8"), nl=False)
            return
        names = recipe_names(room)
        width = max(map(len, names))
        click.echo("\n".join(f"{name:<{width}}  {recipe_title(room, name)}" for name in names))

    @main.command("show-config")
    @click.argument("config")
    @set_option
    def show_config_command(config: str, overrides: tuple[str, ...]) -> None:
        """Print a config with every key, as commands use it.

        CONFIG is a recipe, a YAML file or its URL.
        """
        click.echo(dump_config(load_config(config_of(), config, overrides)), nl=False)


def _let_first_process_speak() -> None:
    """Wait while the machine's first process reports a usage error that all find; torchrun then ends this process."""
    if not is_first_process():
        time.sleep(FIRST_PROCESS_SECONDS)

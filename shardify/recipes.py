"""Recipes: the configs that come with the program. Commands take them by name, from any folder.

In: a room of `configs/` (shards, pretrain or eval) and a name, such as `c3d_ucf101` or `tasks/pace`. Out: its file.
"""

from __future__ import annotations

import difflib
import itertools
import textwrap
from pathlib import Path

from shardify.errors import UsageError

_PACKAGE = Path(__file__).parent
CONFIGS = next(folder for folder in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if folder.is_dir())
"""An installed package holds a copy of the checkout's `configs/`; see `pyproject.toml`."""
MAX_TITLE_LENGTH = 120


def recipe_names(room: str) -> list[str]:
    """The names of a room's recipes, sorted."""
    folder = CONFIGS / room
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def recipe_path(room: str, name: str) -> Path:
    """The file of a recipe. Raises UsageError with a similar name, or with all names."""
    names = recipe_names(room)
    if name not in names:
        raise no_recipe(name, names)
    return CONFIGS / room / f"{name}.yaml"


def no_recipe(name: str, names: list[str]) -> UsageError:
    """The error about a name that is none of `names`."""
    spellings = {known.rpartition("/")[2]: known for known in names} | {known: known for known in names}
    close = difflib.get_close_matches(name, spellings, n=1)
    hint = f"did you mean {spellings[close[0]]}?" if close else f"there are {', '.join(names)}"
    return UsageError(f"{name} is neither a file nor a recipe; {hint} (the command `recipes` lists all)")


def recipe_title(room: str, name: str) -> str:
    """The first sentence of the comment that opens a recipe."""
    lines = recipe_path(room, name).read_text(encoding="utf-8").splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    text = " ".join(line.lstrip("# ") for line in comment)
    return textwrap.shorten(text.partition(". ")[0].rstrip("."), MAX_TITLE_LENGTH, placeholder=" ...")

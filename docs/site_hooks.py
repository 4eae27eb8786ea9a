"""What mkdocs asks of this project: config keys come from the config classes, and results from the files of a command.

In: a page. Out: its Markdown or HTML. Each `{{ keys of MODULE.CLASS }}` becomes one table for the class and for
each section below it; each `<!-- HEADING of FILE.md -->`, which other readers of the page do not see, what stands below
a `## HEADING` of that file.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

Model = type[BaseModel]


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by mkdocs with each page's text."""
    markdown = re.sub(r"\{\{ keys of ([\w.]+)\.(\w+) \}\}", lambda match: keys_of(match[1], match[2]), markdown)
    return re.sub(r"<!-- (.+) of (\S+\.md) -->", lambda match: section_of(match[2], match[1]), markdown)


def on_page_content(html: str, **_: object) -> str:
    """Called by mkdocs with each page's HTML: roles of docstrings, such as :class:, are shown as plain code."""
    return re.sub(r":(?:class|func|meth|attr|data|mod|exc):(?=<code>)", "", html)


def section_of(file: str, heading: str) -> str:
    """What stands below a heading of a file in this folder."""
    text = (Path(__file__).parent / file).read_text(encoding="utf-8")
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[heading].strip()


def keys_of(module: str, name: str) -> str:
    """All tables of a config, as Markdown."""
    return "\n\n".join(tables(getattr(importlib.import_module(module), name), "", set()))


def tables(model: Model, section: str, told: set[tuple[Model, str]]) -> Iterator[str]:
    """The table of a section's keys, then those of the sections below it that were not told yet."""
    texts = descriptions(model)
    rows = ["| key | values | default | |", "|---|---|---|---|"]
    below: list[tuple[Model, str]] = []
    for key, field in model.model_fields.items():
        models = list(models_in(field.annotation))
        name = f"{key}.NAME" if typing.get_origin(field.annotation) is dict else key
        below += [(found, f"{section}{name}") for found in models]
        values = "a section, see below" if models else values_of(field.annotation)
        rows.append(f"| `{section}{name}` | {values} | {default_of(field)} | {texts.get(key, '')} |")
    yield f"{' '.join((model.__doc__ or '').split())}\n\n" + "\n".join(rows)
    for found, key in below:
        if (found, key) in told:
            continue
        told.add((found, key))
        kind = found.model_fields.get("kind")
        chosen = f", `kind: {typing.get_args(kind.annotation)[0]}`" if kind else ""
        title = f"### `{key}`{chosen}\n\n"
        first, *rest = tables(found, f"{key}.", told)
        yield title + first
        yield from rest


def descriptions(model: Model) -> dict[str, str]:
    """Key -> the docstring under its field, in this class or those that it derives from."""
    texts: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if not issubclass(cls, BaseModel) or cls.__module__.startswith("pydantic"):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in zip(definition.body, definition.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                texts[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split()).replace("|", "\\|")
    return texts


def models_in(annotation: object) -> Iterator[Model]:
    """The config classes of a field's type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from models_in(part)


def values_of(annotation: object) -> str:
    """A field's type in a few words."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in parts)
    if origin is typing.Annotated:
        return values_of(parts[0])
    if origin is tuple:
        return f"list of {values_of(parts[0])}"
    if parts and origin is not dict:
        return " or ".join(dict.fromkeys(values_of(part) for part in parts))
    names = {str: "text", int: "whole number", float: "number", bool: "`true`, `false`", type(None): "`null`"}
    return names.get(annotation, "text") if isinstance(annotation, type) else "mapping"


def default_of(field: FieldInfo) -> str:
    """A field's default as YAML would write it."""
    if field.default is PydanticUndefined:
        return "must be given"
    if isinstance(field.default, BaseModel):
        return ""
    if isinstance(field.default, bool) or field.default is None:
        return {True: "`true`", False: "`false`", None: "`null`"}[field.default]
    return f"`{list(field.default) if isinstance(field.default, tuple) else field.default}`"

"""Strict configuration: YAML file + `--set a.b=value` overrides -> a frozen pydantic model.

All configs derive from :class:`StrictModel`. One UsageError lists every wrong key with its path, its value and the
allowed values.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from shardify.errors import UsageError, one_line
from shardify.recipes import recipe_path


class StrictModel(BaseModel):
    """Base of every config: immutable, unknown keys forbidden."""

    recipes: ClassVar[str] = ""
    """The room of `configs/` that holds configs of this model; empty if there is none."""
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _keep_the_default_kind(cls, values: Any) -> Any:
        """A section without a kind has the default kind: `--set data.reader.window_shards=8` is enough."""
        if not isinstance(values, dict):
            return values
        for name, field in cls.model_fields.items():
            given, kind = values.get(name), getattr(field.default, "kind", None)
            if kind is not None and isinstance(given, dict):
                values = values | {name: {"kind": kind} | given}
        return values


Model = TypeVar("Model", bound=BaseModel)
_QUOTES = ("'", '"', "|", ">", "!", "&")
"""A YAML text that starts so is more than its plain characters."""


def load_config(model: type[Model], path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Model:
    """Read a YAML file that holds one mapping, apply the overrides in order, and validate.

    `path` is a file, a URL or, if the model has recipes, the name of one of them; a file comes first. An override is
    `dotted.key=value`; its value is parsed as YAML (`1e-3`, `[a, b]`, `{a: 1}`, `null` ...), and plain text stays as it
    is, also with ` #` or `: ` in it. Raises UsageError if the file cannot be read or parsed, an override is malformed,
    or validation fails.
    """
    text = _read_text(os.fspath(path), getattr(model, "recipes", ""))
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid YAML: {one_line(error)}") from None
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise UsageError(f"{path} must hold a mapping of keys to values, not {type(values).__name__}")
    return validate_config(model, override_values(values, overrides), origin=str(path))


def _read_text(path: str, room: str) -> str:
    """The text of a file, a URL or a recipe."""
    try:
        if "://" in path:
            from shardify.storage import open_store
            from shardify.storage.locations import split_location

            folder, name = split_location(path)
            return open_store(folder).read(name).decode("utf-8")
        if room and not Path(path).is_file() and Path(path).suffix not in (".yaml", ".yml"):
            return recipe_path(room, path).read_text(encoding="utf-8")
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not a UTF-8 text file"
        if isinstance(error, OSError):
            reason = error.strerror or "there is no such file"
        others = ", ".join(sorted(map(str, Path(path).parent.glob("[!.]*.yaml"))))
        recipes = "; a recipe is named without folder and .yaml (the command `recipes` lists them)" if room else ""
        there_are = f"; there are: {others}" if others else recipes
        raise UsageError(f"cannot read config {path}: {reason}{there_are}") from None


def override_values(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Apply `a.b=value` overrides in order; changes and returns the mapping. Raises as load_config."""
    for override in overrides:
        _apply_override(values, override)
    return values


def validate_config(model: type[Model], values: dict[str, Any], origin: str) -> Model:
    """Validate a nested mapping; `origin` starts the error message (usually the file's path)."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False)
        unknown: dict[tuple[str | int, ...], list[str | int]] = {}  # the keys of each section
        for problem in found:
            if problem["type"] == "extra_forbidden":
                unknown.setdefault(problem["loc"][:-1], []).append(problem["loc"][-1])
        problems = [_describe(model, problem) for problem in found if problem["type"] != "extra_forbidden"]
        problems += [_describe_unknown(model, section, keys) for section, keys in unknown.items()]
        raise UsageError(f"{origin}: " + "; ".join(problems)) from None


def dump_config(config: BaseModel) -> str:
    """The resolved config as YAML; `load_config` reads it back to an equal object."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise UsageError(f"--set {override}: write it as dotted.key=value, for example --set min_frames=1")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"--set {override}: the value is not valid YAML: {one_line(error)}") from None
    if isinstance(value, str) and not text.lstrip().startswith(_QUOTES):
        value = text.strip()  # YAML would take ` #` for the start of a comment
    elif isinstance(value, dict) and not text.lstrip().startswith("{"):
        value = text.strip()  # a path with `: ` in it, or one that ends with `:`
    node = values
    for part in parts[:-1]:
        child = node.get(part)
        if child is None:  # absent, or an empty optional section
            child = node[part] = {}
        if not isinstance(child, dict):
            raise UsageError(f"--set {override}: {part} holds {child!r}, which has no keys below it")
        node = child
    node[parts[-1]] = value


def _describe(model: type[BaseModel], problem: Any) -> str:
    location = problem["loc"]
    path = ".".join(_key_of(model, location))
    if problem["type"] in ("union_tag_not_found", "union_tag_invalid"):
        kinds = [str(kind) for branch in _models_at(model, location) for kind in _kinds(branch)]
        if problem["type"] == "union_tag_not_found":
            return f"{path}.kind is missing; allowed: {', '.join(kinds)}"
        given = problem["ctx"]["tag"]
        return f"{path}.kind = {given!r}: there is no such kind{_similar(given, kinds)}; allowed: {', '.join(kinds)}"
    if problem["type"] == "missing":
        return f"{path} is missing; set it in the file or with --set {path}=..."
    if problem["type"] in ("model_type", "model_attributes_type"):
        models = _models_at(model, location)
        words = f"it is a section with keys of its own: {', '.join(_fields_of(models))}"
        if len(models) > 1:
            kinds = [str(kind) for branch in models for kind in _kinds(branch)]
            words = f"it is a section; set {path}.kind to one of: {', '.join(kinds)}"
        return f"{path} = {problem['input']!r}: {words}"
    if problem["type"] == "too_short":
        return f"{path} = {problem['input']!r}: give {problem['ctx']['min_length']} or more"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{path or 'the config'} = {problem['input']!r}: {message}" if path else message


def _describe_unknown(model: type[BaseModel], section: Sequence[str | int], keys: Sequence[str | int]) -> str:
    allowed = _fields_of(_models_at(model, section))
    named = [".".join([*_key_of(model, section), str(key)]) + _similar(key, allowed) for key in keys]
    return f"unknown key{'s' * (len(keys) > 1)} {', '.join(named)}; allowed: {', '.join(allowed)}"


def _fields_of(models: Sequence[type[BaseModel]]) -> list[str]:
    return sorted({name for model in models for name in model.model_fields})


def _similar(given: object, allowed: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(given), allowed, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _key_of(model: Any, location: Sequence[str | int]) -> list[str]:
    """The keys in the file for a location of a pydantic error, without the union tags in that location."""
    return [str(part) for part, (_, is_tag) in zip(location, _walk(model, location), strict=True) if not is_tag]


def _models_at(model: Any, location: Sequence[str | int]) -> list[type[BaseModel]]:
    """The models that are possible at a location of a pydantic error."""
    places = [model, *(annotation for annotation, _ in _walk(model, location))]
    return _models_in(places[-1])


def _walk(annotation: Any, location: Sequence[str | int]) -> Iterator[tuple[Any, bool]]:
    """For each part of a location: the type that is possible there, and whether the part is a union's tag."""
    for part in location:
        models = _models_in(annotation)
        tagged = next((model for model in models if part in _kinds(model)), None)
        is_tag = tagged is not None and len(models) > 1 and _held_by(annotation) is None
        if is_tag:
            annotation = tagged
        elif (held := _held_by(annotation)) is not None:
            annotation = held
        else:
            fields = [model.model_fields[str(part)] for model in models if part in model.model_fields]
            annotation = Union[tuple(field.annotation for field in fields)] if fields else None  # noqa: UP007
        yield annotation, is_tag


def _held_by(annotation: Any) -> Any:
    """The type of a mapping's values or of a list's items; None for any other type."""
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return next((held for branch in get_args(annotation) if (held := _held_by(branch)) is not None), None)
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    return get_args(annotation)[0] if get_origin(annotation) in (list, tuple) else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for branch in get_args(annotation) for model in _models_in(branch)]


def _kinds(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("kind")
    return get_args(field.annotation) if field is not None else ()

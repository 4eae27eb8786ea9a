"""The house rules that a machine can check: layout, import direction, packaging, configs (test_readme.py: the rest)."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import importlib.metadata
import itertools
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("shardify", "stream_train", "eval")
"""Lowest first: a package may import those before it, never those after it."""
TOP_LEVEL = {
    *("pyproject.toml", "shardify", "stream_train", "eval", "configs", "tests", "Makefile"),
    *(
        "README.md",
        "LICENSE",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "hubconf.py",
        "constraints.txt",
        "docs",
        "mkdocs.yml",
    ),
}
GENERATED = {"data", "runs", "site", "build", "dist", "__pycache__"}
"""What commands make in a checkout; .gitignore names them too."""
MAX_FILE_LINES = 400
"""About 300 is what we aim at; a file that reaches this is to be split."""
MAX_FUNCTION_LINES = 60

SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported_modules(tree: ast.AST) -> list[str]:
    """Every module that the code imports, wherever in the file, by its absolute name."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return names


def direction_problems(package: str, tree: ast.AST) -> list[str]:
    """Imports of a module of `package` that go up the path of the data."""
    forbidden = PACKAGES[PACKAGES.index(package) + 1 :]
    return [name for name in imported_modules(tree) if name.partition(".")[0] in forbidden]


def eval_problems(source: str) -> list[str]:
    """Imports that would shadow the builtin `eval`, or lean on the bare package."""
    return re.findall(r"^ *(import .*\beval\b.*|from eval import .*)$", source, flags=re.MULTILINE)


# The tree


def test_the_top_level_is_the_fixed_one() -> None:
    entries = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert entries >= TOP_LEVEL
    assert {name for name in entries - TOP_LEVEL - GENERATED if not name.endswith(".egg-info")} == set()


def test_packages_are_listed_explicitly_and_completely() -> None:
    found = {name_of(path.parent).replace("/", ".") for path in SOURCES}
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == found | {"shardify.configs"}
    assert all((ROOT / package.replace(".", "/") / "__init__.py").is_file() for package in found)


def test_tests_mirror_the_packages_without_name_clashes() -> None:
    folders = {path.parent.relative_to(ROOT / "tests") for path in TESTS}
    mirrored = {path.parent.relative_to(ROOT) for path in SOURCES}
    assert folders <= {*mirrored, *map(Path, (".", "benchmarks", "helpers", "project"))}
    assert all(re.fullmatch(r"(test|bench|helpers)_\w+|conftest", path.stem) for path in TESTS)
    assert len({path.stem for path in TESTS}) == len(TESTS)


def test_nothing_is_called_utils() -> None:
    vague = {"utils", "util", "helpers", "misc", "common", "tools"}
    assert not [name_of(path) for path in SOURCES if path.stem in vague or path.parent.name in vague]


def test_modules_are_short_documented_and_import_downwards() -> None:
    for path in SOURCES:
        tree, name = tree_of(path), name_of(path)
        assert ast.get_docstring(tree), f"{name}: a module says what enters and what leaves"
        assert not direction_problems(path.relative_to(ROOT).parts[0], tree), name
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES, name
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        too_long = [f.name for f in functions if f.end_lineno and f.end_lineno - f.lineno >= MAX_FUNCTION_LINES]
        assert not too_long, name
        assert not functions or "__future__" in imported_modules(tree), name


def test_eval_is_imported_only_by_its_modules() -> None:
    problems = {name_of(path): eval_problems(path.read_text(encoding="utf-8")) for path in (*SOURCES, *TESTS)}
    assert not [name for name, imports in problems.items() if imports]


def test_the_import_rules_see_what_they_forbid() -> None:
    up = ast.parse("def f():\n    from stream_train.data.order import x\nimport eval.features.vectors, shardify.errors")
    assert direction_problems("shardify", up) == ["eval.features.vectors", "stream_train.data.order"]
    assert direction_problems("stream_train", up) == ["eval.features.vectors"]
    assert direction_problems("eval", up) == []
    assert eval_problems("import eval.features\nif x:\n    from eval import features") == [
        "import eval.features",
        "from eval import features",
    ]
    assert eval_problems("from eval.features.vectors import extract\nimport evaluate, retrieval") == []


def test_no_file_names_the_machine_it_was_written_on() -> None:
    texts = [*SOURCES, *TESTS, *CONFIGS, *(ROOT / name for name in TOP_LEVEL if (ROOT / name).is_file())]
    texts += [path for folder in (".ci", "docs") for path in (ROOT / folder).rglob("*") if path.is_file()]
    places = [str(place) for place in (ROOT, Path.home()) if len(place.parts) > 2]
    guilty = {
        name_of(path): place
        for path in texts
        for place in places
        if place in path.read_text(encoding="utf-8", errors="replace")
    }
    assert not guilty


# Packaging


@pytest.mark.parametrize("script", sorted(PYPROJECT["project"]["scripts"]))
def test_console_scripts_and_modules_start(script: str) -> None:
    module, _, function = PYPROJECT["project"]["scripts"][script].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert (ROOT / module.partition(".")[0] / "__main__.py").is_file()


def pins() -> dict[str, str]:
    """Package -> version, from constraints.txt; a line that is not a plain pin fails."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    requirements = [line.partition("#")[0].strip() for line in lines]
    matches = [re.fullmatch(r"([\w.-]+)==([\w.+!-]+)", requirement) for requirement in requirements if requirement]
    assert all(matches), "constraints.txt holds exact versions only: no hosts, no options, no paths"
    return {match[1].lower().replace("_", "-"): match[2] for match in matches if match}


def test_constraints_pin_every_requirement_inside_its_range() -> None:
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    installable = [*project["dependencies"], *(line for extra in extras.values() for line in extra)]
    versions = pins()
    for requirement in map(Requirement, installable):
        assert requirement.specifier.contains(versions[requirement.name.lower()]), requirement


def test_packages_import_nothing_that_only_tests_bring() -> None:
    """Who installs without `dev` and `test`, as the image of the jobs does, has everything that the code imports."""
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    pending = [
        *project["dependencies"],
        *(line for extra in ("aws", "hub", "parquet", "ray") for line in extras[extra]),
    ]
    brought: set[str] = set()
    while pending:
        requirement = Requirement(pending.pop())
        name = canonicalize_name(requirement.name)
        if name in brought or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        brought.add(name)
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # of an extra that is not installed
            pending += importlib.metadata.requires(name) or []
    homes = importlib.metadata.packages_distributions()
    for path in SOURCES:
        for module in imported_modules(tree_of(path)):
            top = module.partition(".")[0]
            if top not in {*sys.stdlib_module_names, *PACKAGES}:
                assert brought.intersection(map(canonicalize_name, homes.get(top, [top]))), (
                    f"{name_of(path)} imports {top}"
                )


def test_python_versions_agree_everywhere() -> None:
    supported = SpecifierSet(PYPROJECT["project"]["requires-python"])
    versions = [version for version in (f"3.{minor}" for minor in range(8, 20)) if version in supported]
    classifiers = [c.rpartition(" ")[2] for c in PYPROJECT["project"]["classifiers"] if "Python :: 3." in c]
    assert versions == classifiers == ["3.11", "3.12", "3.13"]
    assert PYPROJECT["tool"]["ruff"]["target-version"] == "py311"
    assert PYPROJECT["tool"]["mypy"]["python_version"] == "3.11"
    assert "(3, 11) <= v < (3, 14)" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_pre_commit_hooks_are_local() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {repo["repo"] for repo in config["repos"]} == {"local"}
    assert all(hook["entry"].startswith(".venv/bin/") for repo in config["repos"] for hook in repo["hooks"])


# Configs


def test_every_kind_of_config_has_a_demo() -> None:
    kinds = {path.relative_to(ROOT / "configs").parts[0] for path in CONFIGS}
    assert {"shards", "pretrain"} <= kinds
    assert all((ROOT / "configs" / kind / "demo.yaml").is_file() for kind in kinds)


def test_configs_open_with_their_command() -> None:
    command = re.compile(r"\bmake \w+|\bshardify \w+|\bstream-train \w+|\b(?:sbatch|kubectl apply|sky|ray job) ")
    for path in CONFIGS:
        header = itertools.takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines())
        assert any(command.search(line) for line in header), f"{name_of(path)}: the header gives the command"

"""The public names of the packages: they exist, and cost nothing before they are used."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "numpy", "matplotlib", "obstore", "scipy", "sklearn", "cv2")


@pytest.mark.parametrize("package", ["shardify", "stream_train"])
def test_public_names_exist_and_others_do_not(package: str) -> None:
    module = importlib.import_module(package)
    assert all(getattr(module, name) for name in module.__all__)
    assert set(module._HOMES) | {"__version__"} >= set(module.__all__) >= set(module._HOMES)
    with pytest.raises(AttributeError, match="nonsense"):
        module.nonsense  # noqa: B018


@pytest.mark.parametrize(
    ("code", "allowed"),
    [("import shardify, stream_train", ()), ("import shardify.cli, stream_train.cli, eval.demo", ())],
)
def test_importing_a_package_or_command_imports_nothing_heavy(code: str, allowed: tuple[str, ...]) -> None:
    program = f"{code}\nimport sys\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(result.stdout.split()) <= set(allowed)


def test_torch_hub_finds_the_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    hub: Any = torch.hub
    network = hub.load(str(ROOT), "c3d", source="local", width=0.05, crop=16)
    assert network(torch.zeros(2, 3, 16, 16, 16)).shape == (2, network.num_features)

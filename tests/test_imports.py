"""Imports go one way: a module may use what stands above it in this list, never what stands below."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import keras_resnet

LAYERS = (
    "errors quiet registration imagenet",
    "architectures pages",
    "recipes signatures",
    "layers",
    "scanned",
    "recognition",
    "builders backbone arguments",
    "saving",
    "weights",
    "applications",
    "loading",
    "data",
    "training",
    "evaluation",
    "export",
    "serving",
    "paper",
    "report",
    "cli",
)
RANK = {name: rank for rank, line in enumerate(LAYERS) for name in line.split()}
PACKAGE = Path(keras_resnet.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__")


def imported_modules(path: Path) -> set[str]:
    """Full names of all that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "keras_resnet":
            found |= {f"keras_resnet.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def imported(path: Path) -> set[str]:
    """Parts of the package (`data`, `layers`, …) that a file imports."""
    names = imported_modules(path)
    return {name.split(".")[1] for name in names if name.startswith("keras_resnet.")}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    part = part_of(path)
    upwards = {name for name in imported(path) - {part} if RANK[name] >= RANK[part]}
    assert not upwards, f"{part} may not import {upwards}"


def test_no_other_framework_is_imported():
    """Their files are read without them; on Keras' other backends, Keras alone speaks to these."""
    for path in MODULES:
        roots = {name.split(".")[0] for name in imported_modules(path)}
        assert not roots & {"torch", "torchvision", "timm", "jax"}, path


def test_every_part_has_its_place():
    assert {part_of(path) for path in MODULES} == set(RANK)

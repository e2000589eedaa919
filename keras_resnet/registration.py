"""Makes Keras know our layers as soon as both packages are imported, without importing Keras ourselves.

`keras.saving.load_model("model.keras")` finds custom layers only if their classes are registered. Importing
keras_resnet must not import TensorFlow (the command line would take seconds to answer `--help`), so the
layers are registered at the moment when somebody imports Keras.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_LAYERS = "keras_resnet.scanned"  # imports keras_resnet.layers too


class _LoadThenRegister(importlib.abc.Loader):
    """Keras' own loader, followed by the import of our layers."""

    def __init__(self, loader: Any):
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self.loader
        if "keras_resnet.layers" not in sys.modules:  # else that very module is what imports Keras
            importlib.import_module(_LAYERS)


class _KerasFinder(importlib.abc.MetaPathFinder):
    """Finds Keras as it would have been found anyway; it stays, for a search need not end in an import."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "keras":
            return None
        sys.meta_path.remove(self)  # or it would find itself
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            spec.loader = _LoadThenRegister(spec.loader)
        return spec


def register_layers() -> None:
    """Register our layers with Keras: now if it is imported, else when it will be."""
    if "keras" in sys.modules:
        importlib.import_module(_LAYERS)
    else:
        sys.meta_path.insert(0, _KerasFinder())

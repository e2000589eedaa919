"""Deep residual networks in Keras: the networks of "Deep Residual Learning for Image Recognition" (2015).

    import keras_resnet
    model = keras_resnet.ResNet50()          # raw RGB 0…255 in, ImageNet probabilities out
    model = keras_resnet.load("runs/mine")   # a training run, a .keras file or an exported SavedModel

Names are imported when they are first used: importing this package imports neither Keras nor TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from keras_resnet.registration import register_layers

if TYPE_CHECKING:
    from keras_resnet import architectures, errors
    from keras_resnet.applications import (
        VGG16,
        VGG19,
        Plain18,
        Plain20,
        Plain32,
        Plain34,
        Plain44,
        Plain56,
        Plain110,
        ResNet18,
        ResNet20,
        ResNet32,
        ResNet34,
        ResNet44,
        ResNet50,
        ResNet56,
        ResNet101,
        ResNet110,
        ResNet152,
        ResNet1202,
        build,
        decode_predictions,
        preprocess_input,
    )
    from keras_resnet.backbone import features, freeze
    from keras_resnet.loading import load

__version__ = "0.1.0"

__all__ = [
    "VGG16",
    "VGG19",
    "Plain18",
    "Plain20",
    "Plain32",
    "Plain34",
    "Plain44",
    "Plain56",
    "Plain110",
    "ResNet18",
    "ResNet20",
    "ResNet32",
    "ResNet34",
    "ResNet44",
    "ResNet50",
    "ResNet56",
    "ResNet101",
    "ResNet110",
    "ResNet152",
    "ResNet1202",
    "architectures",
    "build",
    "decode_predictions",
    "errors",
    "features",
    "freeze",
    "load",
    "preprocess_input",
]

# The rest of the public API, by module. These names and those above are what docs/api.md documents (a test
# compares them) and what semantic versioning covers; everything else may change with any version.
PUBLIC = {
    "architectures": ("ARCHITECTURES", "Architecture", "Stage", "get_architecture"),
    "builders": ("build_model",),
    "data.pipeline": ("evaluation_batches", "training_batches"),
    "data.skips": ("SkipLog",),
    "data.sources": ("Dataset", "hold_out", "open_dataset"),
    "data.statistics": ("Statistics", "compute_statistics"),
    "data.views": ("EvalView", "TrainView", "eval_view", "train_view"),
    "errors": ("UsageError", "UserError"),
    "evaluation": ("Evaluation", "McNemar", "combine_scores", "evaluate", "mcnemar"),
    "evaluation.report": ("write_report",),
    "export": ("ExportResult", "export_model"),
    "recipes": ("RECIPES", "Recipe", "get_recipe"),
    "saving": ("LoadedModel", "ModelInfo", "load_model", "save_model"),
    "serving": ("predict",),
    "training.devices": ("make_strategy",),
    "training.epochs": ("Habits",),
    "training.run": ("RunResult", "train"),
    "training.settings": ("RunSettings", "make_settings"),
    "weights": ("export_weights", "import_weights"),
    "weights.state": ("get_state", "set_state"),
}

_SUBMODULES = ("architectures", "errors")
_ELSEWHERE = {"features": "backbone", "freeze": "backbone", "load": "loading"}  # all others: applications

if not TYPE_CHECKING:  # a type checker that saw it would take every misspelt name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name in _SUBMODULES:
            return importlib.import_module(f"{__name__}.{name}")
        module = importlib.import_module(f"{__name__}.{_ELSEWHERE.get(name, 'applications')}")
        value = globals()[name] = getattr(module, name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_layers()

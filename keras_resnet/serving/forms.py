"""Every saved form of a network as one thing, ONNX and LiteRT files included."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet.errors import UserError
from keras_resnet.evaluation.classifier import Classifier, open_classifier
from keras_resnet.saving import ModelInfo

MODULES = {".onnx": "onnx", ".tflite": "litert"}


def is_converted(path: str | os.PathLike[str]) -> bool:
    """Whether the path names an ONNX or LiteRT file."""
    return Path(path).suffix in MODULES


def open_form(path: str | os.PathLike[str]) -> Classifier:
    """Open a run folder, a `.keras` file, a SavedModel, an `.onnx` or a `.tflite` file.

    Raises:
        UserError: there is nothing, or nothing readable, at the path, or a package to read it is missing.
    """
    if not is_converted(path):
        return open_classifier(path)
    if not Path(path).is_file():
        raise UserError(f"no model at {path}")
    module = import_module(f"keras_resnet.export.{MODULES[Path(path).suffix]}")
    run, card, shape = module.read_with_card(Path(path))
    info = ModelInfo.from_json(card["model"])

    def predict(images: Any) -> Any:
        if not tf.is_tensor(images) or tf.executing_eagerly():
            return run(np.asarray(images))
        probabilities = tf.numpy_function(run, [images], tf.float32, stateful=False)
        probabilities.set_shape([None, len(info.label_names)])
        return probabilities

    return Classifier(str(path), info, predict, shape, path=Path(path))

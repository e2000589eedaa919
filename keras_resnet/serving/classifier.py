"""One interface over every saved form of a network: image files in, probabilities out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_resnet.data.views import EvalView, image_to_view
from keras_resnet.errors import UserError
from keras_resnet.export.card import CARD
from keras_resnet.export.saved_model import versions
from keras_resnet.saving import ModelInfo, load_model

PB = "saved_model.pb"


@dataclass(frozen=True)
class Classifier:
    """A loaded network that classifies image files by their bytes.

    `run` takes the contents of N files and returns probabilities [N, classes]; it raises
    `tf.errors.InvalidArgumentError` where one of them is no image. `labels` are the classes' names.
    `info` is None for a SavedModel that carries no description.
    """

    labels: tuple[str, ...]
    run: Callable[[Sequence[bytes]], np.ndarray]
    info: ModelInfo | None


def open_classifier(path: str) -> Classifier:
    """Load a run folder, a `.keras` file, or an export (its folder, one version, or the file).

    Raises:
        UserError: there is no such model.
    """
    folder = find_saved_model(Path(path))
    return _of_saved_model(folder) if folder is not None else _of_keras(path)


def find_saved_model(path: Path) -> Path | None:
    """The folder with `saved_model.pb`: `path` or its highest version; None where there is none."""
    if (path / PB).is_file():
        return path
    for version in reversed(versions(path)):
        if (path / str(version) / PB).is_file():
            return path / str(version)
    return None


def read_info(path: Path) -> ModelInfo | None:
    """The description inside a SavedModel folder, where it was written by keras-resnet.

    Raises:
        UserError: the description is broken.
    """
    file = path / "assets.extra" / CARD
    if not file.is_file():
        return None
    try:
        return ModelInfo.from_json(json.loads(file.read_text(encoding="utf-8"))["model"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"cannot read {file}: {error}; export the model again") from error


def _of_saved_model(folder: Path) -> Classifier:
    try:
        model = tf.saved_model.load(str(folder))
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"cannot read {folder} as a SavedModel: {reason}") from error
    endpoint = model.signatures.get("classify_bytes")
    info = read_info(folder)
    if endpoint is None or info is None:
        raise UserError(
            f"{folder} is no export of keras-resnet: it has no endpoint classify_bytes or no {CARD}"
        )

    def run(files: Sequence[bytes]) -> np.ndarray:
        return endpoint(image_bytes=tf.constant(list(files), tf.string))["probabilities"].numpy()

    run.model = model  # type: ignore[attr-defined]  # its functions live as long as it does
    return Classifier(info.label_names, run, info)


def _of_keras(path: str) -> Classifier:
    saved = load_model(path)
    info, model = saved.info, saved.model
    view = EvalView("single", info.image_size, info.resize)
    softmax = model.layers[-1].get_config().get("activation") == "softmax"

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def classify(files: tf.Tensor) -> tf.Tensor:
        square = tf.TensorSpec([view.image_size, view.image_size, 3], tf.uint8)
        images = tf.map_fn(lambda data: image_to_view(data, view), files, fn_output_signature=square)
        outputs = model(images, training=False)
        return outputs if softmax else tf.nn.softmax(outputs)

    def run(files: Sequence[bytes]) -> np.ndarray:
        return classify(tf.constant(list(files), tf.string)).numpy()

    return Classifier(info.label_names, run, info)

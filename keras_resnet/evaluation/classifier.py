"""Any saved form of a network as one thing: a function from images to probabilities, and what it knows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_resnet.errors import UserError, first_line
from keras_resnet.loading import CARD_FOLDER, saved_model_folder
from keras_resnet.saving import MEMBER, RUN_MODEL, LoadedModel, ModelInfo, load_model


@dataclass(frozen=True)
class Classifier:
    """A network ready to classify.

    `predict` maps images [N, H, W, 3] (RGB 0…255, any number type) to probabilities [N, classes]
    float32; it may be called inside a `tf.function` and a replica. `model` is the Keras model where
    there is one: exported SavedModels are functions only, and `exported` is what TensorFlow loaded of
    one. `name` is what tables call it, `path` the file or folder it came from, and `image_shape` the
    (height, width) that `predict` takes, None for any.
    """

    name: str
    info: ModelInfo
    predict: Callable[[Any], Any]
    image_shape: tuple[int | None, int | None] = (None, None)
    model: keras.Model | None = None
    path: Path | None = None
    exported: Any = None


def open_classifier(source: str | os.PathLike[str] | LoadedModel | Classifier) -> Classifier:
    """Open a run folder, a `.keras` file, an exported SavedModel, or a model that is already loaded.

    Raises:
        UserError: there is nothing, or nothing readable, at the path.
    """
    if isinstance(source, Classifier):
        return source
    if isinstance(source, LoadedModel):
        return keras_classifier(source, source.model.name)
    path = Path(source)
    exported = saved_model_folder(path)
    if exported is not None:
        return _exported_classifier(exported, str(source))
    file = path / RUN_MODEL if path.is_dir() else path
    return keras_classifier(load_model(path), str(source), file)


def keras_classifier(saved: LoadedModel, name: str, path: Path | None = None) -> Classifier:
    """A loaded Keras model as a classifier.

    Raises:
        UserError: it has no classifier at its end, or takes images that are not square.
    """
    model = saved.model
    last = model.layers[-1]
    if not isinstance(last, keras.layers.Dense):
        raise UserError(f"{name} has no classifier: it ends in {last.name}")
    height, width = model.input_shape[1:3]
    if any(side not in (None, saved.info.image_size) for side in (height, width)):
        raise UserError(f"{name} takes images of {height} × {width} pixels; only squares are classified")
    predict = probabilities_of(model, model)
    return Classifier(name, saved.info, predict, tuple(model.input_shape[1:3]), model, path)


def probabilities_of(outputs: Callable[..., Any], model: keras.Model) -> Callable[[Any], Any]:
    """Images → probabilities by `outputs`: `model` or another form of it; logits get their softmax."""
    classifier = model.layers[-1]
    return lambda images: as_probabilities(outputs(tf.cast(images, tf.float32), training=False), classifier)


def as_probabilities(outputs: Any, classifier: keras.layers.Dense) -> Any:
    """What a classifier gives, [N, classes], as probabilities in float32: logits get their softmax."""
    outputs = tf.cast(outputs, tf.float32)
    return tf.nn.softmax(outputs) if classifier.activation is keras.activations.linear else outputs


def _exported_classifier(folder: Path, name: str) -> Classifier:
    description = folder / CARD_FOLDER / MEMBER
    try:
        info = ModelInfo.from_json(json.loads(description.read_text(encoding="utf-8"))["model"])
        loaded = tf.saved_model.load(str(folder))
        signature = loaded.signatures["serving_default"]
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} lacks {error.filename}: was it exported by keras-resnet export?"
        ) from error
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        reason = first_line(error)
        raise UserError(f"cannot read {folder} as an exported SavedModel: {reason}") from error
    ((argument, spec),) = signature.structured_input_signature[1].items()

    def predict(images: Any, _keep: Any = loaded) -> Any:  # a signature dies with the object it came from
        return signature(**{argument: tf.cast(images, tf.float32)})["probabilities"]

    return Classifier(name, info, predict, tuple(spec.shape[1:3]), path=folder, exported=loaded)

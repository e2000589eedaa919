"""What a served network answers: named functions of arrays, as a SavedModel's signatures are."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet.data.views import EvalView, image_to_view
from keras_resnet.errors import UserError
from keras_resnet.evaluation.classifier import Classifier
from keras_resnet.export.exporting import default_name
from keras_resnet.export.saved_model import TOP
from keras_resnet.saving import ModelInfo
from keras_resnet.serving.forms import open_form

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Endpoint:
    """A function of named arrays.

    `inputs` are the arrays' dtypes and shapes by name (None for a free side, the batch first). `run` raises
    `tf.errors.InvalidArgumentError` where values make no sense, such as bytes that are no image.
    """

    inputs: Mapping[str, tuple[np.dtype, tuple[int | None, ...]]]
    run: Callable[[Arrays], Arrays]

    def answer(self, arrays: Arrays) -> Arrays:
        """`run`, with an error that names the example.

        Raises:
            UserError: an example makes no sense; the message has its number, from 0, and the reason.
        """
        try:
            return self.run(arrays)
        except tf.errors.InvalidArgumentError:
            for row in range(len(next(iter(arrays.values())))):
                try:
                    self.run({name: values[row : row + 1] for name, values in arrays.items()})
                except tf.errors.InvalidArgumentError as error:
                    raise UserError(f"example {row}: {reason(error)}") from error
            raise


def reason(error: BaseException) -> str:
    """What an error says, in one line: of TensorFlow's without the places in its graph."""
    if not isinstance(error, tf.errors.OpError):
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    text = re.sub(r"\{\{.*?\}\}", "", error.message).split("\n\t [[")[0].split(" [Op:")[0]
    last = (text.strip().splitlines() or [type(error).__name__])[-1]
    return re.sub(r"assertion failed: \[(.*?)\]", r"\1", last).strip()


@dataclass(frozen=True)
class Served:
    """A network with its endpoints.

    `explain` maps a view [S, S, 3] uint8 to a heat map [h, w] in 0…1, or is None.
    """

    name: str
    version: int
    info: ModelInfo
    endpoints: Mapping[str, Endpoint]
    explain: Callable[[np.ndarray], np.ndarray] | None


def load_served(path: str | os.PathLike[str], name: str | None = None) -> Served:
    """Load any saved form for serving; its name is that of its folder or file unless given.

    Raises:
        UserError: there is nothing, or nothing readable, at the path.
    """
    classifier = open_form(path)
    model, folder = classifier.exported, classifier.path
    if model is None or folder is None:
        name = name or default_name(path)
        return Served(name, 1, classifier.info, _endpoints_of(classifier), _explain_with_keras(classifier))
    home = folder.resolve()
    numbered = home.name.isdecimal()
    name = name or (home.parent.name if numbered else home.name)
    endpoints = {key: _signature(model, key) for key in model.signatures}
    if "classify_bytes" not in endpoints:
        raise UserError(f"{folder} has no endpoint classify_bytes: was it exported by keras-resnet export?")
    explain = _explain_with_endpoint(endpoints["explain"]) if "explain" in endpoints else None
    return Served(name, int(home.name) if numbered else 1, classifier.info, endpoints, explain)


def _signature(model: Any, name: str) -> Endpoint:
    function = model.signatures[name]
    _, specs = function.structured_input_signature
    inputs = {
        key: (np.dtype(object if spec.dtype == tf.string else spec.dtype.as_numpy_dtype), tuple(spec.shape))
        for key, spec in specs.items()
    }

    def run(arrays: Arrays, _keep: Any = model) -> Arrays:  # a signature dies with the object it came from
        tensors = {key: tf.constant(array, specs[key].dtype) for key, array in arrays.items()}
        return {key: value.numpy() for key, value in function(**tensors).items()}

    return Endpoint(inputs, run)


def _endpoints_of(classifier: Classifier) -> dict[str, Endpoint]:
    """The endpoints of an export for a network that is none."""
    info = classifier.info
    view = EvalView("single", info.image_size, info.resize)
    shape = (None, *classifier.image_shape, 3)

    def classify(arrays: Arrays) -> Arrays:
        return {"probabilities": np.asarray(classifier.predict(arrays["images"]), np.float32)}

    def classify_bytes(arrays: Arrays) -> Arrays:
        images = [image_to_view(tf.constant(file), view).numpy() for file in arrays["image_bytes"]]
        probabilities = classify({"images": np.stack(images)})["probabilities"]
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
        labels = np.array([label.encode() for label in info.label_names], object)
        return {
            "probabilities": probabilities,
            "top_probabilities": np.take_along_axis(probabilities, best, 1),
            "top_labels": labels[best],
        }

    return {
        "serving_default": Endpoint({"images": (np.dtype(np.float32), shape)}, classify),
        "classify_bytes": Endpoint({"image_bytes": (np.dtype(object), (None,))}, classify_bytes),
    }


def _explain_with_endpoint(endpoint: Endpoint) -> Callable[[np.ndarray], np.ndarray]:
    return lambda view: endpoint.run({"images": view[np.newaxis].astype(np.float32)})["heatmap"][0]


def _explain_with_keras(classifier: Classifier) -> Callable[[np.ndarray], np.ndarray] | None:
    model = classifier.model
    if model is None:
        return None
    from keras_resnet.evaluation.explain import heatmaps_of

    heatmaps = cache(lambda: heatmaps_of(model))  # at the first picture, and only then
    return lambda view: heatmaps()(view)

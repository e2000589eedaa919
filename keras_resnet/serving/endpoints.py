"""What a served network answers: named functions of arrays, as a SavedModel's signatures are."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet.data.faults import UNREADABLE, reason
from keras_resnet.errors import UsageError, UserError
from keras_resnet.evaluation.classifier import Classifier
from keras_resnet.evaluation.explain import look_inside
from keras_resnet.export.signatures import Signatures
from keras_resnet.layers import require_tensorflow
from keras_resnet.saving import ModelInfo, default_name
from keras_resnet.serving.forms import open_form

Arrays = dict[str, np.ndarray]
Specs = Mapping[str, tuple[np.dtype, tuple[int | None, ...]]]


@dataclass(frozen=True)
class Endpoint:
    """A function of named arrays.

    `inputs` and `outputs` are the arrays' dtypes and shapes by name (None for a free side, the batch first;
    a dtype of objects for bytes). `run` raises one of `data.faults.UNREADABLE` where values make no sense,
    such as bytes that are not an image.
    """

    inputs: Specs
    run: Callable[[Arrays], Arrays]
    outputs: Specs = field(default_factory=dict)

    def answer(self, arrays: Arrays) -> Arrays:
        """`run`, with an error that names the example.

        Raises:
            UserError: an example makes no sense; the message has its number, from 0, and the reason.
        """
        try:
            return self.run(arrays)
        except UNREADABLE:
            if all(dtype.kind != "O" for dtype, _ in self.inputs.values()):
                raise  # no files, of which one might be unreadable
            for row in range(len(next(iter(arrays.values())))):
                try:
                    self.run({name: values[row : row + 1] for name, values in arrays.items()})
                except UNREADABLE as error:
                    raise UserError(f"example {row}: {reason(error)}") from error
            raise


@dataclass(frozen=True)
class Served:
    """A network with its endpoints by name."""

    name: str
    version: int
    info: ModelInfo
    endpoints: Mapping[str, Endpoint]


def load_served(path: str | os.PathLike[str], name: str | None = None) -> Served:
    """Load any saved form for serving; its name is that of its folder or file unless given.

    Raises:
        UserError: there is nothing, or nothing readable, at the path.
        UsageError: the name has a slash.
    """
    if name and "/" in name:
        raise UsageError(f"a name in the URL cannot have a slash: {name!r}")
    classifier = open_form(path)
    model, folder = classifier.exported, classifier.path
    if model is None or folder is None:
        return Served(name or default_name(path), 1, classifier.info, _endpoints_of(classifier))
    home = folder.resolve()
    numbered = home.name.isdecimal()
    name = name or (home.parent.name if numbered else home.name)
    endpoints = {key: _endpoint(function, model) for key, function in model.signatures.items()}
    if "classify_bytes" not in endpoints:
        raise UserError(f"{folder} has no endpoint classify_bytes: was it exported by keras-resnet export?")
    return Served(name, int(home.name) if numbered else 1, classifier.info, endpoints)


def _endpoint(function: Any, owner: Any) -> Endpoint:
    """A function of TensorFlow, of one signature, as an endpoint; it dies with the object it came from."""
    positional, named = function.structured_input_signature
    specs = {spec.name: spec for spec in positional} | named

    def run(arrays: Arrays, _keep: Any = owner) -> Arrays:
        tensors = {key: tf.constant(array, specs[key].dtype) for key, array in arrays.items()}
        return {key: value.numpy() for key, value in function(**tensors).items()}

    return Endpoint(_described(specs), run, _described(function.structured_outputs))


def _described(specs: Mapping[str, tf.TensorSpec]) -> Specs:
    return {
        key: (np.dtype(object if spec.dtype == tf.string else spec.dtype.as_numpy_dtype), tuple(spec.shape))
        for key, spec in specs.items()
    }


def _endpoints_of(classifier: Classifier) -> dict[str, Endpoint]:
    """The endpoints of an export, for a network that is not one: those that its form allows."""
    look = None
    if classifier.model is not None:
        require_tensorflow("serving")  # other backends' models do not run inside its functions
        look = look_inside(classifier.model)

    def run(images: tf.Tensor) -> dict[str, tf.Tensor]:
        if look is None:
            return {"probabilities": tf.cast(classifier.predict(images), tf.float32)}
        found = look(images)
        found["explained"] = found["probabilities"]
        return {name: tf.cast(value, tf.float32) for name, value in found.items()}

    module = Signatures(run, classifier.info, classifier.image_shape)
    functions = {name: function.get_concrete_function() for name, function in module.signatures().items()}
    return {name: _endpoint(function, module) for name, function in functions.items()}

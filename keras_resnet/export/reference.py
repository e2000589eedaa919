"""What an export is made from, the model's folded weights, and compared with, the model's own answers."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from keras_resnet.errors import UserError
from keras_resnet.export.folding import FoldedNetwork, fold
from keras_resnet.layers import BN_EPSILON
from keras_resnet.saving import LoadedModel
from keras_resnet.weights.state import get_state


def folded_network(saved: LoadedModel) -> FoldedNetwork:
    """The model's weights, folded.

    Raises:
        UserError: it is not one of our whole networks.
    """
    epsilons = {
        layer.epsilon for layer in saved.model.layers if isinstance(layer, keras.layers.BatchNormalization)
    }
    if len(epsilons) > 1:
        raise UserError(f"{saved.model.name} has batch normalisations of different epsilons: {epsilons}")
    return fold(saved.info.architecture, get_state(saved.model), *(epsilons or {BN_EPSILON}))


def reference_function(saved: LoadedModel) -> Callable[[np.ndarray], np.ndarray]:
    """The Keras model in float32, images → probabilities: what an export is compared with.

    Raises:
        UserError: it takes images that are not square, or ends in something else than softmax or logits;
            exports end in softmax.
    """
    model = saved.model
    height, width = model.input_shape[1:3]
    if any(side not in (None, saved.info.image_size) for side in (height, width)):
        raise UserError(f"{model.name} takes images of {height} × {width} pixels; only squares are exported")
    activation = model.layers[-1].get_config().get("activation")
    if activation not in ("softmax", "linear"):
        raise UserError(f"{model.name} ends in {activation!r}; only softmax and logits can be exported")
    if any(layer.compute_dtype != "float32" for layer in model.layers):
        model = _in_float32(model)

    def probabilities(images: np.ndarray) -> np.ndarray:
        outputs = model(images, training=False)
        return np.asarray(outputs if activation == "softmax" else keras.ops.softmax(outputs))

    return probabilities


def _in_float32(model: keras.Model) -> keras.Model:
    def in_float32(layer: keras.layers.Layer) -> keras.layers.Layer:
        return layer.__class__.from_config({**layer.get_config(), "dtype": "float32"})

    clone = keras.models.clone_model(model, clone_function=in_float32)
    clone.set_weights(model.get_weights())
    return clone

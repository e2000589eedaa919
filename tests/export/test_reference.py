from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from saved_networks import random_model, tiny

from keras_resnet.export.graph import Forward
from keras_resnet.export.reference import folded_network, reference_function
from keras_resnet.saving import LoadedModel, ModelInfo


def test_mixed_precision_models_are_compared_in_float32():
    architecture = tiny("resnet20", blocks=1)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = random_model(architecture)
    finally:
        keras.config.set_dtype_policy("float32")
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.epsilon = 1e-2  # the copy in float32 is one of this model, not of its architecture
    info = ModelInfo(architecture, ("a", "b", "c"), 32, 32)
    reference = reference_function(LoadedModel(model, info))
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    ours = Forward(folded_network(LoadedModel(model, info)))(tf.constant(images)).probabilities
    np.testing.assert_allclose(reference(images), ours, rtol=0, atol=2e-6)
    assert np.abs(np.asarray(model(images)) - ours).max() > 1e-5

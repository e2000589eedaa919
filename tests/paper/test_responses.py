"""Figure 7: responses measured inside the network against the same computed by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from saved_networks import random_model, tiny

from keras_resnet.errors import UserError
from keras_resnet.layers import BN_EPSILON
from keras_resnet.paper.responses import measure_responses
from keras_resnet.weights.state import get_state, set_state


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(3).integers(0, 256, (6, 16, 16, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", ["resnet20", "plain20"])
def test_the_response_is_after_batch_norm_and_before_relu_and_addition(name, images):
    model = random_model(tiny(name, blocks=1), input_shape=(16, 16, 3))
    found = measure_responses(model, [images[:4], images[4:]])
    assert found.images == 6
    assert found.layers == (
        "conv1_conv",
        *(f"conv{stage}_block1_conv{j}" for stage in (2, 3, 4) for j in (1, 2)),
    )
    inside = keras.Model(model.input, [model.get_layer(layer).output for layer in found.layers])
    for layer, std, x in zip(found.layers, found.stds, inside(images, training=False), strict=True):
        norm = "conv1_bn" if layer == "conv1_conv" else "bn".join(layer.rsplit("conv", 1))
        gamma, beta, mean, variance = (np.array(w) for w in model.get_layer(norm).get_weights())
        by_hand = (np.array(x) - mean) / np.sqrt(variance + BN_EPSILON) * gamma + beta
        assert std == pytest.approx(float(by_hand.std()), rel=1e-4)


@pytest.mark.parametrize("name", ["resnet20", "plain20"])
def test_scanned_stages_are_measured_block_by_block(name, images):
    unrolled = random_model(tiny(name, blocks=3), input_shape=(16, 16, 3))
    scanned = random_model(tiny(name, blocks=3), input_shape=(16, 16, 3), scanned=True)
    set_state(scanned, get_state(unrolled))
    one, other = (measure_responses(model, [images]) for model in (unrolled, scanned))
    assert one.layers == other.layers
    np.testing.assert_allclose(one.stds, other.stds, rtol=1e-4)


def test_only_3x3_layers_of_bottlenecks(images):
    model = random_model(tiny("resnet50", blocks=1), input_shape=(32, 32, 3))
    found = measure_responses(model, [np.repeat(np.repeat(images, 2, 1), 2, 2)])
    assert found.layers == tuple(f"conv{stage}_block1_conv2" for stage in (2, 3, 4, 5))


def test_networks_without_such_layers_are_refused(images):
    image = keras.Input((16, 16, 3))
    with pytest.raises(UserError, match="no 3×3 layers"):
        measure_responses(keras.Model(image, keras.layers.ReLU()(image)), [images])

from __future__ import annotations

import numpy as np
import pytest
from saved_networks import random_model, tiny

from keras_resnet.errors import UserError
from keras_resnet.export.folding import fold
from keras_resnet.weights.state import get_state


@pytest.fixture(scope="module")
def state():
    return get_state(random_model(tiny("resnet20", blocks=1)))


def test_a_folded_convolution_is_the_convolution_and_its_batch_norm(state):
    layer = fold(tiny("resnet20", blocks=1), state).layers["conv2_block1_conv1"]
    patch = np.random.default_rng(1).normal(size=(5, 3 * 3 * 16))
    norm = {
        part: state[f"conv2_block1_bn1/{part}"].astype(float)
        for part in ("gamma", "beta", "moving_mean", "moving_variance")
    }
    convolved = patch @ state["conv2_block1_conv1/kernel"].astype(float).reshape(-1, 16)
    deviation = np.sqrt(norm["moving_variance"] + 1e-5)
    expected = norm["gamma"] * (convolved - norm["moving_mean"]) / deviation + norm["beta"]
    actual = patch @ layer.kernel.reshape(-1, 16) + layer.bias
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-6)


def test_epsilon_is_the_models_own(state):
    architecture = tiny("resnet20", blocks=1)
    near, far = (fold(architecture, state, epsilon).layers["conv1_conv"].kernel for epsilon in (1e-5, 1e-1))
    assert np.abs(near - far).max() > 1e-3


def test_a_model_without_top_is_refused_by_name(state):
    headless = {name: value for name, value in state.items() if not name.startswith("predictions")}
    with pytest.raises(UserError, match="no layer predictions"):
        fold(tiny("resnet20", blocks=1), headless)


def test_weights_that_are_not_finite_are_refused_by_name(state):
    broken = dict(state)
    broken["conv3_block1_conv2/kernel"] = np.full_like(state["conv3_block1_conv2/kernel"], np.nan)
    with pytest.raises(UserError, match="conv3_block1_conv2 are not finite"):
        fold(tiny("resnet20", blocks=1), broken)

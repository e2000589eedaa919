from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest

from keras_resnet.architectures import get_architecture
from keras_resnet.builders import build_model
from keras_resnet.scanned import ScannedBlocks
from keras_resnet.weights.state import get_state, set_state

tf = pytest.importorskip("tensorflow")

KINDS = ["basic", "plain", "bottleneck", "option C"]


def small(kind: str, blocks: int = 3):
    name, shortcut = {
        "basic": ("resnet20", "A"),
        "plain": ("plain20", None),
        "bottleneck": ("resnet50", "B"),
        "option C": ("resnet20", "C"),
    }[kind]
    architecture = get_architecture(name, shortcut)
    stages = tuple(replace(stage, blocks=blocks) for stage in architecture.stages[:2])
    return replace(architecture, stages=tuple(replace(stage, filters=16) for stage in stages))


def twins(kind: str, **arguments):
    """The same network scanned and unrolled, with the same weights and BN statistics that are not trivial."""
    keras.utils.set_random_seed(0)
    models = [
        build_model(
            small(kind),
            scanned=scanned,
            classifier_activation=None,
            classes=5,
            input_shape=(32, 32, 3),
            **(arguments if scanned else {}),
        )
        for scanned in (True, False)
    ]
    generator = np.random.default_rng(0)
    state = {
        name: generator.uniform(0.7, 1.3, value.shape).astype("float32") if "kernel" not in name else value
        for name, value in get_state(models[1]).items()
    }
    for model in models:
        set_state(model, state)
    return models


def train_step(model, x, labels, **compile_options):
    @tf.function(**compile_options)
    def step():
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        return loss, tape.gradient(loss, model.trainable_variables)

    loss, gradients = step()
    values = dict(zip((variable.path for variable in model.trainable_variables), gradients, strict=True))
    state = get_state(model)
    by_name = get_state(model, {path: np.asarray(value) for path, value in values.items()})
    return float(loss), by_name, state


@pytest.fixture(scope="module")
def batch():
    generator = np.random.default_rng(3)
    return generator.normal(size=(4, 32, 32, 3)).astype("float32"), np.array([0, 1, 2, 4])


@pytest.mark.parametrize("kind", KINDS)
def test_a_scanned_network_trains_as_the_unrolled_one(kind, batch):
    """Loss, every gradient and every moving average agree."""
    (loss, gradients, state), (loss2, gradients2, state2) = (train_step(m, *batch) for m in twins(kind))
    assert loss == pytest.approx(loss2, rel=1e-5)
    assert gradients.keys() == gradients2.keys() and len(gradients) > 40
    for name, gradient in gradients2.items():
        tolerance = 1e-3 * np.abs(gradient).max() + 1e-6
        np.testing.assert_allclose(gradients[name], gradient, atol=tolerance, err_msg=name)
    for name, value in state2.items():
        np.testing.assert_allclose(state[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_scanned_network_predicts_as_the_unrolled_one(kind, batch):
    scanned, unrolled = twins(kind)
    assert sum(isinstance(layer, ScannedBlocks) for layer in scanned.layers) == 2
    assert not any(isinstance(layer, ScannedBlocks) for layer in unrolled.layers)
    expected = unrolled(batch[0], training=False)
    for outputs in (scanned(batch[0], training=False), tf.function(scanned)(batch[0], training=False)):
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)


def test_rematerialisation_changes_no_number(batch):
    loss, gradients, state = train_step(twins("basic", remat=True)[0], *batch)
    loss2, gradients2, state2 = train_step(twins("basic")[0], *batch)
    assert loss == pytest.approx(loss2, rel=1e-6)
    for name, gradient in gradients2.items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-3, atol=1e-5, err_msg=name)
    for name, value in state2.items():
        np.testing.assert_allclose(state[name], value, rtol=1e-5, err_msg=name)


def test_training_compiles_with_xla(batch):
    loss, gradients, _ = train_step(twins("basic")[0], *batch, jit_compile=True)
    loss2, gradients2, _ = train_step(twins("basic")[0], *batch)
    assert loss == pytest.approx(loss2, rel=1e-4)
    kernel = "conv2_block3_conv1/kernel"
    np.testing.assert_allclose(gradients[kernel], gradients2[kernel], rtol=1e-2, atol=1e-4)


def test_mixed_precision(batch):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_model(small("basic"), scanned=True, classes=5, input_shape=(32, 32, 3))
    finally:
        keras.config.set_dtype_policy("float32")
    layer = model.get_layer("conv2_blocks")
    assert layer(np.zeros((1, 8, 8, 16), "float32")).dtype == "bfloat16"
    _, gradients, state = train_step(model, *batch)
    assert {value.dtype for value in gradients.values()} == {np.dtype("float32")}
    assert state["conv2_block3_bn1/moving_variance"].std() > 0


def test_frozen_blocks_keep_their_statistics_and_still_pass_gradients(batch):
    scanned, unrolled = twins("basic")
    for model in (scanned, unrolled):
        for layer in model.layers:
            layer.trainable = not layer.name.startswith("conv3")
    before = get_state(scanned)
    (_, gradients, state), (_, gradients2, _) = (train_step(m, *batch) for m in (scanned, unrolled))
    assert gradients.keys() == gradients2.keys()
    for name, gradient in gradients2.items():
        tolerance = 1e-3 * np.abs(gradient).max() + 1e-6
        np.testing.assert_allclose(gradients[name], gradient, atol=tolerance, err_msg=name)
    np.testing.assert_array_equal(
        state["conv3_block2_bn1/moving_mean"], before["conv3_block2_bn1/moving_mean"]
    )
    assert np.any(state["conv2_block2_bn1/moving_mean"] != before["conv2_block2_bn1/moving_mean"])


def test_he_initialisation_counts_one_block_only():
    layer = ScannedBlocks(50, (3, 3), (16, 16))
    layer.build((None, None, None, 16))
    for kernel in layer.convs:
        assert np.asarray(kernel).std() == pytest.approx((2 / (9 * 16)) ** 0.5, rel=0.03)


def test_stages_are_scanned_from_a_depth_on():
    def scanned_stages(name, **arguments):
        model = build_model(get_architecture(name), input_shape=(32, 32, 3), **arguments)
        return [layer.name for layer in model.layers if isinstance(layer, ScannedBlocks)]

    assert scanned_stages("resnet56") == []
    stages = ["conv2_blocks", "conv3_blocks", "conv4_blocks"]
    assert scanned_stages("resnet20", scanned=True) == stages
    assert scanned_stages("resnet1202") == stages


def test_a_wrong_number_of_channels_is_named():
    with pytest.raises(ValueError, match="keep 8 channels, not 16"):
        ScannedBlocks(3, (3, 3), (16, 16)).build((None, 8, 8, 8))


def test_the_loop_of_inference_is_left_out_where_nobody_wants_its_result():
    scanned, _ = twins("basic")
    graph = (
        tf.function(lambda x: scanned(x, training=False))
        .get_concrete_function(tf.zeros([1, 32, 32, 3]))
        .graph
    )
    kinds = {operation.type for operation in graph.get_operations()}
    assert "StatelessWhile" in kinds and "While" not in kinds
    assert all("While" not in operation.type for operation in graph.control_outputs)

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

from keras_resnet.architectures import get_architecture
from keras_resnet.builders import build_model
from keras_resnet.layers import BatchNormalization, InputNormalization, ZeroPaddingShortcut

tf = pytest.importorskip("tensorflow")


def images(*shape: int, seed: int = 0, dtype: str = "float32"):
    values = np.random.default_rng(seed).normal(1.5, 2.0, size=shape).astype("float32")
    return tf.cast(values, dtype)


def twin_norms(channels: int, **arguments):
    """Our layer and Keras', with the same random weights."""
    ours = BatchNormalization(momentum=0.9, epsilon=1e-5, **arguments)
    theirs = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, **arguments)
    generator = np.random.default_rng(1)
    weights = [generator.uniform(0.5, 1.5, channels).astype("float32") for _ in range(4)]
    for layer in (ours, theirs):
        layer.build((None, None, None, channels))
        layer.set_weights(weights)
    return ours, theirs


def run(layer, x, training):
    """Outputs, and gradients of a loss that is not symmetric, with respect to input, scale and offset."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=training)
        loss = tf.reduce_sum(tf.sin(tf.cast(y, tf.float32)) * tf.range(1.0, float(y.shape[-1]) + 1))
    return [y, *tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(4, 5, 6, 7), (16, 1, 1, 3), (16, 8, 8, 16)])
def test_outputs_gradients_and_moving_averages_are_those_of_keras(shape, training):
    ours, theirs = twin_norms(shape[-1])
    x = images(*shape)
    for mine, reference in zip(run(ours, x, training), run(theirs, x, training), strict=True):
        scale = float(tf.reduce_max(tf.abs(reference)))
        np.testing.assert_allclose(mine, reference, atol=1e-5 * max(scale, 1.0))
    for mine, reference in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-5, atol=1e-6)


def test_moving_averages_use_the_population_variance():
    layer, _ = twin_norms(3)
    before = layer.moving_variance.numpy()
    x = images(2, 2, 2, 3)  # 8 values per channel: the unbiased variance is 8/7 of it
    layer(x, training=True)
    expected = 0.9 * before + 0.1 * np.asarray(x).var(axis=(0, 1, 2))
    np.testing.assert_allclose(layer.moving_variance.numpy(), expected, rtol=1e-5)


def test_a_frozen_layer_uses_and_keeps_its_moving_averages():
    ours, theirs = twin_norms(3)
    x = images(4, 4, 4, 3)
    inference = ours(x, training=False)
    before = ours.get_weights()
    ours.trainable = theirs.trainable = False
    np.testing.assert_array_equal(ours(x, training=True), inference)
    np.testing.assert_allclose(inference, theirs(x, training=True), rtol=1e-4, atol=1e-5)
    for now, then in zip(ours.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("training", [True, False])
def test_half_precision_activations_with_float32_statistics(dtype, training):
    layer = BatchNormalization(dtype=f"mixed_{dtype}", momentum=0.9, epsilon=1e-5)
    x = images(8, 8, 8, 5, dtype=dtype) + tf.cast(
        30, dtype
    )  # a mean far from 0: statistics in halves would be off
    y = layer(x, training=training)
    assert y.dtype == dtype
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    if training:
        exact = np.asarray(x, "float32")
        np.testing.assert_allclose(layer.moving_mean.numpy(), 0.1 * exact.mean((0, 1, 2)), rtol=1e-4)
        np.testing.assert_allclose(layer.moving_variance.numpy(), 0.9 + 0.1 * exact.var((0, 1, 2)), rtol=1e-4)
        assert abs(np.asarray(y, "float32").mean()) < 0.02


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({"scale": False}, (4, 3, 3, 5)),
        ({"center": False}, (4, 3, 3, 5)),
        ({"axis": 1}, (4, 5, 3, 3)),
        ({}, (6, 5)),
    ],
)
def test_what_the_kernel_cannot_do_is_left_to_keras(arguments, shape):
    x = images(*shape)
    layers = [
        cls(momentum=0.9, epsilon=1e-5, **arguments)
        for cls in (BatchNormalization, keras.layers.BatchNormalization)
    ]
    ours, theirs = (layer(x, training=True) for layer in layers)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("policy", ["float16", "bfloat16"])
@pytest.mark.parametrize("scanned", [False, True])
def test_networks_of_half_precision_weights(policy, training, scanned):
    """The fused kernel wants float32 for statistics and scales."""
    keras.config.set_dtype_policy(policy)
    try:
        network = get_architecture("resnet20")
        model = build_model(network, scanned=scanned, classes=3)
    finally:
        keras.config.set_dtype_policy("float32")
    images = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype("float32")
    probabilities = np.asarray(model(images, training=training), np.float32)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=0.02)


def test_float64_goes_through_keras():
    layer = BatchNormalization(dtype="float64", epsilon=1e-5)
    x = images(4, 3, 3, 2, dtype="float64")
    y = layer(x, training=True)
    assert y.dtype == "float64"
    np.testing.assert_allclose(np.asarray(y).mean((0, 1, 2)), 0, atol=1e-6)


def test_two_replicas():
    """Under MirroredStrategy every replica normalises by itself; `synchronized=True` joins them."""
    code = """
        import json, numpy as np, tensorflow as tf
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        from keras_resnet.layers import BatchNormalization
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        x = np.random.default_rng(0).normal(size=(8, 3, 3, 4)).astype("float32")
        x *= np.arange(1, 9, dtype="float32")[:, None, None, None]
        results = {}
        for synchronized in (False, True):
            with strategy.scope():
                layer = BatchNormalization(momentum=0.9, epsilon=1e-5, synchronized=synchronized)
                layer.build((None, 3, 3, 4))

            @tf.function
            def step():
                def replica():
                    i = tf.distribute.get_replica_context().replica_id_in_sync_group
                    return layer(tf.constant(x)[4 * i : 4 * i + 4], training=True)
                return strategy.run(replica)

            y = np.concatenate([np.asarray(v) for v in strategy.experimental_local_results(step())])
            means = [v.numpy().tolist() for v in strategy.experimental_local_results(layer.moving_mean.value)]
            results[str(synchronized)] = {"y": y.tolist(), "means": means}
        print(json.dumps({"x": x.tolist(), **results}))
    """
    output = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert output.returncode == 0, output.stderr[-2000:]
    result = json.loads(output.stdout.splitlines()[-1])
    x = np.asarray(result["x"], "float32")

    def normalized(values):
        return (values - values.mean((0, 1, 2))) / np.sqrt(values.var((0, 1, 2)) + 1e-5)

    alone, together = result["False"], result["True"]
    np.testing.assert_allclose(alone["y"], np.concatenate([normalized(x[:4]), normalized(x[4:])]), atol=1e-4)
    np.testing.assert_allclose(
        alone["means"], [0.1 * x[:4].mean((0, 1, 2)), 0.1 * x[4:].mean((0, 1, 2))], atol=1e-5
    )
    np.testing.assert_allclose(together["y"], normalized(x), atol=1e-4)
    np.testing.assert_allclose(together["means"], [0.1 * x.mean((0, 1, 2))] * 2, atol=1e-5)


def test_input_normalisation_per_channel():
    layer = InputNormalization((120, 110, 100), (50, 60, 70))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3)).astype("uint8")
    expected = (pixels.astype("float64") - (120, 110, 100)) / (50, 60, 70)
    np.testing.assert_allclose(layer(pixels), expected, atol=1e-6)
    np.testing.assert_array_equal(layer(pixels), layer(pixels.astype("float32")))
    assert layer.trainable_variables == []


def test_input_normalisation_subtracts_in_float32():
    layer = InputNormalization((127.25, 127.25, 127.25), (1, 1, 1), dtype="mixed_bfloat16")
    y = layer(np.full((1, 1, 1, 3), 128, "uint8"))
    assert y.dtype == "bfloat16"
    np.testing.assert_array_equal(np.asarray(y, "float32"), 0.75)  # bfloat16 pixels would give 0 or 1


def test_a_mean_image_is_saved_as_a_weight_and_not_in_the_configuration(tmp_path):
    mean = np.random.default_rng(0).uniform(0, 255, (8, 8, 3)).astype("float32")
    layer = InputNormalization(mean)
    model = keras.Sequential([keras.Input((8, 8, 3)), layer])
    assert len(json.dumps(layer.get_config())) < 300
    model.save(tmp_path / "model.keras")
    pixels = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3)).astype("uint8")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(pixels), model(pixels))
    np.testing.assert_allclose(loaded(pixels), pixels - mean, atol=1e-4)


@pytest.mark.parametrize("side", [8, 9])
def test_zero_padding_shortcut(side):
    layer = ZeroPaddingShortcut(10, stride=2)
    x = images(2, side, side, 4)
    y = np.asarray(layer(x))
    np.testing.assert_array_equal(y[..., :4], np.asarray(x)[:, ::2, ::2])
    assert not y[..., 4:].any()
    assert layer.compute_output_shape((None, side, None, 4)) == (None, -(-side // 2), None, 10)
    with pytest.raises(ValueError, match="11 channels cannot be padded to 10"):
        ZeroPaddingShortcut(10)(images(1, 4, 4, 11))

"""The training step against arithmetic done by hand."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from shallow import SHALLOW

from keras_resnet.architectures import ARCHITECTURES, Architecture
from keras_resnet.backbone import freeze
from keras_resnet.builders import build_model
from keras_resnet.recipes import RECIPES
from keras_resnet.training.devices import make_strategy, precision_of_layers
from keras_resnet.training.engine import Engine
from keras_resnet.training.optimization import SGD, WeightAverage, is_decayed
from keras_resnet.training.recalibration import recalibrate

RECIPE = replace(RECIPES["cifar-paper"], weight_decay=0.01)


def small_model(network: Architecture = SHALLOW["resnet20"], **options) -> keras.Model:
    keras.utils.set_random_seed(3)
    return build_model(network, classes=4, classifier_activation=None, **options)


def batch(size: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return rng.normal(size=(size, 16, 16, 3)).astype("float32"), rng.integers(0, 4, size).astype("int32")


def engine(recipe=RECIPE, accumulate: int = 1) -> Engine:
    strategy = make_strategy("cpu:1")
    with strategy.scope():
        model = small_model()
    return Engine(model, recipe, strategy, accumulate)


def endless(images, labels):
    return iter(tf.data.Dataset.from_tensors((images, labels)).repeat())


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_the_papers_update(nesterov):
    rng = np.random.default_rng(0)
    start = rng.normal(size=(3, 2)).astype("float32")
    variable = keras.Variable(start, name="kernel")
    bias = keras.Variable(start[0], name="bias")
    sgd = SGD([variable, bias], momentum=0.9, weight_decay=0.1, nesterov=nesterov)
    w, b, v, vb = start.astype(float), start[0].astype(float), 0.0, 0.0
    for rate in (0.5, 0.25, 0.1):
        g, gb = rng.normal(size=(3, 2)), rng.normal(size=2)
        args = ([tf.constant(g, tf.float32), tf.constant(gb, tf.float32)], tf.constant(rate))
        tf.distribute.get_strategy().run(lambda grads, rate: sgd.apply(grads, rate), args=args)
        decayed = g + 0.1 * w  # on kernels only
        v, vb = 0.9 * v + rate * decayed, 0.9 * vb + rate * gb
        w = w - (0.9 * v + rate * decayed if nesterov else v)
        b = b - (0.9 * vb + rate * gb if nesterov else vb)
    np.testing.assert_allclose(variable.numpy(), w, rtol=1e-5)
    np.testing.assert_allclose(bias.numpy(), b, rtol=1e-5)


def test_weight_decay_is_for_kernels_only():
    decayed = {variable.name for variable in small_model().trainable_variables if is_decayed(variable)}
    assert decayed == {"kernel"}


def test_a_step_equals_keras_losses_and_a_tape():
    images, labels = batch()
    ours, reference = engine(), small_model()
    first = ours.train(endless(images, labels), [0.1], 0)
    with tf.GradientTape() as tape:
        logits = reference(images, training=True)
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))
    gradients = tape.gradient(loss, [v.value for v in reference.trainable_variables])
    for variable, gradient in zip(reference.trainable_variables, gradients, strict=True):
        decay = 0.01 * variable.value if is_decayed(variable) else 0.0
        variable.assign(variable.value - 0.1 * (gradient + decay))
    assert first.losses[0] == pytest.approx(float(loss), rel=1e-5)
    assert first.wrong[0] == int(np.sum(np.argmax(logits, -1) != labels))
    for mine, theirs in zip(ours.model.variables, reference.variables, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), atol=1e-5, err_msg=mine.path)


def test_several_steps_in_one_call_equal_single_calls():
    images, labels = batch()
    one, many = engine(), engine()
    iterator = endless(images, labels)
    for step in range(3):
        one.train(iterator, [0.1 / (step + 1)], step)
    many.train(endless(images, labels), [0.1, 0.05, 0.1 / 3], 0)
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, many.arrays()[name], err_msg=name)


def test_accumulation_equals_the_mean_of_the_parts_gradients():
    images, labels = batch(8)
    twice = np.concatenate([images[:4]] * 2), np.concatenate([labels[:4]] * 2)
    # Two equal halves: their batch statistics are those of one half, so the update must be too.
    whole, parts = engine(), engine(accumulate=2)
    whole.train(endless(images[:4], labels[:4]), [0.1], 0)
    parts.train(endless(*twice), [0.1], 0)
    for variable, other in zip(whole.model.trainable_variables, parts.model.trainable_variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), other.numpy(), atol=2e-5, err_msg=variable.path)


def test_a_loss_that_is_not_finite_names_its_step():
    images, labels = batch()
    images[0, 0, 0, 0] = np.nan
    with pytest.raises(FloatingPointError) as error:
        engine().train(endless(images, labels), [0.1, 0.1], 40)
    assert error.value.args[0] == 40


def test_weights_that_are_not_finite_are_found():
    images, labels = batch()
    broken = engine()
    kernel = broken.model.get_layer("conv3_block1_conv1").kernel
    kernel.assign(kernel * np.nan)
    with pytest.raises(FloatingPointError):
        broken.train(endless(images, labels), [0.1], 0)


def test_float16_stops_as_well_when_the_smallest_scale_does_not_help():
    images, labels = batch()
    with precision_of_layers("mixed_float16"):
        broken = engine()
    kernel = broken.model.get_layer("conv3_block1_conv1").kernel
    kernel.assign(kernel * np.nan)
    broken.loss_scale.scale.assign(4.0)
    with pytest.raises(FloatingPointError) as error:
        broken.train(endless(images, labels), [0.1] * 4, 0)
    assert error.value.args[0] == 2  # after 4 and 2 were tried


def test_within_averaged_the_model_has_its_averages():
    images, labels = batch()
    trained = engine(replace(RECIPE, ema=0.9))
    trained.train(endless(images, labels), [0.1, 0.1], 0)
    last = trained.arrays()
    with trained.averaged():
        for variable in trained.model.variables:
            average = last.get(f"average/{variable.path}")
            if average is not None:
                np.testing.assert_array_equal(variable.numpy(), average)
    for name, array in trained.arrays().items():
        np.testing.assert_array_equal(array, last[name], err_msg=name)
    assert any("moving_mean" in name for name in last if name.startswith("average/"))


def test_state_comes_back_bit_for_bit():
    images, labels = batch()
    recipe = replace(RECIPE, ema=0.9)
    first, second = engine(recipe), engine(recipe)
    first.train(endless(images, labels), [0.1, 0.1], 0)
    second.restore(first.arrays())
    for trained in (first, second):
        trained.train(endless(images, labels), [0.1], 2)
    for name, array in first.arrays().items():
        np.testing.assert_array_equal(array, second.arrays()[name], err_msg=name)
    assert any(name.startswith("average/") for name in first.arrays())


def test_weight_average_follows_the_weights():
    variable = keras.Variable([0.0], name="kernel")
    average = WeightAverage([variable], decay=0.5)
    variable.assign([1.0])
    tf.distribute.get_strategy().run(lambda: average.update(tf.constant(100)))
    np.testing.assert_allclose(average.averages[0].numpy(), [0.5])


def test_error_counts_each_image_once_whatever_the_batches():
    images, labels = batch(10)
    trained = engine()
    errors = [
        trained.evaluate(tf.data.Dataset.from_tensor_slices((images, labels)).batch(size)) for size in (3, 10)
    ]
    logits = trained.model(images, training=False)
    assert errors == [100 * np.mean(np.argmax(logits, -1) != labels)] * 2


@pytest.mark.parametrize("scanned", [False, True])
def test_recalibration_is_the_plain_mean_of_batch_statistics(scanned):
    model = small_model(ARCHITECTURES["plain20"], scanned=scanned)
    images = [batch(8)[0] + shift for shift in (0.0, 1.0, 3.0)]
    recalibrate(model, [(part,) for part in images])
    stem = keras.Model(model.input, model.get_layer("conv1_conv").output)
    outputs = [stem(part).numpy() for part in images]
    bn = model.get_layer("conv1_bn")
    np.testing.assert_allclose(
        bn.moving_mean.numpy(), np.mean([o.mean((0, 1, 2)) for o in outputs], 0), atol=1e-4
    )
    np.testing.assert_allclose(
        bn.moving_variance.numpy(), np.mean([o.var((0, 1, 2)) for o in outputs], 0), rtol=1e-3
    )


def test_recalibration_leaves_frozen_layers_alone():
    model = small_model()
    freeze(model, "conv2")
    frozen, free = (
        model.get_layer(name).moving_variance for name in ("conv2_block1_bn1", "conv4_block1_bn1")
    )
    frozen.assign(frozen + 1.0)
    before = frozen.numpy(), free.numpy()
    recalibrate(model, [(batch(8)[0],)])
    np.testing.assert_array_equal(frozen.numpy(), before[0])
    assert not np.allclose(free.numpy(), before[1])


def test_float16_skips_a_step_whose_gradients_overflow():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        trained = engine()
    finally:
        keras.config.set_dtype_policy("float32")
    assert trained.loss_scale is not None
    trained.loss_scale.scale.assign(2.0**127)
    images, labels = batch()
    before = trained.arrays()
    trained.train(endless(images, labels), [0.1], 0)
    after = trained.arrays()
    np.testing.assert_array_equal(before["conv1_conv/kernel"], after["conv1_conv/kernel"])
    assert after["loss_scale/scale"] == 2.0**126


def test_only_what_gpus_of_several_machines_can_sum_is_summed(monkeypatch):
    """They have no sum of integers."""
    summed = []
    reduce = tf.distribute.MirroredStrategy.reduce

    def noted(self, operation, value, axis):
        summed.append(value.dtype)
        return reduce(self, operation, value, axis)

    monkeypatch.setattr(tf.distribute.MirroredStrategy, "reduce", noted)
    engine().evaluate([batch()])
    assert summed and all(dtype.is_floating for dtype in summed)


@pytest.mark.parametrize("name", ["resnet20", "resnet50"])
def test_the_step_compiles_with_xla_as_on_gpus(name, monkeypatch):
    images, labels = batch()
    losses = []
    for compiled in (False, True):
        monkeypatch.setattr("keras_resnet.training.engine.compiled_by_xla", lambda _, value=compiled: value)
        strategy = make_strategy("cpu:1")
        with strategy.scope():
            model = small_model(SHALLOW[name])
        trained = Engine(model, RECIPE, strategy).train(endless(images, labels), [0.01, 0.01], 0)
        losses.append(trained.losses)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    assert losses[0][0] != losses[0][1]

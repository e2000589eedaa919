from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_resnet.errors import UserError
from keras_resnet.export.parity import check, compare, full_float32


def softmax(logits):
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(size=(20, 5))


def test_equal_answers_pass(logits):
    parity = compare(softmax(logits), softmax(logits), "float32")
    assert parity.passed
    assert (parity.max_difference, parity.relative_error, parity.top1_agreement) == (0, 0, 1)


def test_full_float32_is_for_the_time_of_the_comparison():
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    before = enabled()
    with full_float32():
        assert not enabled()
    assert enabled() == before
    with pytest.raises(ZeroDivisionError), full_float32():
        raise ZeroDivisionError
    assert enabled() == before


def test_numbers_are_what_they_say():
    expected = np.array([[0.6, 0.4], [0.5, 0.5]])
    actual = np.array([[0.5, 0.5], [0.4, 0.6]])
    parity = compare(expected, actual, "int8")
    assert parity.images == 2
    assert parity.max_difference == pytest.approx(0.1)
    assert parity.mean_difference == pytest.approx(0.1)
    assert parity.top1_agreement == 0.5  # the second image changed its class


def test_small_differences_pass_in_bfloat16_only(logits):
    noisy = logits + 0.02 * np.random.default_rng(1).normal(size=logits.shape)
    assert compare(softmax(logits), softmax(noisy), "bfloat16").passed
    assert not compare(softmax(logits), softmax(noisy), "float32").passed


def test_another_network_is_told_apart_even_where_all_probabilities_are_tiny():
    logits = 1e-3 * np.random.default_rng(0).normal(size=(16, 1000))
    other = 1e-3 * np.random.default_rng(1).normal(size=(16, 1000))
    parity = compare(softmax(logits), softmax(other), "bfloat16")
    assert parity.max_difference < 1e-4
    assert not parity.passed


def test_values_that_are_not_finite_are_refused(logits):
    broken = softmax(logits)
    broken[3, 2] = np.nan
    with pytest.raises(UserError, match="the model gives values that are not finite"):
        compare(broken, softmax(logits), "float32")
    with pytest.raises(UserError, match="the export gives values that are not finite"):
        compare(softmax(logits), broken, "float32")


def test_check_runs_in_batches_and_raises_with_the_numbers(logits):
    images = np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1)
    sizes = []

    def reference(batch):
        sizes.append(len(batch))
        return softmax(logits[batch.ravel()])

    assert check(reference, reference, images, "float32", batch=8).images == 20
    assert sizes == [8, 8, 4] * 2
    with pytest.raises(UserError, match=r"nothing was written.* on 20 images: largest difference"):
        check(reference, lambda batch: softmax(-logits[batch.ravel()]), images, "bfloat16")


def test_errors_are_compared_where_the_classes_are_known(logits):
    truth = logits.argmax(1)
    truth[0] = (truth[0] + 1) % 5
    parity = compare(softmax(logits), softmax(-logits), "float32", truth)
    assert parity.model_error == 5.0
    assert parity.export_error == 100 * np.mean((-logits).argmax(1) != truth)
    assert "instead of 5.00 %" in parity.describe()
    assert compare(softmax(logits), softmax(logits), "float32").model_error is None

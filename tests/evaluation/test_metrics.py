from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_resnet.evaluation import metrics


def test_ranks_by_hand():
    probabilities = np.array([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.2, 0.3, 0.5], [0.4, 0.4, 0.2]])
    labels = np.array([1, 1, 0, 1])
    assert metrics.label_ranks(probabilities, labels).tolist() == [
        0,
        2,
        2,
        1,
    ]  # a tie: the earlier class wins


def test_not_a_number_is_never_right():
    nan = np.nan
    ranks = metrics.label_ranks(np.array([[nan, nan], [nan, 0.5], [0.5, nan]]), np.array([0, 1, 0]))
    assert (ranks >= 1).all()


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float32, (12, 7), elements=st.floats(0, 1, width=16)), st.randoms())
def test_ranks_agree_with_a_stable_sort(probabilities, random):
    labels = np.array([random.randrange(7) for _ in range(12)])
    order = np.argsort(-probabilities, axis=1, kind="stable")
    expected = np.argmax(order == labels[:, None], axis=1)
    assert metrics.label_ranks(probabilities, labels).tolist() == expected.tolist()
    assert ((metrics.label_ranks(probabilities, labels) == 0) == (probabilities.argmax(1) == labels)).all()


def test_wilson_interval_against_published_values():
    # Newcombe 1998, Table I: 81/263, 15/148, 0/20, 1/29 (score method, in percent).
    for errors, images, low, high in (
        (81, 263, 25.53, 36.62),
        (15, 148, 6.24, 16.05),
        (0, 20, 0.0, 16.11),
        (1, 29, 0.61, 17.18),
    ):
        assert metrics.wilson_interval(errors, images) == pytest.approx((low, high), abs=0.006)
    assert metrics.wilson_interval(20, 20)[1] == 100.0
    assert metrics.wilson_interval(0, 0) == (0.0, 100.0)


def test_confusion_and_per_class_error():
    labels, predictions = np.array([0, 0, 1, 1, 1]), np.array([0, 2, 1, 1, 0])
    confusion = metrics.confusion_matrix(labels, predictions, 3)
    assert confusion.tolist() == [[1, 0, 1], [1, 2, 0], [0, 0, 0]]
    errors = metrics.per_class_error(confusion)
    assert errors[:2] == pytest.approx([50.0, 100 / 3])
    assert np.isnan(errors[2])  # no images, no error


def test_calibration_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.8, 0.2], [0.4, 0.6]])
    labels = np.array([0, 1, 0, 1])
    found = metrics.calibration(probabilities, labels, bins=10)
    # Bins 0.8…0.9: confidence 0.9, accuracy 1/2; 0.7…0.8: 0.8, 1; 0.5…0.6: 0.6, 1.
    assert found.images.tolist() == [0, 0, 0, 0, 0, 1, 0, 1, 1 + 1, 0]
    assert found.accuracy[[5, 7, 8]] == pytest.approx([1, 1, 0.5])
    assert found.confidence[[5, 7, 8]] == pytest.approx([0.6, 0.8, 0.9])
    assert found.ece == pytest.approx((2 * 0.4 + 0.2 + 0.4) / 4)


def test_mcnemar_is_the_exact_binomial_test():
    first = np.array([True] * 10 + [False] * 2 + [True] * 5)
    second = np.array([False] * 10 + [True] * 2 + [True] * 5)
    found = metrics.mcnemar_test(first, second)
    assert (found.only_first_right, found.only_second_right) == (10, 2)
    assert found.p_value == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert metrics.mcnemar_test(first, first).p_value == 1.0
    many = np.arange(8000) < 4100  # floats would overflow here
    assert 0 < metrics.mcnemar_test(many, ~many).p_value < 0.03

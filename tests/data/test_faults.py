from __future__ import annotations

import pytest
import tensorflow as tf

from keras_resnet.data.faults import UNREADABLE, reason
from keras_resnet.data.graph import require


@pytest.mark.parametrize("function", [lambda f: f, tf.function], ids=["eager", "graph"])
def test_an_assertion_of_ours_is_its_words_and_numbers(function):
    check = function(lambda size: require(size < 5, size, "not below 5: size", size))
    with pytest.raises(UNREADABLE) as raised:
        check(tf.constant(7))
    assert reason(raised.value) == "not below 5: size 7"


MATRIX = tf.TensorSpec([None, None])


@pytest.mark.parametrize(
    "multiply", [tf.matmul, tf.function(tf.matmul, input_signature=[MATRIX, MATRIX])], ids=["eager", "graph"]
)
def test_a_message_of_tensorflow_keeps_its_brackets_and_loses_its_place(multiply):
    with pytest.raises(UNREADABLE) as raised:
        multiply(tf.zeros([2, 3]), tf.zeros([2, 3]))
    told = reason(raised.value)
    assert "[2,3]" in told
    assert all(word not in told for word in ("[Op", "{{", "[[", "node", "stack"))


def test_a_message_that_is_no_text_is_told_as_far_as_it_is():
    error = UnicodeDecodeError("utf-8", b"no image: \xff\xfe\n\t [[{{node DecodeBmp}}]]", 10, 11, "invalid")
    assert isinstance(error, UNREADABLE)
    assert reason(error) == "no image: \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"


def test_other_errors_are_their_first_line():
    assert reason(ValueError("one\ntwo")) == "one"
    assert reason(KeyboardInterrupt()) == "KeyboardInterrupt"

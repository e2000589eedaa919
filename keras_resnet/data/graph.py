"""Two small tools of graph code: a check that stops a value, a function that AutoGraph leaves alone."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def require(
    condition: tf.Tensor | bool, value: tf.Tensor, message: tf.Tensor | str, *data: tf.Tensor
) -> tf.Tensor:
    """Return `value`; computing it raises InvalidArgumentError unless `condition` holds."""
    check = tf.debugging.Assert(condition, [message, *data])
    with tf.control_dependencies([] if check is None else [check]):  # None: checked eagerly
        return tf.identity(value)


def without_autograph(function: Callable) -> Callable:
    """Keep AutoGraph from reading the sources of graph code that has no Python control flow."""
    return tf.autograph.experimental.do_not_convert(function)

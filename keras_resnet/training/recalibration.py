"""Batch normalisation's statistics over a large sample of training images, after training.

The authors' released models hold such plain averages instead of moving ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.errors import UserError
from keras_resnet.layers import BN_MOMENTUM
from keras_resnet.scanned import ScannedBlocks


def recalibrate(model: keras.Model, batches: Iterable[Any]) -> None:
    """Set every moving average to the plain mean of the batch statistics over `batches` (images, …).

    Raises:
        UserError: `batches` is empty.
    """
    layers = [layer for layer in model._flatten_layers() if _is_batch_norm(layer)]
    moving = [v for layer in layers for v in layer.non_trainable_variables if "moving_" in v.name]
    keep = {id(v): getattr(layer, "momentum", BN_MOMENTUM) for layer in layers for v in layer.variables}
    sums = [np.zeros(variable.shape) for variable in moving]

    @tf.function(reduce_retracing=True)
    def forward(images: tf.Tensor) -> None:
        model(images, training=True)

    count = 0
    for batch in batches:
        # From zero, one update leaves (1 − momentum) × the batch's statistics.
        for variable in moving:
            variable.assign(tf.zeros(variable.shape))
        forward(batch[0])
        for total, variable in zip(sums, moving, strict=True):
            total += variable.numpy() / (1.0 - keep[id(variable)])
        count += 1
    if count == 0:
        raise UserError("no readable image to recalibrate batch normalisation with")
    for total, variable in zip(sums, moving, strict=True):
        variable.assign((total / count).astype("float32"))


def _is_batch_norm(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization | ScannedBlocks)

"""The few layers that Keras lacks: input normalisation, fused batch normalisation, option A's shortcut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_resnet.errors import UserError

BN_EPSILON = 1e-5
BN_MOMENTUM = 0.9  # the share that a moving average keeps at each step (torch calls this 0.1)


def he_normal() -> keras.initializers.Initializer:
    """Normal with deviation √(2 / fan-in), not truncated: that of [13], He et al. 2015 (Sec. 3.4)."""
    return keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")


def on_tensorflow() -> bool:
    """Whether Keras runs on TensorFlow in this process."""
    return keras.config.backend() == "tensorflow"


def require_tensorflow(what: str) -> None:
    """Say clearly that `what` does not run on Keras' other backends (models do).

    Raises:
        UserError: Keras runs on another backend in this process.
    """
    if not on_tensorflow():
        backend = keras.config.backend()
        raise UserError(f"{what} needs Keras on TensorFlow, not on {backend}; unset KERAS_BACKEND")


def fused_batch_norm(
    x: Any, gamma: Any, beta: Any, mean: Any, variance: Any, epsilon: float, training: bool
) -> tuple[Any, Any, Any]:
    """TensorFlow's fused kernel on NHWC activations of any float type; all the rest is float32.

    Returns the normalised activations and, when training, the batch mean and the batch's population
    variance (the kernel itself returns the unbiased one); at inference the given mean and variance.
    """
    import tensorflow as tf

    if not training:
        y, _, _ = tf.compat.v1.nn.fused_batch_norm(
            x, gamma, beta, mean, variance, epsilon=epsilon, is_training=False
        )
        return y, mean, variance
    y, batch_mean, batch_variance = tf.compat.v1.nn.fused_batch_norm(
        x, gamma, beta, epsilon=epsilon, is_training=True
    )
    count = tf.cast(tf.size(x) // tf.shape(x)[-1], tf.float32)
    return y, batch_mean, batch_variance * ((count - 1.0) / count)


@keras.saving.register_keras_serializable("keras_resnet")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` over the fused kernel where TensorFlow has one.

    Same arguments, weights, outputs, gradients and moving averages as Keras' layer; on a CPU one
    training step of a residual network takes about two thirds of the time. Statistics and scales are
    float32 also under mixed precision. Other backends, and weights of other types, use Keras' maths.

    Under a `tf.distribute` strategy each replica normalises with its own statistics, as is
    usual on several GPUs, and keeps its own moving averages. This project's training loop averages those
    over the replicas at every step; under any other loop, saving writes those of the first replica.
    `synchronized=True` asks for statistics over all replicas (Keras' own path).
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise `inputs` [N, H, W, C] over N, H and W."""
        fused = (
            on_tensorflow()
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and mask is None
            and not (self.synchronized or self.renorm)
            and self.scale
            and self.center
            and self.compute_dtype in ("float32", "bfloat16", "float16")
            and self.variable_dtype == "float32"
        )
        if not fused:
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        use_batch = bool(training) and self.trainable
        outputs, mean, variance = fused_batch_norm(
            tf.convert_to_tensor(inputs),
            tf.convert_to_tensor(self.gamma),
            tf.convert_to_tensor(self.beta),
            tf.convert_to_tensor(self.moving_mean),
            tf.convert_to_tensor(self.moving_variance),
            self.epsilon,
            use_batch,
        )
        if use_batch:
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))
        return outputs


@keras.saving.register_keras_serializable("keras_resnet")
class InputNormalization(keras.layers.Layer):
    """(pixels − mean) / std, the first layer of every network here: raw RGB 0…255 in.

    `mean` and `std` are per channel ([3]) or per pixel ([H, W, 3]: the paper's mean image, Sec. 3.4).
    They are non-trainable weights, so weight files carry the normalisation that they were trained with.
    The subtraction is done in float32 whatever the compute type (bfloat16 has 8 bits of mantissa).
    """

    def __init__(
        self,
        mean: Any = (0.0, 0.0, 0.0),
        std: Any = (1.0, 1.0, 1.0),
        shape: Sequence[int] | None = None,
        **kwargs: Any,
    ):
        super().__init__(autocast=False, **kwargs)
        mean, std = np.broadcast_arrays(np.asarray(mean, np.float32), np.asarray(std, np.float32))
        self.shape = tuple(shape) if shape is not None else mean.shape
        self._mean, self._std = np.broadcast_to(mean, self.shape), np.broadcast_to(std, self.shape)

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create the two weights."""
        for name, values in (("mean", self._mean), ("std", self._std)):
            weight = self.add_weight(
                shape=self.shape, name=name, trainable=False, dtype="float32", autocast=False
            )
            weight.assign(values)
            setattr(self, name, weight)

    def call(self, inputs: Any) -> Any:
        """Normalise `inputs` [N, H, W, 3], RGB 0…255, uint8 or float."""
        pixels = ops.cast(inputs, "float32")
        return ops.cast((pixels - self.mean) / self.std, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments; of a mean image only the shape, for its values are saved as weights."""
        config = super().get_config()
        config.pop("autocast", None)
        config["shape"] = list(self.shape)
        if len(self.shape) == 1:
            config |= {"mean": self._mean.tolist(), "std": self._std.tolist()}
        return config


@keras.saving.register_keras_serializable("keras_resnet")
class ZeroPaddingShortcut(keras.layers.Layer):
    """Option A (Sec. 3.3): the identity, subsampled by `stride`, with zero channels appended.

    [N, H, W, C] → [N, ⌈H/stride⌉, ⌈W/stride⌉, filters]; it has no weights.
    """

    def __init__(self, filters: int, stride: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters = filters
        self.stride = stride

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Check the number of channels."""
        channels = input_shape[-1]
        if channels is None or channels > self.filters:
            raise ValueError(
                f"{self.name}: an input of {channels} channels cannot be padded to {self.filters}"
            )

    def call(self, inputs: Any) -> Any:
        """Subsample and pad."""
        # Pooling one pixel wide subsamples; a strided slice does the same on one thread, four times slower.
        x = ops.average_pool(inputs, 1, self.stride, data_format="channels_last")
        return ops.pad(x, [[0, 0], [0, 0], [0, 0], [0, self.filters - inputs.shape[-1]]])

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Shape of the output, with None where the input has None."""
        batch, height, width, _ = input_shape
        shrink = [None if side is None else -(-side // self.stride) for side in (height, width)]
        return (batch, *shrink, self.filters)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "filters": self.filters, "stride": self.stride}

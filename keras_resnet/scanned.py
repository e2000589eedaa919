"""Many identical residual blocks as one layer with stacked weights, for networks of a thousand layers.

A Keras graph pays for every layer when it is built, traced, saved and loaded: ResNet-1202 has 4,208.
Here a whole stage is one layer whose weights have a leading axis over the blocks, run by the backend's
loop (`tf.while_loop`, `jax.lax.scan`): the graph holds one block, whatever the depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_resnet.layers import BN_EPSILON, BN_MOMENTUM, fused_batch_norm, on_tensorflow


@keras.saving.register_keras_serializable("keras_resnet")
class ScannedBlocks(keras.layers.Layer):
    """`blocks` equal residual (or plain) blocks with identity shortcuts, [N, H, W, C] → the same shape.

    `kernels` and `widths` are the kernel sizes and output channels of one block's convolutions
    ((3, 3), (16, 16) for a CIFAR basic block; (1, 3, 1), (64, 64, 256) for a bottleneck). With
    `remat`, activations inside a block are computed again in the backward pass instead of kept.
    Weights of convolution j: `conv{j}_kernel` [blocks, k, k, in, out], `bn{j}_gamma`, `bn{j}_beta`,
    `bn{j}_moving_mean`, `bn{j}_moving_variance` [blocks, out].
    """

    def __init__(
        self,
        blocks: int,
        kernels: Sequence[int],
        widths: Sequence[int],
        shortcut: bool = True,
        remat: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.blocks = blocks
        self.kernels = tuple(kernels)
        self.widths = tuple(widths)
        self.shortcut = shortcut
        self.remat = remat

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create the stacked weights."""
        inputs = input_shape[-1]
        if inputs != self.widths[-1]:
            raise ValueError(f"{self.name}: identity blocks keep {inputs} channels, not {self.widths[-1]}")
        self.convs: list[Any] = []
        self.norms: list[tuple[Any, Any, Any, Any]] = []
        for number, (kernel, width) in enumerate(zip(self.kernels, self.widths, strict=True), 1):
            # Fan-in of one block's kernel; VarianceScaling would count the stacking axis too.
            stddev = (2.0 / (kernel * kernel * inputs)) ** 0.5
            self.convs.append(
                self.add_weight(
                    shape=(self.blocks, kernel, kernel, inputs, width),
                    initializer=keras.initializers.RandomNormal(stddev=stddev),
                    name=f"conv{number}_kernel",
                )
            )
            self.norms.append(
                tuple(
                    self.add_weight(
                        shape=(self.blocks, width),
                        initializer=initial,
                        name=f"bn{number}_{name}",
                        trainable=trainable,
                        autocast=False,
                    )
                    for name, initial, trainable in (
                        ("gamma", "ones", True),
                        ("beta", "zeros", True),
                        ("moving_mean", "zeros", False),
                        ("moving_variance", "ones", False),
                    )
                )
            )
            inputs = width

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Run the blocks; when training, update every block's moving averages."""
        use_batch = bool(training) and self.trainable
        slices = [ops.convert_to_tensor(weight) for weight in self.convs]
        slices = [ops.cast(weight, self.compute_dtype) for weight in slices]
        slices += [ops.convert_to_tensor(weight) for norm in self.norms for weight in norm]

        def block(x: Any, weights: Sequence[Any]) -> tuple[Any, list[Any]]:
            return self._block(x, weights, use_batch)

        if self.remat:
            block = keras.remat(block)
        scan = _scan_tensorflow if on_tensorflow() else _scan_keras
        outputs, statistics = scan(block, inputs, slices, self.blocks, 2 * len(self.widths) * use_batch)
        if use_batch:
            moving = [weight for norm in self.norms for weight in norm[2:]]
            for average, batch in zip(moving, statistics, strict=True):
                average.assign(average * BN_MOMENTUM + batch * (1.0 - BN_MOMENTUM))
        return outputs

    def _block(self, x: Any, weights: Sequence[Any], use_batch: bool) -> tuple[Any, list[Any]]:
        shortcut, statistics = x, []
        count = len(self.widths)
        for j in range(count):
            x = ops.conv(x, weights[j], padding="same", data_format="channels_last")
            gamma, beta, mean, variance = weights[count + 4 * j : count + 4 * j + 4]
            x, mean, variance = _normalize(x, gamma, beta, mean, variance, use_batch)
            statistics += [mean, variance]
            if j < count - 1:
                x = ops.relu(x)
        x = ops.relu(x + shortcut if self.shortcut else x)
        return x, statistics if use_batch else []

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's own shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        names = ("blocks", "kernels", "widths", "shortcut", "remat")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _normalize(
    x: Any, gamma: Any, beta: Any, mean: Any, variance: Any, use_batch: bool
) -> tuple[Any, Any, Any]:
    if on_tensorflow():
        return fused_batch_norm(x, gamma, beta, mean, variance, BN_EPSILON, use_batch)
    x32 = ops.cast(x, "float32")
    if use_batch:
        mean, variance = ops.moments(x32, axes=(0, 1, 2))
    y = ops.batch_normalization(x32, mean, variance, -1, beta, gamma, BN_EPSILON)
    return ops.cast(y, x.dtype), mean, variance


def _scan_tensorflow(
    block: Any, x: Any, slices: Sequence[Any], length: int, outputs: int
) -> tuple[Any, list[Any]]:
    """`jax.lax.scan` in TensorFlow; Keras' own needs outputs shaped like the carry."""
    import tensorflow as tf

    stacks = [tf.TensorArray(s.dtype, size=length, element_shape=s.shape[1:]).unstack(s) for s in slices]
    written = tuple(tf.TensorArray(tf.float32, size=length) for _ in range(outputs))

    def body(i: Any, x: Any, written: tuple[Any, ...]) -> tuple[Any, Any, tuple[Any, ...]]:
        y, values = block(x, [stack.read(i) for stack in stacks])
        y.set_shape(x.shape)
        return i + 1, y, tuple(w.write(i, v) for w, v in zip(written, values, strict=True))

    _, x, written = tf.while_loop(
        lambda i, *_: i < length,
        body,
        (tf.constant(0), x, written),
        maximum_iterations=length,
        parallel_iterations=1,
    )
    return x, [w.stack() for w in written]


def _scan_keras(
    block: Any, x: Any, slices: Sequence[Any], length: int, outputs: int
) -> tuple[Any, list[Any]]:
    x, statistics = ops.scan(block, x, list(slices), length=length)
    return x, list(statistics)

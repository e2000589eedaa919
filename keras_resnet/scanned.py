"""Many identical residual blocks as one layer with stacked weights, for networks of a thousand layers.

A Keras graph pays for every layer when it is built, traced, saved and loaded: ResNet-1202 has over 4,200.
Here a whole stage is one layer whose weights have a leading axis over the blocks, run by the backend's
loop (`tf.while_loop`, `jax.lax.scan`): the graph holds one block, whatever the depth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_resnet.layers import BN_EPSILON, BN_MOMENTUM, fused_batch_norm, on_tensorflow

# One block: (activations, its weights) → (activations, its batch statistics).
BlockFunction = Callable[[Any, Sequence[Any]], tuple[Any, list[Any]]]


@keras.saving.register_keras_serializable("keras_resnet")
class ScannedBlocks(keras.layers.Layer):
    """`blocks` equal residual (or plain) blocks that keep their input's shape, [N, H, W, C] → the same.

    Weights of convolution j: `conv{j}_kernel` [blocks, k, k, in, out], `bn{j}_gamma`, `bn{j}_beta`,
    `bn{j}_moving_mean`, `bn{j}_moving_variance` [blocks, out]; with `projection` also
    `shortcut_conv_kernel` and `shortcut_bn_…`.

    Args:
        blocks: how many.
        kernels: kernel sizes of one block's convolutions, (3, 3) for a basic block, (1, 3, 1) for a
            bottleneck.
        widths: their output channels, (16, 16) or (64, 64, 256).
        shortcut: residual blocks, or plain ones.
        projection: with a 1×1 convolution on every shortcut (option C).
        zero_init_residual: start the last scale of every block at 0 (not in the paper).
        remat: compute the activations inside a block again in the backward pass instead of keeping
            them: about a third of the memory for about a third more time.
    """

    def __init__(
        self,
        blocks: int,
        kernels: Sequence[int],
        widths: Sequence[int],
        shortcut: bool = True,
        remat: bool = False,
        projection: bool = False,
        zero_init_residual: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.blocks = blocks
        self.kernels = tuple(kernels)
        self.widths = tuple(widths)
        self.shortcut = shortcut
        self.remat = remat
        self.projection = projection
        self.zero_init_residual = zero_init_residual

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create the stacked weights."""
        channels = input_shape[-1]
        if channels != self.widths[-1]:
            raise ValueError(f"{self.name}: identity blocks keep {channels} channels, not {self.widths[-1]}")
        self.convs: list[Any] = []
        self.norms: list[tuple[Any, Any, Any, Any]] = []
        for number, (kernel, width) in enumerate(zip(self.kernels, self.widths, strict=True), 1):
            gamma = "zeros" if self.zero_init_residual and number == len(self.widths) else "ones"
            self._add_conv(f"conv{number}", f"bn{number}", kernel, channels, width, gamma)
            channels = width
        if self.projection:
            self._add_conv("shortcut_conv", "shortcut_bn", 1, channels, channels)

    def _add_conv(
        self, conv: str, norm: str, kernel: int, inputs: int, outputs: int, gamma: str = "ones"
    ) -> None:
        # Fan-in of one block's kernel; VarianceScaling would count the stacking axis too.
        stddev = (2.0 / (kernel * kernel * inputs)) ** 0.5
        self.convs.append(
            self.add_weight(
                shape=(self.blocks, kernel, kernel, inputs, outputs),
                initializer=keras.initializers.RandomNormal(stddev=stddev),
                name=f"{conv}_kernel",
            )
        )
        self.norms.append(
            tuple(
                self.add_weight(
                    shape=(self.blocks, outputs),
                    initializer=initial,
                    name=f"{norm}_{name}",
                    trainable=trainable,
                    autocast=False,
                )
                for name, initial, trainable in (
                    ("gamma", gamma, True),
                    ("beta", "zeros", True),
                    ("moving_mean", "zeros", False),
                    ("moving_variance", "ones", False),
                )
            )
        )

    def stacked_weights(self) -> dict[str, Any]:
        """The variables by the names they have in an unrolled block: "conv1/kernel", "bn1/gamma", ….

        Element i of each belongs to block i + 2 of the stage (block 1 is never scanned).
        """
        names = [str(j) for j in range(1, len(self.widths) + 1)]
        parts = [(f"conv{j}", f"bn{j}") for j in names]
        if self.projection:
            parts.append(("shortcut_conv", "shortcut_bn"))
        weights = {}
        for (conv, norm), kernel, scales in zip(parts, self.convs, self.norms, strict=True):
            weights[f"{conv}/kernel"] = kernel
            for name, scale in zip(("gamma", "beta", "moving_mean", "moving_variance"), scales, strict=True):
                weights[f"{norm}/{name}"] = scale
        return weights

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Run the blocks; when training, update every block's moving averages."""
        use_batch = bool(training) and self.trainable
        stacks = [ops.cast(ops.convert_to_tensor(weight), self.compute_dtype) for weight in self.convs]
        stacks += [
            ops.cast(ops.convert_to_tensor(weight), "float32") for norm in self.norms for weight in norm
        ]

        def block(x: Any, weights: Sequence[Any]) -> tuple[Any, list[Any]]:
            return self._block(x, weights, use_batch)

        if self.remat:
            block = keras.remat(block)
        if not on_tensorflow():
            outputs, statistics = ops.scan(block, inputs, stacks, length=self.blocks)
        elif use_batch:
            outputs, statistics = _scan_lists(block, inputs, stacks, self.blocks)
        else:
            outputs, statistics = _scan_slices(block, inputs, stacks, self.blocks), []
        if use_batch:
            moving = [weight for norm in self.norms for weight in norm[2:]]
            for average, batch in zip(moving, statistics, strict=True):
                moved = ops.cast(average, "float32") * BN_MOMENTUM + batch * (1.0 - BN_MOMENTUM)
                average.assign(ops.cast(moved, average.dtype))
        return outputs

    def _block(self, x: Any, weights: Sequence[Any], use_batch: bool) -> tuple[Any, list[Any]]:
        shortcut, statistics = x, []
        kernels, norms = weights[: len(self.convs)], weights[len(self.convs) :]

        def conv_and_norm(x: Any, j: int) -> Any:
            x = ops.conv(x, kernels[j], padding="same", data_format="channels_last")
            x, mean, variance = _normalize(x, norms[4 * j : 4 * j + 4], use_batch)
            statistics.extend([mean, variance])
            return x

        last = len(self.widths) - 1
        for j in range(last):
            x = ops.relu(conv_and_norm(x, j))
        x = conv_and_norm(x, last)
        if self.shortcut:
            x = x + (conv_and_norm(shortcut, last + 1) if self.projection else shortcut)
        return ops.relu(x), statistics if use_batch else []

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's own shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        names = ("blocks", "kernels", "widths", "shortcut", "remat", "projection", "zero_init_residual")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _normalize(x: Any, norm: Sequence[Any], use_batch: bool) -> tuple[Any, Any, Any]:
    gamma, beta, mean, variance = norm
    if on_tensorflow():
        return fused_batch_norm(x, gamma, beta, mean, variance, BN_EPSILON, use_batch)
    x32 = ops.cast(x, "float32")
    if use_batch:
        mean, variance = ops.moments(x32, axes=(0, 1, 2))
    y = ops.batch_normalization(x32, mean, variance, -1, beta, gamma, BN_EPSILON)
    return ops.cast(y, x.dtype), mean, variance


def _scan_slices(block: BlockFunction, x: Any, stacks: Sequence[Any], length: int) -> Any:
    """Inference: a loop that slices the i-th weights out, which every converter understands."""
    import tensorflow as tf

    # Read before the loop: one over variables has a state, and is run even where nothing uses what it gives.
    stacks = [tf.convert_to_tensor(stack) for stack in stacks]

    def body(i: Any, x: Any) -> tuple[Any, Any]:
        y, _ = block(x, [tf.gather(stack, i) for stack in stacks])
        y.set_shape(x.shape)
        return i + 1, y

    return _loop(body, (tf.constant(0), x), length)[1]


def _scan_lists(block: BlockFunction, x: Any, stacks: Sequence[Any], length: int) -> tuple[Any, list[Any]]:
    """Training: a loop that pops weights off lists and pushes batch statistics onto others.

    The gradient of a pop is a push: constant time. The gradient of slicing, or of `TensorArray.read`, is
    a whole zero stack with one element set, to be added up every iteration: quadratic in the depth.
    """
    import tensorflow as tf

    raw = tf.raw_ops
    shapes = [stack.shape[1:].as_list() for stack in stacks]
    weights = [
        raw.TensorListFromTensor(tensor=tf.reverse(stack, [0]), element_shape=tf.constant(shape, tf.int32))
        for stack, shape in zip(stacks, shapes, strict=True)
    ]
    # gamma, beta, mean, variance of each norm follow the kernels; a mean and a variance come out.
    norms = [shape for shape in shapes if len(shape) == 1]
    statistics = [shape for index, shape in enumerate(norms) if index % 4 >= 2]
    written = [
        raw.EmptyTensorList(
            element_shape=tf.constant(shape, tf.int32), max_num_elements=length, element_dtype=tf.float32
        )
        for shape in statistics
    ]

    def body(i: Any, x: Any, weights: Any, written: Any) -> tuple[Any, ...]:
        rest, popped = [], []
        for handle, stack, shape in zip(weights, stacks, shapes, strict=True):
            handle, weight = raw.TensorListPopBack(
                input_handle=handle, element_shape=tf.constant(shape, tf.int32), element_dtype=stack.dtype
            )
            weight.set_shape(shape)
            rest.append(handle)
            popped.append(weight)
        y, values = block(x, popped)
        y.set_shape(x.shape)
        written = [
            raw.TensorListPushBack(input_handle=handle, tensor=tf.stop_gradient(value))
            for handle, value in zip(written, values, strict=True)
        ]
        return i + 1, y, rest, written

    _, x, _, written = _loop(body, (tf.constant(0), x, weights, written), length)
    return x, [
        raw.TensorListStack(
            input_handle=handle,
            element_shape=tf.constant(shape, tf.int32),
            element_dtype=tf.float32,
            num_elements=length,
        )
        for handle, shape in zip(written, statistics, strict=True)
    ]


def _loop(body: Callable[..., Any], state: tuple[Any, ...], length: int) -> Any:
    import tensorflow as tf

    return tf.while_loop(
        lambda i, *_: i < length, body, state, maximum_iterations=length, parallel_iterations=1
    )

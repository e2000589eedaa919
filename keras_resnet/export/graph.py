"""A folded network as a plain TensorFlow graph of constants: what TensorFlow's CPU fusion likes best.

Each layer is conv → bias → (+ shortcut) → ReLU on constant weights, which TensorFlow's graph optimiser turns
into one fused oneDNN kernel. What it takes for that, as of TensorFlow 2.21 (numbers: benchmarks/README.md):

- the sum must be an AddN: a plain Add is fused only where the optimiser can prove that nothing broadcasts,
  which it cannot behind a strided convolution;
- strided layers are padded by an operation of their own, which fuses too; explicit padding of the
  convolution itself does not, and explicit padding of the pooling leaves oneDNN;
- the identity of option A is subsampled by a 1×1 pooling: a strided slice of bfloat16 is slow;
- the mean is subtracted row by row: three numbers broadcast over millions of pixels take twice as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_resnet.architectures import Conv, Stage
from keras_resnet.export.folding import FoldedNetwork


@dataclass(frozen=True)
class Outputs:
    """What the forward pass yields; all float32.

    `maps` are the last activations of the stages by name ("C2" … "C5", [N, h, w, channels]), `features`
    [N, channels] what the classifier sees, `probabilities` [N, classes]. `heatmap` [N, h, w] in 0…1 is
    the Grad-CAM of the most probable class on the last map, None for VGG: where the classifier reads the
    map's mean alone, the gradient of a class's logit is that class's column of the classifier.
    """

    maps: dict[str, tf.Tensor]
    features: tf.Tensor
    probabilities: tf.Tensor
    heatmap: tf.Tensor | None


class Forward:
    """The forward pass; called more than once inside one graph, it shares its constants."""

    def __init__(
        self,
        network: FoldedNetwork,
        precision: str = "float32",
        *,
        fused: bool = True,
        variables: Mapping[str, tf.Variable] | None = None,
    ):
        """Prepare it.

        Args:
            network: what to run.
            precision: of the convolutions' activations and weights, "float32" or "bfloat16"; input
                normalisation, pooled features and classifier are float32.
            fused: in the way that TensorFlow fuses best; otherwise in the plainest, for converters.
            variables: kernels of hidden dense layers by name, already of that precision, to use instead
                of constants.
        """
        self.network = network
        self.architecture = network.architecture
        self.dtype = tf.as_dtype(precision)
        self.fused = fused
        self.variables = variables or {}
        self.constants: dict[str, tf.Tensor] = {}

    def __call__(self, images: tf.Tensor, maps: bool = True) -> Outputs:
        """Run it on `images` [N, H, W, 3], RGB 0…255 of any number type.

        Without `maps`, what no later layer looks at is not computed either: where a stage begins with
        1×1 convolutions of stride 2, its predecessor's last block computes a quarter of its output.
        """
        x = tf.cast(self._normalize(tf.cast(images, tf.float32)), self.dtype)
        x = self._stem(x)
        found = {}
        sampled = False
        for number, stage in enumerate(self.architecture.stages, 1 if self._is_vgg else 2):
            if self._is_vgg:
                x = self._vgg_stage(stage, x)
                found[f"C{number}"] = tf.cast(x, tf.float32)
                x = tf.nn.max_pool2d(x, 2, 2, "VALID")
            else:
                sample = not maps and self._followed_by_sampling(stage)
                x = self._stage(stage, x, sampled, sample)
                sampled = sample
                found[f"C{number}"] = tf.cast(x, tf.float32)
        if self._is_vgg:
            x = tf.reshape(x, [-1, int(np.prod(x.shape[1:]))])
            features = tf.cast(self._dense(self._dense(x, "fc1"), "fc2"), tf.float32)
        else:
            features = tf.reduce_mean(tf.cast(x, tf.float32), [1, 2])
        head = self.network.layers["predictions"]
        kernel = self._constant("predictions_kernel", head.kernel, tf.float32)
        logits = tf.matmul(features, kernel) + tf.constant(head.bias)
        heatmap = None if self._is_vgg else _grad_cam(found[max(found)], kernel, logits)
        return Outputs(found if maps else {}, features, tf.nn.softmax(logits), heatmap)

    @property
    def leaves_out(self) -> bool:
        """Whether anything is left out without `maps`."""
        return any(self._followed_by_sampling(stage) for stage in self.architecture.stages)

    @property
    def _is_vgg(self) -> bool:
        return self.architecture.block == "vgg"

    def _followed_by_sampling(self, stage: Stage) -> bool:
        """Whether all that reads this stage's output reads every second row and column of it."""
        stages = self.architecture.stages
        later = stages[stages.index(stage) + 1 :]
        pointwise = self.architecture.block == "bottleneck" and self.architecture.downsample == "1x1"
        return pointwise and bool(later) and later[0].stride == 2

    def _constant(self, name: str, values: np.ndarray, dtype: tf.DType) -> tf.Tensor:
        if name not in self.constants:
            self.constants[name] = tf.constant(values, dtype, name=name)
        return self.constants[name]

    def _normalize(self, pixels: tf.Tensor) -> tf.Tensor:
        mean, std = self.network.mean, self.network.std
        if mean is not None:
            by_row = mean.ndim == 1 and self.fused
            pixels = _subtract_by_row(pixels, mean) if by_row else pixels - tf.constant(mean)
        if std is not None:
            pixels = pixels * tf.constant((1.0 / std.astype(np.float64)).astype(np.float32))
        return pixels

    def _conv(self, x: tf.Tensor, name: str, stride: int = 1) -> tf.Tensor:
        """The convolution alone, padded by half its kernel on every side."""
        kernel = self.network.layers[name].kernel
        pad = kernel.shape[0] // 2
        if stride > 1 and pad:
            x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        constant = self._constant(f"{name}_kernel", kernel, self.dtype)
        return tf.nn.conv2d(x, constant, stride, "VALID" if stride > 1 else "SAME", name=name)

    def _conv_relu(
        self, x: tf.Tensor, name: str, stride: int = 1, shortcut: tf.Tensor | None = None, *biases: str
    ) -> tf.Tensor:
        """Convolution, its bias and those of the layers `biases`, the shortcut, ReLU."""
        bias = np.sum([self.network.layers[layer].bias for layer in (name, *biases)], axis=0)
        x = tf.nn.bias_add(self._conv(x, name, stride), self._constant(f"{name}_bias", bias, self.dtype))
        if shortcut is not None:
            x = tf.raw_ops.AddN(inputs=[x, shortcut]) if self.fused else x + shortcut
        return tf.nn.relu(x)

    def _dense(self, x: tf.Tensor, name: str) -> tf.Tensor:
        layer = self.network.layers[name]
        kernel = self.variables.get(name)
        if kernel is None:
            kernel = self._constant(f"{name}_kernel", layer.kernel, self.dtype)
        x = tf.matmul(x, kernel)
        return tf.nn.relu(tf.nn.bias_add(x, self._constant(f"{name}_bias", layer.bias, self.dtype)))

    def _stem(self, x: tf.Tensor) -> tf.Tensor:
        if self._is_vgg:
            return x
        if self.architecture.family == "cifar":
            return self._conv_relu(x, "conv1_conv")
        x = self._conv_relu(x, "conv1_conv", 2)
        # After ReLU, zeros never win the maximum.
        return tf.nn.max_pool2d(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), 3, 2, "VALID")

    def _vgg_stage(self, stage: Stage, x: tf.Tensor) -> tf.Tensor:
        for index in range(1, stage.blocks + 1):
            x = self._conv_relu(x, f"{stage.name}_conv{index}")
        return x

    def _stage(self, stage: Stage, x: tf.Tensor, sampled: bool, sample: bool) -> tf.Tensor:
        """One stage; `sampled`: its stride has been taken already, `sample`: take that of the next one."""
        for index in range(1, stage.blocks + 1):
            stride = stage.stride if index == 1 and not sampled else 1
            x = self._block(stage, index, x, stride, 2 if sample and index == stage.blocks else 1)
        return x

    def _block(self, stage: Stage, index: int, x: tf.Tensor, stride: int, sampling: int) -> tf.Tensor:
        """One residual block, or its plain twin; `sampling` is the stride that its output is taken with."""
        prefix = f"{stage.name}_block{index}"
        inputs, outputs = x.shape[-1], stage.filters * self.architecture.expansion
        convs: tuple[Conv, ...] = self.architecture.block_convs(stage.filters, inputs, stride)
        shortcut: tf.Tensor | None = x
        biases: tuple[str, ...] = ()
        if self.architecture.shortcut is None:
            shortcut = None
        elif self.architecture.has_projection(inputs, outputs, stage.stride if index == 1 else 1):
            # Its bias joins that of the last convolution, so that the shortcut is one bare kernel.
            biases = (f"{prefix}_shortcut_conv",)
            shortcut = self._conv(x, *biases, stride * sampling)
        else:
            if stride * sampling > 1:
                shortcut = tf.nn.max_pool2d(x, 1, stride * sampling, "VALID")
            if inputs != outputs:
                shortcut = tf.pad(shortcut, [[0, 0], [0, 0], [0, 0], [0, outputs - inputs]])
        for number, conv in enumerate(convs[:-1], 1):
            # What comes after the last 3×3 convolution is pointwise, so sampling can be done by it.
            extra = sampling if number == len(convs) - 1 else 1
            x = self._conv_relu(x, f"{prefix}_{conv.name}", conv.stride * extra)
        last = convs[-1]
        return self._conv_relu(x, f"{prefix}_{last.name}", last.stride, shortcut, *biases)


def _subtract_by_row(pixels: tf.Tensor, mean: np.ndarray) -> tf.Tensor:
    """`pixels` [N, H, W, 3] − `mean` [3], as rows of W·3 numbers."""
    width = pixels.shape[2]
    row = tf.tile(tf.constant(mean), [tf.shape(pixels)[2] if width is None else width])
    flat = tf.reshape(pixels, tf.stack([-1, tf.size(row)])) - row
    centred = tf.reshape(flat, tf.shape(pixels))
    centred.set_shape(pixels.shape)
    return centred


def _grad_cam(feature_map: tf.Tensor, kernel: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    weights = tf.gather(kernel, tf.argmax(logits, 1), axis=1)  # [channels, N]
    heat = tf.nn.relu(tf.einsum("nhwc,cn->nhw", feature_map, weights))
    return tf.math.divide_no_nan(heat, tf.reduce_max(heat, [1, 2], keepdims=True))

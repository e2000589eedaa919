"""A folded network as a plain TensorFlow graph of constants: what TensorFlow's CPU fusion likes best.

Each layer is conv → bias → (+ shortcut) → ReLU on constant weights, which TensorFlow's graph optimiser turns
into one fused oneDNN kernel. What it takes for that, as of TensorFlow 2.21:

- the sum must be an AddN: a plain Add is fused only where the optimiser can prove that nothing broadcasts,
  which it cannot behind a strided convolution;
- strided layers are padded by an operation of their own, which fuses too; explicit padding of the
  convolution itself does not (ResNet-50 in float32, one image: 46 ms instead of 29), and explicit padding
  of the pooling leaves oneDNN (a batch of 16 in bfloat16: 172 ms instead of 133);
- the identity of option A is subsampled by a 1×1 pooling: a strided slice of bfloat16 is slow.
"""

from __future__ import annotations

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


def forward(
    network: FoldedNetwork, images: tf.Tensor, precision: str = "float32", *, addn: bool = True
) -> Outputs:
    """The forward pass on `images` [N, H, W, 3], RGB 0…255 of any number type.

    `precision` ("float32", "bfloat16") is that of the convolutions' activations and weights; input
    normalisation, pooled features and classifier are float32. Other formats than TensorFlow's own want
    their shortcuts added by a plain Add (`addn=False`).
    """
    return _Forward(network, tf.as_dtype(precision), addn)(images)


class _Forward:
    def __init__(self, network: FoldedNetwork, dtype: tf.DType, addn: bool):
        self.network = network
        self.add = (lambda x, y: tf.raw_ops.AddN(inputs=[x, y])) if addn else tf.add
        self.architecture = network.architecture
        self.dtype = dtype

    def __call__(self, images: tf.Tensor) -> Outputs:
        x = tf.cast(self._normalize(tf.cast(images, tf.float32)), self.dtype)
        maps = {}
        x = self._stem(x)
        for number, stage in enumerate(self.architecture.stages, 1 if self._is_vgg else 2):
            x = self._vgg_stage(stage, x) if self._is_vgg else self._stage(stage, x)
            maps[f"C{number}"] = tf.cast(x, tf.float32)
            if self._is_vgg:
                x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        if self._is_vgg:
            x = tf.reshape(x, [-1, int(np.prod(x.shape[1:]))])
            features = tf.cast(self._dense(self._dense(x, "fc1"), "fc2"), tf.float32)
        else:
            features = tf.reduce_mean(tf.cast(x, tf.float32), [1, 2])
        head = self.network.layers["predictions"]
        kernel = tf.constant(head.kernel)
        logits = tf.matmul(features, kernel) + tf.constant(head.bias)
        heatmap = None if self._is_vgg else _grad_cam(maps[max(maps)], kernel, logits)
        return Outputs(maps, features, tf.nn.softmax(logits), heatmap)

    @property
    def _is_vgg(self) -> bool:
        return self.architecture.block == "vgg"

    def _normalize(self, pixels: tf.Tensor) -> tf.Tensor:
        if self.network.mean is not None:
            pixels = pixels - tf.constant(self.network.mean)
        if self.network.std is not None:
            pixels = pixels * tf.constant((1.0 / self.network.std.astype(np.float64)).astype(np.float32))
        return pixels

    def _conv(self, x: tf.Tensor, name: str, stride: int = 1) -> tf.Tensor:
        """The convolution alone, padded by half its kernel on every side."""
        kernel = self.network.layers[name].kernel
        pad = kernel.shape[0] // 2
        if stride > 1 and pad:
            x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        constant = tf.constant(kernel, self.dtype, name=f"{name}_kernel")
        return tf.nn.conv2d(x, constant, stride, "VALID" if stride > 1 else "SAME", name=name)

    def _conv_relu(
        self, x: tf.Tensor, name: str, stride: int = 1, shortcut: tf.Tensor | None = None, *biases: str
    ) -> tf.Tensor:
        """Convolution, its bias and those of the layers `biases`, the shortcut, ReLU."""
        bias = sum(self.network.layers[layer].bias for layer in (name, *biases))
        x = tf.nn.bias_add(self._conv(x, name, stride), tf.constant(bias, self.dtype, name=f"{name}_bias"))
        return tf.nn.relu(x if shortcut is None else self.add(x, shortcut))

    def _dense(self, x: tf.Tensor, name: str) -> tf.Tensor:
        layer = self.network.layers[name]
        x = tf.matmul(x, tf.constant(layer.kernel, self.dtype))
        return tf.nn.relu(tf.nn.bias_add(x, tf.constant(layer.bias, self.dtype)))

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

    def _stage(self, stage: Stage, x: tf.Tensor) -> tf.Tensor:
        for index in range(1, stage.blocks + 1):
            x = self._block(stage, index, x)
        return x

    def _block(self, stage: Stage, index: int, x: tf.Tensor) -> tf.Tensor:
        """One residual block, or its plain twin."""
        prefix = f"{stage.name}_block{index}"
        stride = stage.stride if index == 1 else 1
        inputs, outputs = x.shape[-1], stage.filters * self.architecture.expansion
        convs: tuple[Conv, ...] = self.architecture.block_convs(stage.filters, inputs, stride)
        shortcut: tf.Tensor | None = x
        biases: tuple[str, ...] = ()
        if self.architecture.shortcut is None:
            shortcut = None
        elif self.architecture.has_projection(inputs, outputs, stride):
            # Its bias joins that of the last convolution, so that the shortcut is one bare kernel.
            biases = (f"{prefix}_shortcut_conv",)
            shortcut = self._conv(x, *biases, stride)
        elif stride != 1 or inputs != outputs:
            shortcut = tf.nn.max_pool2d(x, 1, stride, "VALID") if stride > 1 else x
            shortcut = tf.pad(shortcut, [[0, 0], [0, 0], [0, 0], [0, outputs - inputs]])
        for conv in convs[:-1]:
            x = self._conv_relu(x, f"{prefix}_{conv.name}", conv.stride)
        last = convs[-1]
        return self._conv_relu(x, f"{prefix}_{last.name}", last.stride, shortcut, *biases)


def _grad_cam(feature_map: tf.Tensor, kernel: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    weights = tf.gather(kernel, tf.argmax(logits, 1), axis=1)  # [channels, N]
    heat = tf.nn.relu(tf.einsum("nhwc,cn->nhw", feature_map, weights))
    return tf.math.divide_no_nan(heat, tf.reduce_max(heat, [1, 2], keepdims=True))

"""From an `Architecture` to a `keras.Model`: stem, stages of blocks, head, in the paper's order.

Layer names are like those of keras.applications: `conv1_conv`, `conv2_block1_conv1` (there
`conv2_block1_1_conv`), `conv2_block1_bn1`, … `conv5_block3_out`, `avg_pool`, `predictions`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from keras_resnet.architectures import Architecture, Stage
from keras_resnet.errors import UsageError
from keras_resnet.layers import (
    BN_EPSILON,
    BN_MOMENTUM,
    BatchNormalization,
    InputNormalization,
    ZeroPaddingShortcut,
    he_normal,
)
from keras_resnet.scanned import ScannedBlocks

NHWC = "channels_last"  # whatever keras.config.image_data_format() says: all our layers and files are NHWC
SCAN_FROM = 64  # identical blocks in a stage; fewer run faster unrolled and can be read layer by layer


def build_model(
    architecture: Architecture,
    *,
    include_top: bool = True,
    input_tensor: Any = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int | None = None,
    classifier_activation: str | Callable[..., Any] | None = "softmax",
    name: str | None = None,
    mean: Any = None,
    std: Any = None,
    scanned: bool | None = None,
    remat: bool = False,
    zero_init_residual: bool = False,
) -> keras.Model:
    """Build the network with He-initialised weights.

    Args:
        architecture: what to build.
        include_top: with the classifier, or up to the last feature map (see `pooling`).
        input_tensor: a Keras tensor [N, H, W, C] to build upon.
        input_shape: (H, W, channels), None for a side that may vary.
        pooling: without top: None for the feature map, "avg" or "max" for a vector.
        classes: outputs of the classifier; the architecture's own number by default.
        classifier_activation: "softmax", or None for logits.
        name: name of the model; the architecture's by default.
        mean: of the raw RGB input, [3] or [H, W, 3]; with `std` it makes the first layer. None: the
            input is used as it is.
        std: likewise, divided by.
        scanned: run a stage's identical blocks as one layer with stacked weights (`scanned.py`);
            None: in stages of `SCAN_FROM` such blocks or more.
        remat: in scanned stages, compute activations again in the backward pass to save memory.
        zero_init_residual: start the last BN scale of each residual branch at 0 (not in the paper).

    Returns:
        A functional model, [N, H, W, 3] RGB 0…255 → [N, classes] probabilities.
    """
    if input_shape is None:
        input_shape = (None, None, 3)
    image = input_tensor if input_tensor is not None else layers.Input(input_shape, name="image")
    if input_tensor is not None and not keras.backend.is_keras_tensor(input_tensor):
        image = layers.Input(tensor=input_tensor, name="image")
    x = image
    if mean is not None:
        x = InputNormalization(mean, 1.0 if std is None else std, name="normalization")(x)

    if architecture.block == "vgg":
        x = _vgg_body(architecture, x)
    else:
        x = _stem(architecture, x)
        for stage in architecture.stages:
            x = _stage(architecture, stage, x, scanned, remat, zero_init_residual)

    if include_top:
        x = _vgg_head(x) if architecture.block == "vgg" else _pool("avg")(x)
        # The classifier runs in float32 under every precision: it is small, and losses need it.
        x = layers.Dense(
            classes or architecture.default_classes,
            activation=classifier_activation,
            kernel_initializer=he_normal(),
            dtype="float32",
            name="predictions",
        )(x)
    elif pooling is not None:
        x = _pool(pooling)(x)

    if input_tensor is not None:
        sources = keras.utils.get_source_inputs(image)
        image = sources[0] if len(sources) == 1 else sources
    try:
        return keras.Model(image, x, name=name or architecture.name)
    except ValueError as error:
        if '"normalization" is used' not in str(error):  # Keras' own name for its first Normalization layer
            raise
        raise UsageError(
            'a layer of `input_tensor` is called "normalization", as our first one is: give it another name, '
            "or pass include_preprocessing=False"
        ) from error


def _pool(pooling: str) -> keras.layers.Layer:
    if pooling == "avg":
        return layers.GlobalAveragePooling2D(NHWC, name="avg_pool")
    return layers.GlobalMaxPooling2D(NHWC, name="max_pool")


def _conv(x: Any, filters: int, kernel: int, stride: int, name: str) -> Any:
    """Convolution without bias, padded by half the kernel on every side (as Caffe and torch do).

    Keras' "same" pads strided layers on one side only; the two agree at stride 1. A 1×1 convolution of
    stride 2 reads every second pixel: taking those first leaves one of stride 1, whose gradients are faster.
    """
    if kernel > 1 and stride > 1:
        x = layers.ZeroPadding2D(kernel // 2, NHWC, name=f"{name}_pad")(x)
    elif stride > 1:
        x = layers.AveragePooling2D(1, stride, data_format=NHWC, name=f"{name}_subsample")(x)
        stride = 1
    return layers.Conv2D(
        filters,
        kernel,
        stride,
        padding="valid" if stride > 1 else "same",
        data_format=NHWC,
        use_bias=False,
        kernel_initializer=he_normal(),
        name=name,
    )(x)


def _batch_norm(x: Any, name: str, gamma: str = "ones") -> Any:
    return BatchNormalization(momentum=BN_MOMENTUM, epsilon=BN_EPSILON, gamma_initializer=gamma, name=name)(x)


def _stem(architecture: Architecture, x: Any) -> Any:
    """conv1 of Table 1: 7×7/2 and 3×3/2 max pooling for ImageNet, 3×3 for CIFAR."""
    if architecture.family == "cifar":
        x = _conv(x, 16, 3, 1, "conv1_conv")
    else:
        x = _conv(x, 64, 7, 2, "conv1_conv")
    x = _batch_norm(x, "conv1_bn")
    x = layers.ReLU(name="conv1_relu")(x)
    if architecture.family == "imagenet":
        x = layers.ZeroPadding2D(1, NHWC, name="pool1_pad")(x)  # after ReLU, zeros never win the maximum
        x = layers.MaxPooling2D(3, 2, data_format=NHWC, name="pool1_pool")(x)
    return x


def _stage(
    architecture: Architecture,
    stage: Stage,
    x: Any,
    scanned: bool | None,
    remat: bool,
    zero_init_residual: bool,
) -> Any:
    """conv2_x … conv5_x: the first block may shrink the map, all others keep its shape."""
    x = _block(architecture, stage, 1, x, zero_init_residual)
    rest = stage.blocks - 1
    if scanned is None:
        scanned = rest >= SCAN_FROM
    if scanned and rest > 0:
        outputs = stage.filters * architecture.expansion
        convs = architecture.block_convs(stage.filters, outputs, 1)
        return ScannedBlocks(
            rest,
            [conv.kernel for conv in convs],
            [conv.outputs for conv in convs],
            shortcut=architecture.shortcut is not None,
            remat=remat,
            projection=architecture.shortcut == "C",
            zero_init_residual=zero_init_residual and architecture.shortcut is not None,
            name=f"{stage.name}_blocks",
        )(x)
    for index in range(2, stage.blocks + 1):
        x = _block(architecture, stage, index, x, zero_init_residual)
    return x


def _block(architecture: Architecture, stage: Stage, index: int, x: Any, zero_init_residual: bool) -> Any:
    """One residual block (Fig. 5), or its plain twin: convolutions, BN after each, ReLU after addition."""
    prefix = f"{stage.name}_block{index}"
    stride = stage.stride if index == 1 else 1
    inputs, outputs = x.shape[-1], stage.filters * architecture.expansion
    shortcut = x
    convs = architecture.block_convs(stage.filters, inputs, stride)
    for number, conv in enumerate(convs, 1):
        last = number == len(convs)
        x = _conv(x, conv.outputs, conv.kernel, conv.stride, f"{prefix}_conv{number}")
        gamma = "zeros" if last and zero_init_residual and architecture.shortcut else "ones"
        x = _batch_norm(x, f"{prefix}_bn{number}", gamma)
        if not last:
            x = layers.ReLU(name=f"{prefix}_relu{number}")(x)
    if architecture.shortcut is not None:
        if architecture.has_projection(inputs, outputs, stride):
            shortcut = _conv(shortcut, outputs, 1, stride, f"{prefix}_shortcut_conv")
            shortcut = _batch_norm(shortcut, f"{prefix}_shortcut_bn")
        elif stride != 1 or inputs != outputs:
            shortcut = ZeroPaddingShortcut(outputs, stride, name=f"{prefix}_shortcut")(shortcut)
        x = layers.Add(name=f"{prefix}_add")([x, shortcut])
    return layers.ReLU(name=f"{prefix}_out")(x)


def _vgg_body(architecture: Architecture, x: Any) -> Any:
    """VGG-16/19 as published: 3×3 convolutions with biases, no batch normalisation."""
    for stage in architecture.stages:
        for index in range(1, stage.blocks + 1):
            x = layers.Conv2D(
                stage.filters,
                3,
                padding="same",
                data_format=NHWC,
                activation="relu",
                kernel_initializer=he_normal(),
                name=f"{stage.name}_conv{index}",
            )(x)
        x = layers.MaxPooling2D(2, 2, data_format=NHWC, name=f"{stage.name}_pool")(x)
    return x


def _vgg_head(x: Any) -> Any:
    x = layers.Flatten(NHWC, name="flatten")(x)
    for name in ("fc1", "fc2"):
        x = layers.Dense(4096, activation="relu", kernel_initializer=he_normal(), name=name)(x)
    return x

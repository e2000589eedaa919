"""What the arguments of an application must be, as keras.applications checks them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import keras

from keras_resnet.architectures import Architecture
from keras_resnet.errors import UsageError

# Networks for which official ImageNet weights exist (weights/hub.py knows the files).
OFFICIAL = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "vgg16", "vgg19")


def check_arguments(
    architecture: Architecture,
    include_top: bool,
    pooling: str | None,
    classes: int,
    classifier_activation: Any,
    weights: Any,
) -> None:
    """All but the input's shape.

    Raises:
        UsageError: one makes no sense; the message says which and what would.
    """
    name = architecture.name
    if pooling not in (None, "avg", "max"):
        raise UsageError(f'{name}: `pooling` must be None, "avg" or "max", not {pooling!r}')
    if not isinstance(classes, Integral) or classes < 1:
        raise UsageError(f"{name}: `classes` must be a whole number, 1 or more, not {classes!r}")
    if weights is None:
        return
    if weights != "imagenet":
        if not isinstance(weights, str | os.PathLike):
            raise UsageError(f'{name}: `weights` must be None, "imagenet" or a path, not {weights!r}')
        if not Path(weights).is_file():
            raise UsageError(
                f'{name}: `weights` must be None, "imagenet" or the path of a file; there is no file '
                f"{os.fspath(weights)!r}"
            )
        return
    if name not in OFFICIAL:
        raise UsageError(
            f"there are no official ImageNet weights for {name}; pass weights=None or a file "
            f"(official ones exist for {', '.join(OFFICIAL)})"
        )
    if include_top and classes != 1000:
        raise UsageError(
            f'{name}: with weights="imagenet" and include_top=True, `classes` must be 1000, not '
            f"{classes}; use include_top=False and add your own classifier"
        )
    known = (keras.activations.softmax, keras.activations.linear)
    if include_top and keras.activations.get(classifier_activation) not in known:
        raise UsageError(
            f'{name}: the official weights were trained for `classifier_activation` "softmax" or None, '
            f"not {classifier_activation!r}"
        )


def check_input_shape(
    architecture: Architecture,
    include_top: bool,
    input_tensor: Any,
    input_shape: Sequence[int | None] | None,
    any_channels: bool,
) -> None:
    """The input fits the network.

    Raises:
        UsageError: it does not.
    """
    name = architecture.name
    if input_tensor is not None and input_shape is None:
        input_shape = tuple(input_tensor.shape[1:])
    if input_shape is None:
        return
    if len(input_shape) != 3 or (input_shape[-1] != 3 and not any_channels):
        raise UsageError(f"{name}: `input_shape` must be (height, width, 3), not {tuple(input_shape)}")
    smallest = architecture.minimum_image_size
    for side in input_shape[:2]:
        if side is not None and side < smallest:
            raise UsageError(
                f"{name}: input size must be at least {smallest}x{smallest}, "
                f"not {input_shape[0]}x{input_shape[1]}"
            )
        if side is None and architecture.block == "vgg" and include_top:
            raise UsageError(f"{name} with its top needs a fixed `input_shape`, such as (224, 224, 3)")

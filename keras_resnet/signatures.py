"""The signatures of `ResNet50()` and its kin, for `help()`, editors and type checkers alike.

`applications.py` makes the functions and takes their arguments from here, so what a type checker sees is
what runs. A default of `...` differs from network to network.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal, Protocol

import keras

from keras_resnet.architectures import Downsample, Shortcut

Weights = str | os.PathLike[str] | None
InputShape = tuple[int | None, int | None, int]
Pooling = Literal["avg", "max"]
Activation = str | Callable[..., Any] | None


class Network(Protocol):
    """A plain network or a VGG: the arguments of `keras.applications`, and `include_preprocessing`."""

    __name__: str

    def __call__(
        self,
        include_top: bool = True,
        weights: Weights = ...,
        input_tensor: Any = None,
        input_shape: InputShape | None = None,
        pooling: Pooling | None = None,
        classes: int | None = ...,
        classifier_activation: Activation = "softmax",
        name: str | None = ...,
        *,
        include_preprocessing: bool = True,
    ) -> keras.Model:
        """Build the network; `keras_resnet.build` explains the arguments."""
        ...


class ResidualNetwork(Network, Protocol):
    """A network with shortcuts, which has an option for them."""

    def __call__(
        self,
        include_top: bool = True,
        weights: Weights = ...,
        input_tensor: Any = None,
        input_shape: InputShape | None = None,
        pooling: Pooling | None = None,
        classes: int | None = ...,
        classifier_activation: Activation = "softmax",
        name: str | None = ...,
        *,
        shortcut: Shortcut | None = ...,
        include_preprocessing: bool = True,
    ) -> keras.Model:
        """Build the network; `keras_resnet.build` explains the arguments."""
        ...


class BottleneckNetwork(ResidualNetwork, Protocol):
    """A residual network of bottlenecks, whose strides may be in either of two convolutions."""

    def __call__(
        self,
        include_top: bool = True,
        weights: Weights = ...,
        input_tensor: Any = None,
        input_shape: InputShape | None = None,
        pooling: Pooling | None = None,
        classes: int | None = ...,
        classifier_activation: Activation = "softmax",
        name: str | None = ...,
        *,
        shortcut: Shortcut | None = ...,
        downsample: Downsample | None = ...,
        include_preprocessing: bool = True,
    ) -> keras.Model:
        """Build the network; `keras_resnet.build` explains the arguments."""
        ...

"""Every network with the signature of `keras.applications`: `ResNet50()`, `Plain34(classes=10)`, …

A network takes raw RGB pixels 0…255 ([N, H, W, 3], uint8 or float32): the normalisation that its weights
were trained with is its first layer, so `preprocess_input` changes nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_resnet.architectures import (
    ARCHITECTURES,
    Downsample,
    Shortcut,
    get_architecture,
)
from keras_resnet.arguments import OFFICIAL, check_arguments, check_input_shape
from keras_resnet.builders import build_model
from keras_resnet.errors import UsageError
from keras_resnet.imagenet import IMAGENET_CLASSES, IMAGENET_MEAN, IMAGENET_STD
from keras_resnet.signatures import (
    Activation,
    BottleneckNetwork,
    InputShape,
    Network,
    Pooling,
    ResidualNetwork,
    Weights,
)

_DEFAULT = "default"


def build(
    name: str,
    include_top: bool = True,
    weights: Weights = _DEFAULT,
    input_tensor: Any = None,
    input_shape: InputShape | None = None,
    pooling: Pooling | None = None,
    classes: int | None = None,
    classifier_activation: Activation = "softmax",
    model_name: str | None = None,
    *,
    shortcut: Shortcut | None = None,
    downsample: Downsample | None = None,
    include_preprocessing: bool = True,
) -> keras.Model:
    """Build the network `name` ("resnet50", "plain34", "vgg19", "resnet20", …).

    Args:
        name: one of `keras_resnet.architectures.ARCHITECTURES`.
        include_top: with the classifier at the end.
        weights: None for He initialisation, "imagenet" for the official weights (the default where
            there are any), or the path of a weights file of any kind that `weights.import_weights` reads,
            or of one of our own (`.keras`, `.weights.h5`).
        input_tensor: a Keras tensor to build upon.
        input_shape: (H, W, 3); sides may be None, which is the default, except for VGG with its top. Without
            weights and preprocessing any number of channels.
        pooling: without top: None (feature map), "avg" or "max".
        classes: outputs of the classifier; 1000 (ImageNet) or 10 (CIFAR) by default.
        classifier_activation: "softmax" or None for logits.
        model_name: the model's name; `name` by default.
        shortcut: option "A" (zero-padded identity), "B" (projection where dimensions grow) or "C"
            (projection everywhere), Sec. 3.3; by default B for ImageNet and A for CIFAR networks.
        downsample: where a bottleneck has its stride: "1x1" (the authors' models) or "3x3" (torchvision).
        include_preprocessing: with the normalisation of raw RGB input as the first layer. Without, the
            official weights of ResNet-50/101/152 and VGG want RGB − (123.68, 116.779, 103.939): not the BGR
            that `keras.applications`' `preprocess_input` gives.

    Returns:
        A `keras.Model`, [N, H, W, 3] → [N, classes].

    Raises:
        ValueError: an argument makes no sense; the message says which and what would.

    Example:
        >>> model = keras_resnet.build("resnet20", weights=None)
        >>> model(np.zeros((1, 32, 32, 3), "uint8")).shape
        TensorShape([1, 10])
    """
    architecture = get_architecture(name, shortcut, downsample)
    if isinstance(weights, str) and weights == _DEFAULT:
        weights = "imagenet" if name in OFFICIAL else None
    classes = architecture.default_classes if classes is None else classes
    check_arguments(architecture, include_top, pooling, classes, classifier_activation, weights)
    free = weights is None and not include_preprocessing
    check_input_shape(architecture, include_top, input_tensor, input_shape, any_channels=free)
    mean: Any = IMAGENET_MEAN
    std: Any = IMAGENET_STD
    state = None
    if weights is not None:
        from keras_resnet.weights.initial import initial_state

        shape = input_shape if input_tensor is None else input_tensor.shape[1:]
        state = initial_state(weights, architecture, shape and shape[:2], include_top)
        mean, std = state["normalization/mean"], state["normalization/std"]
        if mean.ndim == 3 and shape is None:
            input_shape = mean.shape  # a mean image fits images of its own size
    if input_tensor is None and architecture.block == "vgg" and include_top:
        input_shape = input_shape or (224, 224, 3)
    model = build_model(
        architecture,
        include_top=include_top,
        input_tensor=input_tensor,
        input_shape=input_shape,
        pooling=pooling,
        classes=int(classes),  # NumPy's integers are not JSON, which a saved model is
        classifier_activation=classifier_activation,
        name=model_name,
        mean=mean if include_preprocessing else None,
        std=std if include_preprocessing else None,
    )
    if weights is not None:
        from keras_resnet.weights import load_into

        load_into(model, weights, architecture, state)
    return model


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Return `x` as it is: the models normalise raw RGB 0…255 themselves.

    Kept, as newer Keras applications keep theirs, so that one piece of code serves every network.

    Args:
        x: images, as any array or tensor.
        data_format: ignored.
    """
    return x


def decode_predictions(
    preds: Any, top: int = 5, label_names: Sequence[str] | None = None
) -> list[list[tuple[str, str, float]]]:
    """The `top` classes of each row of `preds` [N, classes], best first.

    Args:
        preds: probabilities or logits, [N, classes].
        top: classes to return for each image.
        label_names: names of the classes in the order of `preds`; None: ImageNet's 1000.

    Returns:
        For every image a list of (class id, label, score); the class id is the WordNet id for
        ImageNet, and the label again where `label_names` are given.

    Raises:
        ValueError: `preds` is not [N, 1000] and no `label_names` of that number were given.
    """
    scores = np.asarray(preds)
    if label_names is None:
        if scores.ndim != 2 or scores.shape[1] != 1000:
            raise UsageError(
                "decode_predictions needs predictions of shape [N, 1000], or `label_names`; "
                f"got shape {scores.shape}"
            )
        names: Sequence[tuple[str, str]] = IMAGENET_CLASSES
    else:
        names = [(label, label) for label in label_names]
        if scores.ndim != 2 or scores.shape[1] != len(names):
            raise UsageError(f"{len(names)} label names for predictions of shape {scores.shape}")
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return [
        [(*names[index], float(row[index])) for index in indices]
        for row, indices in zip(scores, best, strict=True)
    ]


def _application(function_name: str) -> Any:
    """`build` with the network's name and defaults filled in, and a signature of `signatures.py`."""
    architecture = ARCHITECTURES[function_name.lower()]
    kind: type = Network
    if architecture.shortcut is not None:
        kind = BottleneckNetwork if architecture.block == "bottleneck" else ResidualNetwork
    defaults = {
        "weights": "imagenet" if architecture.name in OFFICIAL else None,
        "classes": architecture.default_classes,
        "name": architecture.name,
        "shortcut": architecture.shortcut,
        "downsample": architecture.downsample,
    }
    signature = inspect.signature(kind.__call__, eval_str=True)
    _, *parameters = signature.parameters.values()  # without `self`
    signature = signature.replace(
        parameters=[p.replace(default=defaults.get(p.name, p.default)) for p in parameters]
    )

    def application(*args: Any, **kwargs: Any) -> keras.Model:
        try:
            arguments = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{function_name}() {error}") from None
        if "name" in arguments:
            arguments["model_name"] = arguments.pop("name")
        return build(architecture.name, **arguments)

    application.__name__ = application.__qualname__ = function_name
    application.__signature__ = signature  # type: ignore[attr-defined]
    application.__doc__ = (
        f"{function_name}: the {architecture.depth}-layer "
        f"{'VGG' if architecture.block == 'vgg' else 'residual' if architecture.shortcut else 'plain'}"
        f" network for {'ImageNet' if architecture.family == 'imagenet' else 'CIFAR'}, "
        f"{architecture.parameters():,} parameters.\n\n"
        "Arguments, result and errors are those of `keras_resnet.build`, the name left out."
    )
    return application


ResNet18: ResidualNetwork = _application("ResNet18")
ResNet34: ResidualNetwork = _application("ResNet34")
ResNet50: BottleneckNetwork = _application("ResNet50")
ResNet101: BottleneckNetwork = _application("ResNet101")
ResNet152: BottleneckNetwork = _application("ResNet152")
ResNet20: ResidualNetwork = _application("ResNet20")
ResNet32: ResidualNetwork = _application("ResNet32")
ResNet44: ResidualNetwork = _application("ResNet44")
ResNet56: ResidualNetwork = _application("ResNet56")
ResNet110: ResidualNetwork = _application("ResNet110")
ResNet1202: ResidualNetwork = _application("ResNet1202")
Plain18: Network = _application("Plain18")
Plain34: Network = _application("Plain34")
Plain20: Network = _application("Plain20")
Plain32: Network = _application("Plain32")
Plain44: Network = _application("Plain44")
Plain56: Network = _application("Plain56")
Plain110: Network = _application("Plain110")
VGG16: Network = _application("VGG16")
VGG19: Network = _application("VGG19")

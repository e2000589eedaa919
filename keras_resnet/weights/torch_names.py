"""torch's names and layouts for our networks: torchvision, timm, and CIFAR checkpoints in akamaster's style.

A torch state dict names layers by position (`layer1.0.conv1.weight`) and stores convolutions as
[out, in, k, k] and linear layers as [out, in]; the mapping to neutral names (`weights/state.py`) is derived
from the `Architecture`. Transposing loses nothing: there and back is bit-equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import numpy as np

from keras_resnet.architectures import Architecture
from keras_resnet.weights.shapes import expected_shapes, norm_of, vgg_image_size
from keras_resnet.weights.state import State, check_tensors

Padding = Literal["both", "end"]

_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
_WRAPPERS = re.compile(r"^((module|_orig_mod|model)\.)+")  # DataParallel, torch.compile, Lightning
_TIMM_VGG = {"pre_logits.fc1": "classifier.0", "pre_logits.fc2": "classifier.3", "head.fc": "classifier.6"}
_COUNTER = "num_batches_tracked"


def torch_names(
    architecture: Architecture, classifier: str = "fc", projection: str = "downsample"
) -> dict[str, str]:
    """Neutral name → torch name of every tensor of the network.

    Args:
        architecture: which network.
        classifier: what the file calls the last layer: "fc" (torchvision, timm) or "linear" (akamaster).
        projection: what it calls the projection of a shortcut: "downsample" or "shortcut" (akamaster).
    """
    if architecture.block == "vgg":
        return _vgg_names(architecture)
    names = {}
    for conv in architecture.convs():
        if conv.name == "predictions":
            names["predictions/kernel"] = f"{classifier}.weight"
            names["predictions/bias"] = f"{classifier}.bias"
            continue
        torch_conv, torch_norm = _block_names(conv.name, projection)
        names[f"{conv.name}/kernel"] = f"{torch_conv}.weight"
        for torch_name, name in _NORM.items():
            names[f"{norm_of(conv.name)}/{name}"] = f"{torch_norm}.{torch_name}"
    return names


def _block_names(layer: str, projection: str) -> tuple[str, str]:
    """conv3_block2_conv1 → (layer2.1.conv1, layer2.1.bn1)."""
    if layer == "conv1_conv":
        return "conv1", "bn1"
    match = re.fullmatch(r"conv(\d+)_block(\d+)_(?:conv(\d)|shortcut_conv)", layer)
    assert match is not None, layer
    stage, block, number = match.groups()
    prefix = f"layer{int(stage) - 1}.{int(block) - 1}"
    if number is None:
        return f"{prefix}.{projection}.0", f"{prefix}.{projection}.1"
    return f"{prefix}.conv{number}", f"{prefix}.bn{number}"


def _vgg_names(architecture: Architecture) -> dict[str, str]:
    names, position = {}, 0
    for stage in architecture.stages:
        for index in range(1, stage.blocks + 1):
            for name, torch_name in (("kernel", "weight"), ("bias", "bias")):
                names[f"{stage.name}_conv{index}/{name}"] = f"features.{position}.{torch_name}"
            position += 2  # convolution, ReLU
        position += 1  # pooling
    for layer, position in (("fc1", 0), ("fc2", 3), ("predictions", 6)):  # ReLU and dropout in between
        for name, torch_name in (("kernel", "weight"), ("bias", "bias")):
            names[f"{layer}/{name}"] = f"classifier.{position}.{torch_name}"
    return names


def from_torch(
    tensors: Mapping[str, np.ndarray], architecture: Architecture, padding: Padding | None = None
) -> State:
    """A torch state dict as a neutral state.

    Args:
        tensors: by torch name; prefixes of wrappers (`module.`) are taken off.
        architecture: the network that the tensors belong to.
        padding: where option A's shortcut got its zero channels: "both" sides or the "end"; by default "both"
            for files in akamaster's style (their last layer is called `linear`) and "end" for others.

    Raises:
        UserError: tensors are missing, surplus or of another shape; all are listed by name.
    """
    tensors = {_unwrapped(name): array for name, array in tensors.items()}
    tensors = {name: array for name, array in tensors.items() if not name.endswith(_COUNTER)}
    for name in ("classifier.0.weight", "classifier.3.weight"):
        if name in tensors and tensors[name].ndim == 4:  # timm's are convolutions of the whole map
            tensors[name] = tensors[name].reshape(len(tensors[name]), -1)
    akamaster = "linear.weight" in tensors
    names = torch_names(
        architecture,
        "linear" if akamaster else "fc",
        "shortcut" if any(".shortcut." in name for name in tensors) else "downsample",
    )
    classes = classes_in(tensors)
    image_size = None
    if "classifier.0.weight" in tensors:
        image_size = vgg_image_size(architecture, tensors["classifier.0.weight"].shape[-1])
    shapes = expected_shapes(architecture, classes, image_size)
    wanted = {names[name]: _torch_shape(shape) for name, shape in shapes.items()}
    check_tensors(f"this is not a {_described(architecture)} in torch's layout", tensors, wanted)
    state = {name: _to_keras(name, tensors[torch_name]) for name, torch_name in names.items()}
    if architecture.block == "vgg":
        state["fc1/kernel"] = _spatial_last(state["fc1/kernel"], architecture)
    if padding is None:
        padding = "both" if akamaster else "end"
    return permute_option_a(state, architecture) if padding == "both" else state


def to_torch(state: Mapping[str, np.ndarray], architecture: Architecture) -> dict[str, np.ndarray]:
    """A neutral state as a state dict that torchvision's model of that name loads with `strict=True`."""
    tensors = {}
    for name, torch_name in torch_names(architecture).items():
        array = state[name]
        if name == "fc1/kernel":
            array = _channels_first(array, architecture)
        tensors[torch_name] = np.ascontiguousarray(_to_torch(name, array))
        if torch_name.endswith("running_var"):
            counter = torch_name.replace("running_var", _COUNTER)
            tensors[counter] = np.zeros((), np.int64)
    return tensors


def permute_option_a(state: Mapping[str, np.ndarray], architecture: Architecture) -> State:
    """From a network whose option A pads zero channels on both sides to one that appends them at the end.

    With c channels padded to 2c, the former moves channel i to i + c/2, the latter leaves it at i. So
    the residual stream of every later stage holds the same channels in another order; renaming them in all
    weights that read or write the stream makes the networks equal, bit for bit.
    """
    if architecture.shortcut != "A" or architecture.block != "basic":
        return dict(state)
    state = dict(state)
    order = np.arange(architecture.stages[0].filters)  # order[i]: which of the file's channels is our i-th
    for index, stage in enumerate(architecture.stages):
        before = order
        if stage.filters != len(order):
            side = (stage.filters - len(order)) // 2
            order = np.concatenate(
                [order + side, np.arange(side), np.arange(stage.filters - side, stage.filters)]
            )
        for block in range(1, stage.blocks + 1):
            prefix = f"{stage.name}_block{block}"
            reads = before if block == 1 and index > 0 else order
            state[f"{prefix}_conv1/kernel"] = state[f"{prefix}_conv1/kernel"][:, :, reads]
            state[f"{prefix}_conv2/kernel"] = state[f"{prefix}_conv2/kernel"][..., order]
            for name in _NORM.values():
                state[f"{prefix}_bn2/{name}"] = state[f"{prefix}_bn2/{name}"][order]
    state["predictions/kernel"] = state["predictions/kernel"][order]
    return state


def classes_in(tensors: Mapping[str, np.ndarray]) -> int | None:
    """Outputs of the classifier in a torch state dict; None if it has none by a name known here."""
    for name, array in tensors.items():
        if _unwrapped(name) in ("fc.bias", "linear.bias", "classifier.6.bias"):
            return array.size
    return None


def is_akamaster(tensors: Mapping[str, np.ndarray]) -> bool:
    """Whether the tensors are named as in akamaster's CIFAR checkpoints."""
    return any(_unwrapped(name) == "linear.weight" for name in tensors)


def _unwrapped(name: str) -> str:
    """Without the prefixes of wrappers; timm's names of VGG's last layers as torchvision's."""
    layer, _, weight = _WRAPPERS.sub("", name).rpartition(".")
    return f"{_TIMM_VGG.get(layer, layer)}.{weight}" if layer else weight


def _described(architecture: Architecture) -> str:
    return architecture.name + (
        f" with shortcut option {architecture.shortcut}" if architecture.shortcut else ""
    )


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) == 4:
        height, width, inputs, outputs = shape
        return (outputs, inputs, height, width)
    return shape[::-1]


def _to_keras(name: str, array: np.ndarray) -> np.ndarray:
    if not name.endswith("/kernel"):
        return array
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.transpose(1, 0)


def _to_torch(name: str, array: np.ndarray) -> np.ndarray:
    if not name.endswith("/kernel"):
        return array
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.transpose(1, 0)


def _spatial_last(kernel: np.ndarray, architecture: Architecture) -> np.ndarray:
    """VGG's first connected layer reads a flattened map: torch's is [C, H, W], ours [H, W, C]."""
    channels = architecture.stages[-1].filters
    side = round((kernel.shape[0] / channels) ** 0.5)
    return kernel.reshape(channels, side, side, -1).transpose(1, 2, 0, 3).reshape(kernel.shape)


def _channels_first(kernel: np.ndarray, architecture: Architecture) -> np.ndarray:
    channels = architecture.stages[-1].filters
    side = round((kernel.shape[0] / channels) ** 0.5)
    return kernel.reshape(side, side, channels, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)

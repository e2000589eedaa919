"""keras.applications' ResNet50, 101, 152, VGG16 and VGG19 as ours, exactly.

Three differences vanish into the weights: their convolutions have biases before batch normalisation, its
epsilon is 1.001e-5 where ours is 1e-5, and they were trained by Caffe on BGR pixels minus a mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from keras_resnet.architectures import Architecture
from keras_resnet.errors import UserError
from keras_resnet.layers import BN_EPSILON
from keras_resnet.weights.shapes import NORM_WEIGHTS, expected_shapes, norm_of, vgg_image_size
from keras_resnet.weights.state import State, check_tensors

EPSILON = 1.001e-5  # of keras.applications' batch normalisation
CAFFE_MEAN = (123.68, 116.779, 103.939)  # RGB; keras.applications' "caffe" preprocessing
CAFFE_STD = (1.0, 1.0, 1.0)


def is_keras_applications(tensors: Mapping[str, np.ndarray]) -> bool:
    """Whether the names are those of keras.applications, not ours.

    VGG's layers have the same names in both; a file without input normalisation is taken for theirs.
    """
    if any(re.fullmatch(r"conv\d_block\d+_[0123]_conv/kernel", name) for name in tensors):
        return True
    return "block1_conv1/kernel" in tensors and "normalization/mean" not in tensors


def from_keras_applications(
    tensors: Mapping[str, np.ndarray], architecture: Architecture, caffe: bool = True
) -> State:
    """Tensors by keras.applications' names as a neutral state; without a classifier if they have none.

    Args:
        tensors: by "<layer>/<weight>", from a file or from a live model's variables.
        architecture: the network; ResNets must have shortcut option B and downsample "1x1".
        caffe: whether the network was fed BGR pixels minus CAFFE_MEAN, as theirs are; the first kernel is
            then turned around so that RGB goes in, and the state holds the normalisation.

    Raises:
        UserError: tensors are missing, surplus or of another shape; lists them all, by the file's names.
    """
    if architecture.block == "basic":
        raise UserError(f"keras.applications has no {architecture.name}")
    image_size = None
    if "fc1/kernel" in tensors:
        image_size = vgg_image_size(architecture, tensors["fc1/kernel"].shape[0])
    classes = tensors["predictions/bias"].size if "predictions/bias" in tensors else None
    shapes = expected_shapes(architecture, classes, image_size)
    names = {name: _their_name(name) for name in shapes}
    wanted = {names[name]: shape for name, shape in shapes.items()}
    wanted |= {
        name.replace("/kernel", "/bias"): shape[-1:]
        for name, shape in wanted.items()
        if name.endswith("/kernel")
    }
    top = () if classes else tuple(n for n in wanted if n.split("/")[0] in ("fc1", "fc2", "predictions"))
    check_tensors(f"this is not keras.applications' {architecture.name}", tensors, wanted, optional=top)
    state = {name: tensors[theirs] for name, theirs in names.items() if theirs in tensors}
    if architecture.block != "vgg":
        _fold_biases(state, tensors, names)
    if caffe:
        first = "block1_conv1/kernel" if architecture.block == "vgg" else "conv1_conv/kernel"
        state[first] = state[first][:, :, ::-1]
        state["normalization/mean"] = np.array(CAFFE_MEAN, np.float32)
        state["normalization/std"] = np.array(CAFFE_STD, np.float32)
    return state


def _fold_biases(state: State, tensors: Mapping[str, np.ndarray], names: Mapping[str, str]) -> None:
    """(x + bias − mean) / √(variance + their ε), in place, as (x − mean′) / √(variance′ + our ε)."""
    for name in list(state):
        conv, weight = name.split("/")
        if weight != "kernel" or conv == "predictions":
            continue
        norm = norm_of(conv)
        bias = tensors[names[name].replace("/kernel", "/bias")].astype(np.float64)
        mean, variance = (state[f"{norm}/{n}"].astype(np.float64) for n in NORM_WEIGHTS[2:])
        state[f"{norm}/moving_mean"] = (mean - bias).astype(np.float32)
        state[f"{norm}/moving_variance"] = (variance + (EPSILON - BN_EPSILON)).astype(np.float32)


def _their_name(name: str) -> str:
    """conv2_block1_conv3/kernel → conv2_block1_3_conv/kernel; shortcuts are number 0."""
    if name.startswith("block"):  # VGG: the same names
        return name
    name = re.sub(r"_(conv|bn)(\d)/", r"_\2_\1/", name)
    return re.sub(r"_shortcut_(conv|bn)/", r"_0_\1/", name)

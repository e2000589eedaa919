"""The tensors that a network has, by neutral name and shape, from its `Architecture` alone."""

from __future__ import annotations

from keras_resnet.architectures import Architecture
from keras_resnet.errors import UserError

NORM_WEIGHTS = ("gamma", "beta", "moving_mean", "moving_variance")


def expected_shapes(
    architecture: Architecture, classes: int | None = None, image_size: int | None = None
) -> dict[str, tuple[int, ...]]:
    """Neutral name → shape of every weight, but not of the input normalisation, in forward order."""
    shapes: dict[str, tuple[int, ...]] = {}
    for conv in architecture.convs(image_size, classes):
        dense = conv.name in ("predictions", "fc1", "fc2")
        kernel = (conv.inputs, conv.outputs)
        shapes[f"{conv.name}/kernel"] = kernel if dense else (conv.kernel, conv.kernel, *kernel)
        if conv.biased:
            shapes[f"{conv.name}/bias"] = (conv.outputs,)
        else:
            norm = norm_of(conv.name)
            shapes |= {f"{norm}/{name}": (conv.outputs,) for name in NORM_WEIGHTS}
    return shapes


def norm_of(conv: str) -> str:
    """conv2_block1_conv3 → conv2_block1_bn3, conv1_conv → conv1_bn, …_shortcut_conv → …_shortcut_bn."""
    return "conv1_bn" if conv == "conv1_conv" else "_bn".join(conv.rsplit("_conv", 1))


def vgg_image_size(architecture: Architecture, fc1_inputs: int) -> int | None:
    """Side of the square image whose last feature map VGG's first connected layer reads, in pixels.

    Raises:
        UserError: no square map of that many values.
    """
    if architecture.block != "vgg":
        return None
    channels = architecture.stages[-1].filters
    side = round((fc1_inputs / channels) ** 0.5)
    if side < 1 or side * side * channels != fc1_inputs:
        raise UserError(f"fc1 has {fc1_inputs} inputs, which is not a square map of {channels} channels")
    return side * 2 ** len(architecture.stages)

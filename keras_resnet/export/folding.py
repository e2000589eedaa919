"""Batch normalisation folded into the convolutions before it: a network as plain kernels and biases.

At inference BN is y = γ·(x − μ)/√(σ² + ε) + β, a scale and an offset per channel, so it vanishes into the
convolution: kernel·s and β − μ·s with s = γ/√(σ² + ε). Computed in float64 and rounded once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from keras_resnet.architectures import Architecture
from keras_resnet.errors import UserError
from keras_resnet.layers import BN_EPSILON
from keras_resnet.weights.shapes import norm_of


@dataclass(frozen=True)
class FoldedLayer:
    """A convolution ([k, k, inputs, outputs]) or dense layer ([inputs, outputs]) and its bias [outputs]."""

    kernel: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class FoldedNetwork:
    """An architecture and its float32 constants, by the names that `Architecture.convs` gives.

    `mean` ([3] or [H, W, 3]) is subtracted from the input; `std` [H, W, 3] divides it then, where it
    differs by pixel: one by channel is folded into the first convolution. Either may be None. (The mean is
    not folded: the padding behind it is of zeros, not of the mean.)
    """

    architecture: Architecture
    layers: Mapping[str, FoldedLayer]
    mean: np.ndarray | None = None
    std: np.ndarray | None = None


def fold(
    architecture: Architecture, state: Mapping[str, np.ndarray], epsilon: float = BN_EPSILON
) -> FoldedNetwork:
    """Fold every BN of `state` (weights by neutral names, see `weights.state`) into its convolution.

    Raises:
        UserError: a layer is missing, such as the classifier of a model without top, or a weight is
            not finite.
    """
    names = {name.split("/")[0] for name in state}
    layers: dict[str, FoldedLayer] = {}
    input_mean, input_std = (
        np.asarray(state[name], np.float32) if (name := f"normalization/{part}") in state else None
        for part in ("mean", "std")
    )
    for conv in architecture.convs():
        if conv.name not in names:
            raise UserError(
                f"the model has no layer {conv.name}: only a whole {architecture.name} with its classifier "
                "can be exported"
            )
        kernel = state[f"{conv.name}/kernel"].astype(np.float64)
        if conv.biased:
            bias = state.get(f"{conv.name}/bias", np.zeros(kernel.shape[-1])).astype(np.float64)
        else:
            bn = norm_of(conv.name)
            gamma, beta, mean, variance = (
                state[f"{bn}/{part}"].astype(np.float64)
                for part in ("gamma", "beta", "moving_mean", "moving_variance")
            )
            scale = gamma / np.sqrt(variance + epsilon)
            kernel, bias = kernel * scale, beta - mean * scale
        if not layers and input_std is not None and input_std.ndim == 1:
            kernel, input_std = kernel / input_std.astype(np.float64)[:, np.newaxis], None
        if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
            raise UserError(f"the weights of {conv.name} are not finite: its training diverged")
        layers[conv.name] = FoldedLayer(kernel.astype(np.float32), bias.astype(np.float32))
    return FoldedNetwork(architecture, layers, input_mean, input_std)

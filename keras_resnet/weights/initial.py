"""Weights to start training from: official ones, a file, an earlier run; the classifier may be new."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_resnet.architectures import Architecture
from keras_resnet.errors import UserError
from keras_resnet.imagenet import IMAGENET_MEAN, IMAGENET_STD
from keras_resnet.saving import RUN_MODEL
from keras_resnet.weights import read_state
from keras_resnet.weights.hub import official_weights
from keras_resnet.weights.state import State, fit_mean_image, get_state, set_state


def initial_state(
    source: str | os.PathLike[str],
    architecture: Architecture,
    sides: Sequence[int | None] | None = None,
    include_top: bool = True,
) -> State:
    """The weights at `source` by neutral name, always with the normalisation that they were trained with.

    Args:
        source: "imagenet" for the official weights, a run folder, or a weights file of any known kind.
        architecture: the network that they are for.
        sides: height and width of its input in pixels. A mean image fits one size only; for another, its mean
            colour takes its place. None: those of the mean image.
        include_top: whether the official weights shall have their classifier.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    # For files that do not say how their input is normalised: ImageNet's, as for torchvision and timm.
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    path = Path(source)
    if source == "imagenet":
        official = official_weights(architecture, include_top)
        path, mean, std = official.path(), official.mean, official.std
    elif path.is_dir():
        path = path / RUN_MODEL
    if not path.is_file():
        raise UserError(f'no weights at {source}: name a file, a run folder, or "imagenet"')
    state = dict(read_state(path, architecture))
    state.setdefault("normalization/mean", np.asarray(mean, np.float32))
    state.setdefault("normalization/std", np.asarray(std, np.float32))
    return state if sides is None else fit_mean_image(state, sides)


def start_from(model: keras.Model, state: State) -> None:
    """Assign `state` to `model`; a classifier of another number of classes keeps its fresh weights.

    Raises:
        UserError: anything else is missing, surplus or misshapen.
    """
    own = get_state(model)
    head = {name for name in own if name.startswith("predictions/")}
    if any(name not in state or state[name].shape != own[name].shape for name in head):
        state = {name: array for name, array in state.items() if name not in head}
        state |= {name: own[name] for name in head}
    set_state(model, state)

"""Weights to start a training from: official ones, a file, an earlier run; the classifier may be new."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from keras_resnet.architectures import Architecture
from keras_resnet.errors import UserError
from keras_resnet.saving import RUN_MODEL
from keras_resnet.weights.files import read_weights
from keras_resnet.weights.hub import official_weights
from keras_resnet.weights.state import State, get_state, set_state

# Of files that do not say how their network was fed: ImageNet's, as for torchvision and timm.
MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)


def initial_state(source: str, architecture: Architecture) -> State:
    """The weights at `source` by neutral name, always with the normalisation that they were trained with.

    Args:
        source: "imagenet" for the official weights, a run folder, or a weights file of any known kind.
        architecture: the network that they are for.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    mean, std = MEAN, STD
    path = Path(source)
    if source == "imagenet":
        official = official_weights(architecture)
        path = Path(official.path())
        mean, std = np.asarray(official.mean, np.float32), np.asarray(official.std, np.float32)
    elif path.is_dir():
        path = path / RUN_MODEL
    if not path.is_file():
        raise UserError(f'no weights at {source}: name a file, a run folder, or "imagenet"')
    state = dict(read_weights(path).state(architecture))
    state.setdefault("normalization/mean", mean)
    state.setdefault("normalization/std", std)
    return state


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

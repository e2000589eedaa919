"""A network's weights as plain arrays by neutral names, however the network is built.

A state is a dict from "<layer name>/<weight>" to an array, always in unrolled form: block 3 of a scanned
stage is `conv2_block3_conv1/kernel` as in an unrolled one. All weight formats are mappings between their
names and these. `set_state(scanned, get_state(unrolled))` converts one kind of network into the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_resnet.errors import UserError
from keras_resnet.scanned import ScannedBlocks

State = dict[str, np.ndarray]

_SHOWN = 12  # names listed in an error before "and N more"


def get_state(model: keras.Model, values: Mapping[str, np.ndarray] | None = None) -> State:
    """The model's weights by neutral name, float32 as they are.

    Args:
        model: any network of keras-resnet (layers without weights and layers added by others are fine).
        values: arrays by variable path to name in the same way instead of the weights themselves, for
            example gradients; variables that are missing in it are left out.
    """
    state = {}
    arrays: dict[str, np.ndarray] = {}  # a stack is read once, not once a block
    for name, variable, block in _variables(model):
        if values is not None and variable.path not in values:
            continue
        if variable.path not in arrays:
            value = variable if values is None else values[variable.path]
            arrays[variable.path] = keras.ops.convert_to_numpy(value)
        array = arrays[variable.path]
        state[name] = array if block is None else array[block]
    return state


def fit_mean_image(state: State, sides: Sequence[int | None]) -> State:
    """`state` for images of these sides (height, width): a mean image of others becomes its mean colour."""
    mean = state.get("normalization/mean")
    if mean is None or mean.ndim != 3 or mean.shape[:2] == tuple(sides):
        return state
    colors = {name: state[name].mean((0, 1)) for name in ("normalization/mean", "normalization/std")}
    return state | colors


def set_state(model: keras.Model, state: Mapping[str, np.ndarray], strict: bool = True) -> None:
    """Assign `state` to the model's weights.

    Args:
        model: a network of keras-resnet, scanned or not.
        state: arrays by neutral name.
        strict: every weight of the model must be in `state`, and nothing else; otherwise only shapes must
            agree, and weights that are not in `state` stay as they are.

    Raises:
        UserError: tensors are missing, surplus or of another shape; all are listed, nothing is assigned.
    """
    wanted = {name: (variable, block) for name, variable, block in _variables(model)}
    shapes = {
        name: tuple(variable.shape)[0 if block is None else 1 :] for name, (variable, block) in wanted.items()
    }
    given = state if strict else {name: array for name, array in state.items() if name in wanted}
    check_tensors(
        f"the weights do not fit {model.name}", given, shapes, optional=() if strict else tuple(wanted)
    )

    stacks: dict[str, np.ndarray] = {}
    for name, (variable, block) in wanted.items():
        if name not in state:
            continue
        if block is None:
            variable.assign(state[name])
        else:
            if variable.path not in stacks:
                stacks[variable.path] = np.array(keras.ops.convert_to_numpy(variable))
            stacks[variable.path][block] = state[name]
    for _, (variable, block) in wanted.items():
        if block == 0 and variable.path in stacks:
            variable.assign(stacks[variable.path])


def check_tensors(
    what: str,
    tensors: Mapping[str, np.ndarray],
    wanted: Mapping[str, tuple[int, ...]],
    optional: Collection[str] = (),
) -> None:
    """Compare tensors with those that there must be, both by name; those in `optional` may be missing.

    Raises:
        UserError: tensors are missing, surplus or of another shape; lists them all, after `what`.
    """
    missing = [name for name in wanted if name not in tensors and name not in optional]
    surplus = sorted(set(tensors) - set(wanted))
    misshapen = [
        f"{name} {_shape_text(tensors[name].shape)} instead of {_shape_text(shape)}"
        for name, shape in wanted.items()
        if name in tensors and tuple(tensors[name].shape) != tuple(shape)
    ]
    kinds = (("missing", missing), ("surplus", surplus), ("of another shape", misshapen))
    problems = [f"{kind}: {_listed(names)}" for kind, names in kinds if names]
    if problems:
        raise UserError(f"{what}; {'; '.join(problems)}")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _shape_text(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def _variables(model: keras.Model) -> Iterator[tuple[str, Any, int | None]]:
    """(neutral name, variable, index along the stacked axis or None) of every weight."""
    for layer in model.layers:
        if isinstance(layer, ScannedBlocks):
            stage = layer.name.removesuffix("_blocks")
            for block in range(layer.blocks):
                for name, variable in layer.stacked_weights().items():
                    yield f"{stage}_block{block + 2}_{name}", variable, block
        elif isinstance(layer, keras.Model):
            yield from _variables(layer)
        else:
            for variable in layer.weights:
                yield f"{layer.name}/{variable.name}", variable, None

"""Keras' HDF5 weight files as arrays by "<layer name>/<weight>", without building a model for them.

Reads the `.weights.h5` of Keras 3, and the `.h5` of Keras 1, 2 and of keras.applications' downloads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_resnet.errors import UserError, first_line
from keras_resnet.weights.shapes import NORM_WEIGHTS
from keras_resnet.weights.state import State

Read = Callable[[Any], np.ndarray]  # an array in the file, as one in memory


def read_h5(path: Path) -> State:
    """All weights in the file, those of scanned stages by the names of their unrolled blocks.

    Raises:
        UserError: the file cannot be read as HDF5, or holds no weights.
    """
    import h5py

    arrays: dict[int, np.ndarray] = {}

    def array(entry: Any) -> np.ndarray:
        """Read once, by its address: links can give one array any number of names."""
        if not isinstance(entry, h5py.Dataset) or entry.dtype.hasobject:
            raise UserError(f"{path}: {entry.name} holds no numbers")
        address = h5py.h5o.get_info(entry.id).addr
        if address not in arrays:
            arrays[address] = np.asarray(entry)
        return arrays[address]

    try:
        with h5py.File(path, "r") as file:
            _check_self_contained(file)
            group = file.get("model_weights", file)  # a whole model of Keras 2 in one .h5
            read = _legacy if "layer_names" in group.attrs else _keras3
            state = dict(read(group, array))
    except UserError:
        raise
    except Exception as error:  # h5py tells damage in many ways, and foreign files are built otherwise
        raise UserError(f"cannot read {path} as Keras weights: {first_line(error)}") from error
    if not state:
        raise UserError(f"{path} holds no weights of named layers (was it written by Keras before 3.6?)")
    return state


def _check_self_contained(file: Any) -> None:
    """HDF5 can point into other files: weights that do would carry those files' contents along.

    Raises:
        UserError: it does, or its arrays claim more numbers than there are.
    """
    import h5py

    stored = 0

    def look_at(name: str, entry: Any) -> None:
        nonlocal stored
        if not isinstance(entry, h5py.Dataset):
            return
        if entry.external or entry.is_virtual:
            raise UserError(f"{file.filename}: {name} lies in another file, which is not read")
        stored += entry.id.get_storage_size()
        if stored > file.id.get_filesize():
            raise UserError(f"{file.filename}: its arrays overlap")
        if entry.compression is None and entry.nbytes > entry.id.get_storage_size():
            raise UserError(f"{file.filename}: {name} has fewer numbers than it claims")

    link = file.visititems_links(lambda name, link: name if isinstance(link, h5py.ExternalLink) else None)
    if link is not None:
        raise UserError(f"{file.filename}: {link} lies in another file, which is not read")
    file.visititems(look_at)


def _legacy(group: Any, array: Read) -> Iterator[tuple[str, np.ndarray]]:
    """By order, as Keras reads them: in the published VGGs a kernel is called `fc1_W_1`."""
    for layer in map(_text, group.attrs["layer_names"]):
        arrays = [array(group[layer][_text(weight)]) for weight in group[layer].attrs["weight_names"]]
        # The classifier of the published ResNets has an older name than keras.applications' networks.
        yield from _named("predictions" if layer == "probs" else layer, arrays)


def _keras3(group: Any, array: Read) -> Iterator[tuple[str, np.ndarray]]:
    """Keras 3 numbers a layer's variables and keeps its name as an attribute."""
    for entry in group.get("layers", {}).values():
        variables = entry.get("vars", {})
        if "name" in getattr(variables, "attrs", {}):
            arrays = [array(variables[str(index)]) for index in range(len(variables))]
            yield from _named(_text(variables.attrs["name"]), arrays)


def _named(layer: str, arrays: list[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    if arrays and arrays[0].ndim == 5:
        yield from _scanned(layer.removesuffix("_blocks"), arrays)
        return
    names = _variable_names(layer, arrays)
    yield from ((f"{layer}/{name}", array) for name, array in zip(names, arrays, strict=False))


def _variable_names(layer: str, arrays: list[np.ndarray]) -> tuple[str, ...]:
    if layer == "normalization":
        return ("mean", "std")
    return NORM_WEIGHTS if len(arrays) == 4 else ("kernel", "bias")


def _scanned(stage: str, arrays: list[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """First the trained variables (kernel, gamma, beta of every convolution), then its moving averages."""
    convs = sum(array.ndim == 5 for array in arrays)
    basic = arrays[0].shape[1] == 3  # else a bottleneck, which begins with a 1×1 convolution
    names = [f"conv{j}" for j in range(1, (2 if basic else 3) + 1)]
    names += ["shortcut_conv"] * (convs - len(names))
    for j, conv in enumerate(names):
        norm = conv.replace("conv", "bn")
        parts = arrays[3 * j : 3 * j + 3] + arrays[3 * convs + 2 * j : 3 * convs + 2 * j + 2]
        for name, stack in zip(
            (f"{conv}/kernel", *(f"{norm}/{n}" for n in NORM_WEIGHTS)), parts, strict=True
        ):
            for index, array in enumerate(stack):
                yield f"{stage}_block{index + 2}_{name}", array


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)

"""Weights from and to elsewhere: official files, torchvision, timm, keras.applications, CIFAR checkpoints.

Every format is a mapping between its names and neutral ones (`state.py`), derived from the `Architecture`.
"""

from __future__ import annotations

import logging
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from keras_resnet.architectures import Architecture, Downsample, Shortcut, get_architecture
from keras_resnet.errors import UsageError, UserError, writing

if TYPE_CHECKING:
    from keras_resnet.weights.files import WeightsFile
    from keras_resnet.weights.state import State

CIFAR10_LABELS = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


def read_state(path: str | os.PathLike[str], architecture: Architecture) -> State:
    """The weights in a file of any kind known here, by neutral name (`state.py`).

    A warning says so where the file's bottlenecks have their strides elsewhere, which no shape shows.

    Raises:
        UserError: the file cannot be read, or is of another network.
    """
    from keras_resnet.weights.files import read_weights

    file = read_weights(path)
    try:
        state = file.state(architecture)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    file.warn_of_other_strides(architecture)
    return state


def load_into(
    model: Any, path: str | os.PathLike[str], architecture: Architecture, state: State | None = None
) -> None:
    """Fill a model of keras-resnet with the weights in a file of any kind known here.

    Without a classifier in the model, the file's is left aside; the same goes for the normalisation of the
    input. With both, the file's normalisation replaces the model's, where the file or its source has one.
    Third-party layers that the network is built upon (`input_tensor`) keep their weights.

    Args:
        model: to fill.
        path: the file.
        architecture: the model's.
        state: what `read_state` gave, where the file has been read.

    Raises:
        UserError: the file cannot be read or does not fit; missing, surplus and misshapen tensors are listed.
    """
    from keras_resnet.weights.shapes import expected_shapes
    from keras_resnet.weights.state import get_state, set_state

    state = read_state(path, architecture) if state is None else state
    own = get_state(model)
    optional = ("normalization", "predictions", "fc1", "fc2")
    network = expected_shapes(architecture)
    state = {name: a for name, a in state.items() if name in own or name.split("/")[0] not in optional}
    try:
        set_state(model, {name: array for name, array in own.items() if name not in network} | state)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def import_weights(
    path: str | os.PathLike[str],
    name: str,
    *,
    classes: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    label_names: Sequence[str] | None = None,
    shortcut: Shortcut | None = None,
    downsample: Downsample | None = None,
    padding: Any = None,
    output: str | os.PathLike[str],
) -> Path:
    """Turn a weights file from elsewhere into a `.keras` model that takes raw RGB pixels.

    Args:
        path: a torchvision or timm state dict or checkpoint (.pth, .pt, .th, .safetensors; nothing in it is
            executed), keras.applications' .h5, a CIFAR checkpoint in akamaster's style.
        name: the network that the weights belong to, such as "resnet50".
        classes: outputs of its classifier; by default as many as the file has.
        mean: what the network's input had subtracted, R, G, B in units of 0…255, and
        std: what it was divided by. By default what the file says, else what its source does: torchvision's
            numbers for torch files of ImageNet networks and in akamaster's style, Caffe's for
            keras.applications (whose networks take BGR unless `mean` or `std` are given). Give both: the one
            that is left out is 0 or 1 then.
        label_names: one name per class; by default what the file says, ImageNet's for 1000 classes,
            CIFAR-10's for akamaster's checkpoints with 10, numbers otherwise.
        shortcut: option of the file's network; by default what the file says (a `.keras` file, a file of
            `export_weights`), else the default one of `name`.
        downsample: where its bottlenecks have their stride; by default what the file says, else "3x3" for
            torch files and "1x1" for keras.applications.
        padding: where its option A has zero channels: "both" sides (default for akamaster's style) or "end".
        output: the `.keras` file to write.

    Returns:
        The file written.

    Raises:
        UsageError: an argument makes no sense or is needed and missing.
        UserError: the file cannot be read or is of another network; tensors that do not fit are listed.
    """
    from keras_resnet.builders import build_model
    from keras_resnet.saving import ModelInfo, resize_before_crop, save_model
    from keras_resnet.weights.files import image_size_of, read_weights
    from keras_resnet.weights.state import set_state

    get_architecture(name, shortcut, downsample)  # wrong arguments are said before the file is read
    _check_numbers("mean", mean)
    _check_numbers("std", std)
    if padding not in (None, "both", "end"):
        raise UsageError(f'padding must be "both" or "end", not {padding!r}')
    output = Path(output)
    if output.suffix != ".keras":
        raise UsageError(f"the output must be a .keras file, not {output}")
    file = read_weights(path)
    architecture = _architecture_of(file, name, shortcut, downsample)
    try:
        state = file.state(architecture, mean, std, padding)
    except UserError as error:
        raise type(error)(f"{path}: {error}") from error
    if file.classes is None:
        raise UserError(f"{path} has no classifier; load it with weights={str(path)!r}, include_top=False")
    if classes is not None and classes != file.classes:
        raise UserError(f"{path} is a network of {file.classes} classes, not {classes}")
    if "normalization/mean" not in state:
        raise UsageError(
            f"{path} does not say how its network's input is normalised; give the mean and std (R, G, B in "
            "units of 0…255) that its training subtracted and divided by"
        )
    size = image_size_of(state, architecture)
    if state["normalization/mean"].ndim == 3:  # a mean image fits images of its own size
        size = state["normalization/mean"].shape[0]
    model = build_model(
        architecture,
        classes=file.classes,
        input_shape=(size, size, 3),
        mean=state["normalization/mean"],
        std=state["normalization/std"],
    )
    set_state(model, state)
    labels = _label_names(label_names, file)
    image_size = size or architecture.default_image_size
    resize = resize_before_crop(architecture, image_size)
    info = file.info or ModelInfo(architecture, labels, image_size, resize)
    same = architecture == info.architecture and mean is None and std is None
    results = info.results if same else {}
    info = replace(info, architecture=architecture, label_names=labels, results=results)
    return save_model(model, info, output)


def export_weights(
    model_path: str | os.PathLike[str],
    to: str = "torch",
    output: str | os.PathLike[str] = "weights.safetensors",
) -> Path:
    """Write a model's weights as a safetensors file that torchvision's model loads with `strict=True`.

    The file's notes hold the network's name, options and input normalisation (R, G, B in units of 0…255);
    `import_weights` reads them back. A mean image is left out, with a warning.

    Raises:
        UsageError: `to` is not "torch", or the output is not a .safetensors file.
        UserError: the model cannot be read, or the file cannot be written.
    """
    import numpy as np
    from safetensors.numpy import save

    from keras_resnet.saving import load_model
    from keras_resnet.weights.files import options_of
    from keras_resnet.weights.state import get_state
    from keras_resnet.weights.torch_names import to_torch

    if to != "torch":
        raise UsageError(f'weights are exported to "torch", not {to!r}')
    output = Path(output)
    if output.suffix != ".safetensors":
        raise UsageError(f"the output must be a .safetensors file, not {output}")
    saved = load_model(model_path)
    architecture = saved.info.architecture
    state = get_state(saved.model)
    if "predictions/kernel" not in state:
        raise UserError(f"{model_path} has no classifier: only whole networks are exported")
    # torchvision's classifiers have a bias.
    state.setdefault("predictions/bias", np.zeros(state["predictions/kernel"].shape[-1], np.float32))
    notes = {"format": "pt", **options_of(architecture)}
    if architecture.block == "bottleneck" and architecture.downsample == "1x1":
        logging.getLogger("keras_resnet").warning(
            "this %s has its strides in the 1x1 convolutions, as the authors' models do; torchvision's has "
            "them in the 3x3 ones, and computes something else unless the strides of conv1 and conv2 are "
            "swapped",
            architecture.name,
        )
    mean = state.get("normalization/mean")
    if mean is not None and mean.ndim == 1:
        notes["mean"] = ",".join(str(number) for number in mean.tolist())
        notes["std"] = ",".join(str(number) for number in state["normalization/std"].tolist())
    elif mean is not None:
        logging.getLogger("keras_resnet").warning(
            "this %s subtracts a mean image, which torch's layout has no place for: whoever uses the file "
            "must subtract it",
            architecture.name,
        )
    with writing(output), tempfile.TemporaryDirectory(dir=output.parent, prefix=".saving-") as folder:
        temporary = Path(folder) / output.name
        # Not safetensors' save_file: its errors are not OSErrors, and nobody else may read what it writes.
        temporary.write_bytes(save(to_torch(state, architecture), metadata=notes))
        temporary.replace(output)
    return output


def _architecture_of(
    file: WeightsFile, name: str, shortcut: Shortcut | None, downsample: Downsample | None
) -> Architecture:
    """The file's network with the options that were named, else those that the file names."""
    if file.notes.get("keras_resnet") == name:
        shortcut = shortcut or cast(Shortcut | None, file.notes.get("shortcut"))
    architecture = get_architecture(name, shortcut, downsample)
    if downsample is None and architecture.block == "bottleneck" and file.downsample is not None:
        architecture = get_architecture(name, shortcut, file.downsample)
    return architecture


def _check_numbers(name: str, values: Sequence[float] | None) -> None:
    if values is None:
        return
    if len(values) != 3:
        raise UsageError(f"{name} must be three numbers R, G, B in units of 0…255, not {values!r}")
    if not all(math.isfinite(value) for value in values):
        raise UsageError(f"{name} must be finite, not {values!r}")
    if name == "std" and min(values) <= 0:
        raise UsageError(f"std must be positive, not {values!r}")
    if name == "std" and max(values) < 1:  # no images vary by less than a level
        raise UsageError(f"mean and std are in units of 0…255: multiply both by 255 (std is {values!r})")


def _label_names(names: Sequence[str] | None, file: WeightsFile) -> tuple[str, ...]:
    classes = file.classes or 0
    numbers = tuple(str(index) for index in range(classes))
    if names is not None:
        if len(names) != classes:
            raise UsageError(f"{len(names)} label names for {classes} classes")
        return tuple(names)
    if file.info is not None and file.info.label_names != numbers:
        return file.info.label_names
    if classes == 1000:
        from keras_resnet.imagenet import IMAGENET_CLASSES

        return tuple(label for _, label in IMAGENET_CLASSES)
    if file.source == "akamaster" and classes == len(CIFAR10_LABELS):
        return CIFAR10_LABELS
    return numbers

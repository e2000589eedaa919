"""Any weights file as a neutral state, with the normalisation that its network was trained with."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from keras_resnet.architectures import Architecture, Downsample
from keras_resnet.errors import UserError
from keras_resnet.imagenet import IMAGENET_MEAN, IMAGENET_STD
from keras_resnet.weights import keras_applications, torch_names
from keras_resnet.weights.keras_files import read_h5
from keras_resnet.weights.safetensors_files import read_metadata
from keras_resnet.weights.shapes import expected_shapes, vgg_image_size
from keras_resnet.weights.state import State, check_tensors, get_state
from keras_resnet.weights.torch_files import read_tensors

if TYPE_CHECKING:
    from keras_resnet.saving import ModelInfo

Source = Literal["torch", "akamaster", "keras_applications", "keras_resnet"]

_HDF5 = b"\x89HDF"


@dataclass(frozen=True)
class WeightsFile:
    """The tensors of a file by its own names, and whose names they are.

    `notes` are what one of our own files says of its network (see `options_of`; a file of `export_weights`
    also has "mean" and "std"); empty for third-party files. `info`: what a `.keras` file says of its model.
    """

    path: Path
    source: Source
    tensors: State
    notes: Mapping[str, str] = field(default_factory=dict)
    info: ModelInfo | None = None

    @property
    def classes(self) -> int | None:
        """Outputs of the classifier; None if the file has none."""
        return _classes_in(self.tensors) or torch_names.classes_in(self.tensors)

    @property
    def downsample(self) -> Downsample | None:
        """Where the bottlenecks of its network have their strides; None if nobody can tell."""
        if "keras_resnet" in self.notes:
            return cast(Downsample | None, self.notes.get("downsample"))
        by_source: dict[str, Downsample] = {"torch": "3x3", "keras_applications": "1x1"}
        return by_source.get(self.source)

    def warn_of_other_strides(self, architecture: Architecture) -> None:
        """Say so where the file fits by its shapes alone: its network has its strides elsewhere."""
        ours, theirs = architecture.downsample, self.downsample
        if architecture.block == "bottleneck" and theirs is not None and theirs != ours:
            logging.getLogger("keras_resnet").warning(
                "%s: the network of this file has its strides in the %s convolutions, this %s has them in "
                "the %s ones and computes something else; build it with downsample=%r",
                self.path,
                theirs,
                architecture.name,
                ours,
                theirs,
            )

    def state(
        self,
        architecture: Architecture,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        padding: torch_names.Padding | None = None,
    ) -> State:
        """The tensors by neutral name, `normalization/mean` and `/std` included where they are known.

        `mean` and `std` (RGB, 0…255) say how its input is normalised; by default as its source does it.

        Raises:
            UserError: tensors are missing, surplus or of another shape (lists them all), or the notes' mean
                and std are not numbers.
        """
        caffe = mean is None and std is None
        if self.source == "keras_applications":
            state = keras_applications.from_keras_applications(self.tensors, architecture, caffe)
        elif self.source == "keras_resnet":
            state = _checked(self.tensors, architecture)
        else:
            state = torch_names.from_torch(self.tensors, architecture, padding)
            if self.source == "akamaster" or architecture.family == "imagenet":
                _set_normalization(state, IMAGENET_MEAN, IMAGENET_STD)
            if caffe and "mean" in self.notes and "std" in self.notes:  # a file of `export_weights`
                _set_normalization(state, *(_noted(self.notes, name) for name in ("mean", "std")))
        if not caffe:
            mean = (0.0, 0.0, 0.0) if mean is None else mean
            _set_normalization(state, mean, (1.0, 1.0, 1.0) if std is None else std)
        return state


def read_weights(path: str | os.PathLike[str]) -> WeightsFile:
    """Read a weights file of whatever kind: its content decides, its name does not matter.

    Raises:
        UserError: it is missing or of no kind that is known here.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        with path.open("rb") as opened:
            start = opened.read(4)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    if start == _HDF5:
        tensors = read_h5(path)
        theirs = keras_applications.is_keras_applications(tensors)
        return WeightsFile(path, "keras_applications" if theirs else "keras_resnet", tensors)
    if start[:2] == b"PK" and _is_keras_archive(path):
        from keras_resnet.saving import read_model

        model, info = read_model(path)
        tensors = get_state(model)
        if info is None and keras_applications.is_keras_applications(tensors):
            return WeightsFile(path, "keras_applications", tensors)
        notes = options_of(info.architecture) if info else {}
        return WeightsFile(path, "keras_resnet", tensors, notes, info)
    tensors = read_tensors(path)
    akamaster = torch_names.is_akamaster(tensors)
    return WeightsFile(path, "akamaster" if akamaster else "torch", tensors, read_metadata(path))


def options_of(architecture: Architecture) -> dict[str, str]:
    """A network's name ("keras_resnet"), and its "shortcut" and "downsample" where it has any, as notes."""
    notes = {"keras_resnet": architecture.name}
    if architecture.shortcut is not None:
        notes["shortcut"] = architecture.shortcut
    if architecture.block == "bottleneck":
        notes["downsample"] = architecture.downsample
    return notes


def image_size_of(state: State, architecture: Architecture) -> int | None:
    """Side of the images that a VGG's connected layers fit, in pixels; None for all other networks."""
    if architecture.block != "vgg" or "fc1/kernel" not in state:
        return None
    return vgg_image_size(architecture, state["fc1/kernel"].shape[0])


def _classes_in(tensors: State) -> int | None:
    kernel = tensors.get("predictions/kernel")
    return kernel.shape[-1] if kernel is not None and kernel.ndim == 2 else None


def _checked(tensors: State, architecture: Architecture) -> State:
    """Our own tensors, if they are those of this architecture."""
    classes = _classes_in(tensors)
    wanted = expected_shapes(architecture, classes, image_size_of(tensors, architecture))
    for name in ("normalization/mean", "normalization/std"):
        if name in tensors:
            wanted[name] = tensors[name].shape  # a mean image may have any size
    top = tuple(name for name in wanted if name.split("/")[0] in ("fc1", "fc2", "predictions"))
    check_tensors(f"this is not a {architecture.name}", tensors, wanted, optional=() if classes else top)
    return dict(tensors)


def _is_keras_archive(path: Path) -> bool:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return "config.json" in archive.namelist()
    except zipfile.BadZipFile:
        return False


def _set_normalization(state: State, mean: Sequence[float], std: Sequence[float]) -> None:
    state["normalization/mean"] = np.asarray(mean, np.float32)
    state["normalization/std"] = np.asarray(std, np.float32)


def _noted(notes: Mapping[str, str], name: str) -> list[float]:
    try:
        numbers = [float(number) for number in notes[name].split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not np.all(np.isfinite(numbers)) or (name == "std" and min(numbers) <= 0):
        raise UserError(
            f"its note of the {name} is not three numbers ({notes[name][:40]!r}); give mean and std"
        )
    return numbers

"""Saved models that know themselves: a `.keras` file with what evaluation, export and prediction need.

A `.keras` file is a zip; ours has one more member, `keras_resnet.json`, which Keras ignores.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import keras

from keras_resnet import layers as layers  # registers our layers with Keras' deserialiser
from keras_resnet.architectures import Architecture, Stage, get_architecture
from keras_resnet.errors import UsageError, UserError, first_line, writing
from keras_resnet.recognition import layers_of, layers_wanted, recognised

MEMBER = "keras_resnet.json"
RUN_MODEL = "model.keras"  # the trained model's name inside a run folder
MAX_SIDE = 4096  # pixels; larger views would not fit into memory


@dataclass(frozen=True)
class ModelInfo:
    """What a saved model knows about itself besides its weights.

    Attributes:
        architecture: the network.
        label_names: names of its classes, in the order of its outputs.
        image_size: side in pixels of the square view that it classifies.
        resize: shorter side in pixels that an image is resized to before that view is cut from its centre.
        dataset: what it was trained on, as `open_dataset` takes it; None: not known.
        recipe: name of the recipe it was trained by; None: not known.
        results: what was measured of it, by name.

    Raises:
        UsageError: a size or a label makes no sense.
    """

    architecture: Architecture
    label_names: tuple[str, ...]
    image_size: int
    resize: int
    dataset: str | None = None
    recipe: str | None = None
    results: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("image_size", "resize"):
            side = getattr(self, name)
            if not isinstance(side, int) or not 1 <= side <= MAX_SIDE:
                raise UsageError(f"{name} must be a number of pixels, 1 to {MAX_SIDE}, not {side!r}")
        if self.resize < self.image_size:
            raise UsageError(f"a view of {self.image_size} pixels is larger than its image, {self.resize}")
        labels = self.label_names
        if not isinstance(labels, tuple) or not all(isinstance(label, str) for label in labels):
            raise UsageError(f"label_names must be a tuple of strings, not {labels!r:.60}")

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON; a network that is not one of `ARCHITECTURES` is described in full."""
        options = {
            "name": self.architecture.name,
            "shortcut": self.architecture.shortcut,
            "downsample": self.architecture.downsample,
        }
        known = self.architecture == _known_architecture(options)
        return {
            **options,
            **({} if known else {"architecture": asdict(self.architecture)}),
            "image_size": self.image_size,
            "resize": self.resize,
            "dataset": self.dataset,
            "recipe": self.recipe,
            "results": dict(self.results),
            "label_names": list(self.label_names),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelInfo:
        """The inverse of `to_json`."""
        architecture = _known_architecture(data)
        if described := data.get("architecture"):
            stages = tuple(Stage(**stage) for stage in described["stages"])
            architecture = Architecture(**{**described, "stages": stages})
        elif architecture is None:
            raise UsageError(f"unknown network {data['name']!r}")
        return cls(
            architecture,
            tuple(data["label_names"]),
            data["image_size"],
            data["resize"],
            data.get("dataset"),
            data.get("recipe"),
            data.get("results", {}),
        )


def _known_architecture(options: Mapping[str, Any]) -> Architecture | None:
    """The network of `ARCHITECTURES` with that name, shortcut and downsample; None where there is none."""
    try:
        known = get_architecture(options["name"], options["shortcut"])
        return replace(known, shortcut=options["shortcut"], downsample=options["downsample"])
    except UsageError:
        return None


def resize_before_crop(architecture: Architecture, image_size: int) -> int:
    """The usual `ModelInfo.resize`: 256 for views of 224, as the authors tested their released models.

    CIFAR's images are seen whole (Sec. 4.2).
    """
    return image_size if architecture.family == "cifar" else round(image_size * 256 / 224)


@dataclass(frozen=True)
class LoadedModel:
    """A Keras model together with what it knows about itself.

    Attributes:
        model: as Keras loads it.
        info: its labels, view and origin.
    """

    model: keras.Model
    info: ModelInfo


def save_model(model: keras.Model, info: ModelInfo, path: str | os.PathLike[str]) -> Path:
    """Write `model` and `info` as one `.keras` file that appears at once or not at all.

    Args:
        model: one of our networks, as it is built, with its classifier.
        info: what it classifies; labels in the order of its outputs.
        path: where to write; ends in .keras. Folders are made, an older file is replaced.

    Returns:
        The file.

    Raises:
        UserError: the file cannot be written; whatever was there before is still there.
        UsageError: its name does not end in .keras, or `info` is of another model.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise UsageError(f"a model is saved as a .keras file, not {path}")
    _check_description(model, info)
    _check_layers(model, info.architecture)
    with writing(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder:
        temporary = Path(folder) / path.name
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(MEMBER, json.dumps(info.to_json(), indent=1))
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    return path


def load_model(path: str | os.PathLike[str]) -> LoadedModel:
    """Read a run folder or a `.keras` file: its `.model`, and as `.info` its `ModelInfo`.

    A `.keras` file that Keras itself wrote from one of our models has no description; it is then
    derived from the model's layers and shapes, with class numbers for label names.

    Raises:
        UserError: there is nothing, or nothing readable, at `path`; its description is of another model, or
            there is none and the model is not one of our networks.

    Example:
        >>> load_model("runs/resnet20-digits").info.label_names[:3]
        ('0', '1', '2')
    """
    model, info = read_model(path)
    if info is None:
        raise UserError(
            f"{path} holds a model named {model.name!r}, which is not one of keras-resnet's networks; one of "
            "keras.applications: save its weights (.h5) for keras-resnet import-weights"
        )
    return LoadedModel(model, info)


def read_model(path: str | os.PathLike[str]) -> tuple[keras.Model, ModelInfo | None]:
    """The same for any Keras model: without its `ModelInfo` if it is not one of our networks.

    Raises:
        UserError: there is nothing, or nothing readable, at `path`; or its description is of another model.
    """
    file = model_file(path)
    try:
        model = keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:
        reason = first_line(error)
        raise UserError(f"cannot read {file} as a Keras model: {reason}") from error
    with zipfile.ZipFile(file) as archive:
        if MEMBER not in archive.namelist():
            return model, _derived_info(model)
        try:
            info = ModelInfo.from_json(json.loads(archive.read(MEMBER)))
            _check_description(model, info)
        except UsageError as error:
            raise UserError(f"{file}: its description {MEMBER} is wrong: {error}") from error
        except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise UserError(f"{file}: its description {MEMBER} is damaged ({error!r})") from error
        return model, info


def model_file(path: str | os.PathLike[str]) -> Path:
    """The `.keras` file at `path`, or in that run folder.

    Raises:
        UserError: there is none; the message says what is there instead.
    """
    path = Path(path)
    if path.is_dir() and (path / "run.json").exists() and not (path / RUN_MODEL).exists():
        raise UserError(f"{path} has no {RUN_MODEL} yet: its training has not finished; run it again")
    if path.is_dir() and (any(path.glob("saved_model.pb")) or any(path.glob("*/saved_model.pb"))):
        raise UserError(
            f"{path} is an exported SavedModel: this needs the run folder or .keras file that it was made of"
        )
    file = path / RUN_MODEL if path.is_dir() else path
    if not file.exists():
        raise UserError(f"no model at {path}: expected a run folder, a .keras file or an exported SavedModel")
    try:
        with file.open("rb") as stream:
            is_zip = zipfile.is_zipfile(stream)  # of a path it says no where that cannot be read
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from error
    if not is_zip or file.suffix != ".keras":  # PyTorch's files are ZIP archives too
        raise UserError(f"{file} is not a .keras file; weights of other kinds: keras-resnet import-weights")
    return file


def default_name(model_path: str | os.PathLike[str]) -> str:
    """Name of the run folder, or of the file without its ending; `run` for `run/model.keras`."""
    path = Path(model_path).resolve()
    if path.is_dir():
        return path.name
    return (path.parent.name if path.name == RUN_MODEL else "") or path.stem


def _check_description(model: keras.Model, info: ModelInfo) -> None:
    outputs, labels = model.output_shape[-1], len(info.label_names)
    if outputs != labels:
        raise UsageError(f"{labels} label names for a model of {outputs} outputs")
    if any(side not in (None, info.image_size) for side in model.input_shape[1:3]):
        height, width = model.input_shape[1:3]
        raise UsageError(
            f"an image_size of {info.image_size} for a model that takes {height} × {width} pixels"
        )


def _check_layers(model: keras.Model, architecture: Architecture) -> None:
    """Shapes are not compared, only which layers there are."""
    own = layers_of(model)
    if other := own ^ layers_wanted(architecture):
        layer = min(other)
        raise UsageError(
            f"the model is not a {architecture.name}: it has {'a' if layer in own else 'no'} layer {layer}"
        )


def _derived_info(model: keras.Model) -> ModelInfo | None:
    architecture = recognised(model)
    if architecture is None:
        return None
    image_size = model.input_shape[1] or architecture.default_image_size
    labels = tuple(str(index) for index in range(model.output_shape[-1]))
    return ModelInfo(architecture, labels, image_size, resize_before_crop(architecture, image_size))

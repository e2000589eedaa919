"""`keras_resnet.load`: whatever was saved, back as a `keras.Model`."""

from __future__ import annotations

import os
from pathlib import Path

import keras

from keras_resnet.errors import UserError, first_line
from keras_resnet.saving import read_model

SAVED_MODEL = "saved_model.pb"  # what makes a folder an exported SavedModel
ENDPOINT = "serving_default"
CARD_FOLDER = "assets.extra"  # TensorFlow leaves it alone: an export's description lies in it


def load(path: str | os.PathLike[str]) -> keras.Model:
    """The model at `path`, [N, H, W, 3] RGB 0…255 → [N, classes] probabilities.

    Args:
        path: a run folder, a `.keras` file, or an exported SavedModel: its own folder, or the folder of
            its versions in TensorFlow Serving's layout (the newest version is taken).

    Returns:
        The model. One that comes from a SavedModel is a single layer around the `serving_default`
        endpoint: it predicts, but has no layers to look into (and needs the TensorFlow backend).

    Raises:
        UserError: there is nothing, or nothing readable, at `path`.

    Example:
        >>> keras_resnet.load("runs/resnet20")(images).shape
        TensorShape([8, 10])
    """
    folder = saved_model_folder(path)
    return read_model(path)[0] if folder is None else _load_saved_model(folder)


def saved_model_folder(path: str | os.PathLike[str]) -> Path | None:
    """The folder of the SavedModel that `path` names, directly or by its newest version; else None."""
    path = Path(path)
    if not path.is_dir():
        return None
    if (path / SAVED_MODEL).is_file():
        return path
    versions = [
        child for child in path.iterdir() if child.name.isdecimal() and (child / SAVED_MODEL).is_file()
    ]
    return max(versions, key=lambda child: int(child.name), default=None)


def _load_saved_model(folder: Path) -> keras.Model:
    try:
        layer = keras.layers.TFSMLayer(str(folder), call_endpoint=ENDPOINT, name=ENDPOINT)
    except Exception as error:
        reason = first_line(error)
        raise UserError(f"cannot read {folder} as a SavedModel: {reason}") from error
    layer.trainable = False
    _, arguments = layer.call_endpoint_fn.structured_input_signature
    specs = list(arguments.values())
    if len(specs) != 1 or len(specs[0].shape) != 4:
        raise UserError(f"{folder}: its endpoint {ENDPOINT} does not take one batch of images [N, H, W, 3]")
    image = keras.Input(tuple(specs[0].shape[1:]), dtype=specs[0].dtype.name, name="image")
    outputs = layer(image)
    if isinstance(outputs, dict):
        outputs = outputs["probabilities"] if "probabilities" in outputs else next(iter(outputs.values()))
    return keras.Model(image, outputs, name=folder.parent.name if folder.name.isdecimal() else folder.name)

"""`keras-resnet predict`: the best classes of image files, from any saved form of a network."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_resnet.data.images import image_files, read_file, view_of
from keras_resnet.errors import UsageError
from keras_resnet.serving.forms import open_form

STDIN = "-"
BATCH = 16


def predict(
    model_path: str | os.PathLike[str],
    images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    top: int = 5,
) -> list[dict[str, Any]]:
    """Classify image files.

    Args:
        model_path: a run folder, `.keras` file or export (SavedModel, `.onnx`, `.tflite`).
        images: one or several files, folders (all images in them, by name, subfolders too), or "-" for the
            bytes of one image on stdin.
        top: number of classes to return for each, at most as many as there are.

    Returns:
        [{"image": path, "top": [{"label": …, "probability": …}, …]}, …], best class first.

    Raises:
        UsageError: no image is named, or `top` is below 1.
        UserError: the model or an image cannot be read; the message names it.
    """
    images = [images] if isinstance(images, str | os.PathLike) else images
    if not images:
        raise UsageError("name at least one image file or folder")
    if top < 1:
        raise UsageError(f"top must be 1 or more, not {top}")
    paths = _named(images)
    classifier = open_form(model_path)
    answers = []
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        views = np.stack([view_of(path, _contents(path), classifier.info) for path in batch])
        probabilities = np.asarray(classifier.predict(views), np.float32)
        answers += [
            {"image": path, "top": best(row, classifier.info.label_names, top)}
            for path, row in zip(batch, probabilities, strict=True)
        ]
    return answers


def best(probabilities: np.ndarray, labels: Sequence[str], top: int) -> list[dict[str, Any]]:
    """The `top` classes of one image's probabilities [classes], best first."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [{"label": labels[index], "probability": float(probabilities[index])} for index in order]


def _named(images: Sequence[str | os.PathLike[str]]) -> list[str]:
    return [file for image in images for file in ([STDIN] if image == STDIN else image_files([image]))]


def _contents(path: str) -> bytes:
    return sys.stdin.buffer.read() if path == STDIN else read_file(path)

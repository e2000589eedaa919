"""`keras-resnet predict`: the best classes of image files, from any saved form of a network."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from keras_resnet.data.images import image_files, read_file, view_of
from keras_resnet.data.loading import CORES
from keras_resnet.errors import UsageError, UserError
from keras_resnet.saving import ModelInfo
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
        [{"image": path, "top": [{"label": …, "probability": …}, …]}, …], best class first. Where a file
        cannot be read as an image, `top` is empty and "error" says why.

    Raises:
        UsageError: no image is named, stdin twice, or `top` is below 1.
        UserError: the model cannot be read, or a folder has no images.
    """
    return list(predictions(model_path, images, top))


def predictions(
    model_path: str | os.PathLike[str],
    images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    top: int = 5,
) -> Iterator[dict[str, Any]]:
    """The answers of `predict` one by one, as soon as each batch of images is done."""
    images = [images] if isinstance(images, str | os.PathLike) else images
    if not images:
        raise UsageError("name at least one image file or folder")
    if top < 1:
        raise UsageError(f"top must be 1 or more, not {top}")
    paths = _named(images)
    if paths.count(STDIN) > 1:
        raise UsageError("standard input has one image: name - once")
    classifier = open_form(model_path)
    with ThreadPoolExecutor(CORES) as pool:
        for start in range(0, len(paths), BATCH):
            batch = paths[start : start + BATCH]
            found = list(pool.map(partial(_view_or_reason, info=classifier.info), batch))
            views = [view for view in found if isinstance(view, np.ndarray)]
            rows = iter(np.asarray(classifier.predict(np.stack(views)), np.float32) if views else ())
            for path, view in zip(batch, found, strict=True):
                if isinstance(view, str):
                    yield {"image": path, "top": [], "error": view}
                else:
                    yield {"image": path, "top": best(next(rows), classifier.info.label_names, top)}


def _view_or_reason(path: str, info: ModelInfo) -> np.ndarray | str:
    try:
        return view_of(path, _contents(path), info)
    except UserError as error:
        return str(error)


def best(probabilities: np.ndarray, labels: Sequence[str], top: int) -> list[dict[str, Any]]:
    """The `top` classes of one image's probabilities [classes], best first."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [{"label": labels[index], "probability": float(probabilities[index])} for index in order]


def _named(images: Sequence[str | os.PathLike[str]]) -> list[str]:
    return [file for image in images for file in ([STDIN] if image == STDIN else image_files([image]))]


def _contents(path: str) -> bytes:
    return sys.stdin.buffer.read() if path == STDIN else read_file(path)

"""`keras-resnet predict`: the best classes of image files, from any saved form of a network."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet.data.views import EvalView, image_to_view
from keras_resnet.errors import UsageError, UserError
from keras_resnet.evaluation.classifier import Classifier, open_classifier

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".gif"})
STDIN = "-"
BATCH = 16


def predict(model_path: str, images: Sequence[str], top: int = 5) -> list[dict[str, Any]]:
    """Classify image files.

    Args:
        model_path: a run folder, `.keras` file or export.
        images: files, folders (all images in them, by name, subfolders too), or "-" for the bytes of
            one image on stdin.
        top: number of classes to return for each, at most as many as there are.

    Returns:
        [{"image": path, "top": [{"label": …, "probability": …}, …]}, …], best class first.

    Raises:
        UsageError: no image is named, or `top` is below 1.
        UserError: the model or an image cannot be read; the message names it.
    """
    if not images:
        raise UsageError("name at least one image file or folder")
    if top < 1:
        raise UsageError(f"top must be 1 or more, not {top}")
    paths = list(_files(images))
    classifier = open_classifier(model_path)
    answers = []
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        probabilities = classify(classifier, [view_of(path, _contents(path), classifier) for path in batch])
        answers += [
            {"image": path, "top": best(row, classifier.info.label_names, top)}
            for path, row in zip(batch, probabilities, strict=True)
        ]
    return answers


def view_of(name: str, contents: bytes, classifier: Classifier) -> np.ndarray:
    """What the network sees of an image file, [S, S, 3] uint8; `name` is for the message.

    Raises:
        UserError: the bytes are no readable image.
    """
    view = EvalView("single", classifier.info.image_size, classifier.info.resize)
    try:
        return image_to_view(tf.constant(contents), view).numpy()
    except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError) as error:
        raise UserError(f"{name} is no readable JPEG, PNG, BMP or GIF image") from error


def classify(classifier: Classifier, views: Sequence[np.ndarray]) -> np.ndarray:
    """Probabilities [N, classes] float32 of N views."""
    return np.asarray(classifier.predict(np.stack(views)), np.float32)


def best(probabilities: np.ndarray, labels: Sequence[str], top: int) -> list[dict[str, Any]]:
    """The `top` classes of one image's probabilities [classes], best first."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [{"label": labels[index], "probability": float(probabilities[index])} for index in order]


def _files(images: Sequence[str]) -> Iterator[str]:
    for image in images:
        path = Path(image)
        if image == STDIN or not path.is_dir():
            yield image
            continue
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        if not found:
            raise UserError(f"no images in {image}: looked for {', '.join(sorted(IMAGE_SUFFIXES))}")
        yield from map(str, found)


def _contents(path: str) -> bytes:
    if path == STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error

"""Image files for comparisons, calibration and prediction, as the network sees them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_resnet.data.views import EvalView, image_to_view
from keras_resnet.errors import UserError
from keras_resnet.saving import ModelInfo

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".gif"})
PHOTO_CROPS = 8  # of each of scikit-learn's two photos, where no images are given


def image_files(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Files as they are, and for a folder all images below it, by name.

    Raises:
        UserError: a folder has no images.
    """
    files: list[str] = []
    for path in paths:
        if not Path(path).is_dir():
            files.append(os.fspath(path))
            continue
        found = sorted(p for p in Path(path).rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not found:
            raise UserError(f"no images in {path}: looked for {', '.join(sorted(SUFFIXES))}")
        files += map(str, found)
    return files


def read_file(path: str) -> bytes:
    """The bytes of a file.

    Raises:
        UserError: it cannot be read; the message names it.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def view_of(name: str, contents: bytes, info: ModelInfo) -> np.ndarray:
    """The test view of an image file's bytes, [S, S, 3] uint8; `name` is for the message.

    Raises:
        UserError: the bytes are no readable image.
    """
    view = EvalView("single", info.image_size, info.resize)
    try:
        return image_to_view(tf.constant(contents), view).numpy()
    except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError) as error:
        raise UserError(f"{name} is no readable JPEG, PNG, BMP or GIF image") from error


def true_classes(files: Sequence[str], label_names: Sequence[str]) -> np.ndarray | None:
    """The class of each file by the name of its folder, [N]; None unless every folder is a label."""
    numbers = {label: number for number, label in enumerate(label_names)}
    folders = [Path(file).resolve().parent.name for file in files]
    if not files or any(folder not in numbers for folder in folders):
        return None
    return np.array([numbers[folder] for folder in folders])


def photo_crops(image_size: int) -> np.ndarray:
    """Crops of the two photos that scikit-learn ships, [16, S, S, 3] uint8: every machine has those."""
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(0)
    crops = []
    for photo in load_sample_images().images:
        height, width, _ = photo.shape
        for _ in range(PHOTO_CROPS):
            side = int(random.integers(min(64, height), height + 1))
            top = int(random.integers(0, height - side + 1))
            left = int(random.integers(0, width - side + 1))
            window = tf.constant(photo[top : top + side, left : left + side])
            resized = tf.image.resize(window, (image_size, image_size), antialias=True)
            crops.append(np.clip(np.round(resized.numpy()), 0, 255).astype(np.uint8))
    return np.stack(crops)

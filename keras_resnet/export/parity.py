"""Proof that an export is the same network: its answers beside the Keras model's, on real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_resnet.errors import UserError

# What is allowed, both for a single probability's difference and for the relative error. Float32 differs by
# the order of summation; bfloat16 has 8 bits of mantissa, which dozens of layers turn into percents.
TOLERANCES = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1, "int8": 3e-1}
FLOOR = 1e-6  # smaller probabilities count as this one in the relative error
PHOTO_CROPS = 8  # of each of scikit-learn's two photos, where no images are given


@dataclass(frozen=True)
class Parity:
    """How far an export's probabilities are from the Keras model's.

    `max_difference` and `mean_difference` are of single probabilities (0…1). `relative_error` is the
    root mean square difference of log-probabilities over their spread: it tells networks apart where all
    probabilities are small (1,000 classes, an untrained model). `top1_agreement` is the share of images
    with the same best class, `top1_equivalent` counts those too where the model itself holds the
    export's class as likely as its own, to within the tolerance.
    """

    images: int
    max_difference: float
    mean_difference: float
    relative_error: float
    top1_agreement: float
    top1_equivalent: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the export counts as the same network."""
        within = max(self.max_difference, self.relative_error) <= self.tolerance
        return within and self.top1_equivalent == 1.0

    def describe(self) -> str:
        """One line for people."""
        return (
            f"parity on {self.images} images: largest difference of a probability "
            f"{self.max_difference:.2g}, relative error {self.relative_error:.2g} (allowed "
            f"{self.tolerance:g}), same top-1 class on {self.top1_agreement:.1%}"
        )


def compare(expected: np.ndarray, actual: np.ndarray, precision: str) -> Parity:
    """Compare probabilities [N, classes] of the Keras model and of the export.

    Raises:
        UserError: one of them has values that are not finite.
    """
    for name, values in (("model", expected), ("export", actual)):
        if not np.isfinite(values).all():
            raise UserError(
                f"the {name} gives values that are not finite on the parity images: train or "
                "recalibrate the model first"
            )
    tolerance = TOLERANCES[precision]
    difference = np.abs(expected.astype(np.float64) - actual.astype(np.float64))
    chosen = actual.argmax(1)
    held = expected[np.arange(len(expected)), chosen] >= expected.max(1) - tolerance
    return Parity(
        images=len(expected),
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        relative_error=_relative_error(expected, actual),
        top1_agreement=float((chosen == expected.argmax(1)).mean()),
        top1_equivalent=float(held.mean()),
        tolerance=tolerance,
    )


def _relative_error(expected: np.ndarray, actual: np.ndarray) -> float:
    logs = [np.log(np.maximum(values.astype(np.float64), FLOOR)) for values in (expected, actual)]
    spread = logs[0] - logs[0].mean(axis=1, keepdims=True)
    error = np.sqrt(np.mean((logs[1] - logs[0]) ** 2))
    # A model of one class has no spread, and no way to differ.
    return float(error / max(np.sqrt(np.mean(spread**2)), FLOOR))


def check(
    reference: Callable[[np.ndarray], np.ndarray],
    export: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    precision: str,
    batch: int = 16,
) -> Parity:
    """Run both on `images` [N, S, S, 3] uint8 in batches and compare.

    Raises:
        UserError: they differ by more than the precision explains.
    """
    batches = [images[start : start + batch] for start in range(0, len(images), batch)]
    expected = np.concatenate([np.asarray(reference(part), np.float32) for part in batches])
    actual = np.concatenate([np.asarray(export(part), np.float32) for part in batches])
    parity = compare(expected, actual, precision)
    if not parity.passed:
        raise UserError(f"the export is not the same network, nothing was written; {parity.describe()}")
    return parity


def parity_images(files: Sequence[str], image_size: int, resize: int) -> np.ndarray:
    """The images to compare on, [N, S, S, 3] uint8: the given files, or crops of two photos.

    The photos are those that scikit-learn ships, so that every machine has real images.

    Raises:
        UserError: a file cannot be read as an image.
    """
    if files:
        return np.stack([read_view(path, image_size, resize) for path in files])
    return _photo_crops(image_size)


def read_view(path: str, image_size: int, resize: int) -> np.ndarray:
    """Decode an image file and take its test view, [S, S, 3] uint8.

    Raises:
        UserError: there is no such file, or it is no image.
    """
    import tensorflow as tf

    from keras_resnet.data.views import EvalView, image_to_view

    try:
        contents = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        return image_to_view(tf.constant(contents), EvalView("single", image_size, resize)).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise UserError(f"{path} is no readable JPEG, PNG, BMP or GIF image") from error


def _photo_crops(image_size: int) -> np.ndarray:
    import tensorflow as tf
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(0)
    crops: list[Any] = []
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

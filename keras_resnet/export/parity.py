"""Proof that an export is the same network: its answers beside the Keras model's, on real images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_resnet.errors import UserError

# Largest relative error allowed. Float32 differs by the order of summation; bfloat16 has 8 bits of mantissa,
# which dozens of layers turn into percents (measured: 0.002 to 0.02).
TOLERANCES = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1, "int8": 3e-1}
# Largest difference of a single probability. Where two classes are as likely, a percent of a logit moves much
# probability: ResNet-20 on 1,000 images in bfloat16 0.1.
LARGEST = {"float32": 1e-3, "float16": 1e-1, "bfloat16": 4e-1, "int8": 1.0}
# Smaller probabilities count as this one in the relative error; LiteRT's int8 softmax has 256 steps.
FLOORS = {"int8": 1 / 256}
FLOOR = 1e-6


@contextmanager
def full_float32() -> Iterator[None]:
    """Without TF32, in which GPUs since Ampere round what they multiply to 10 bits."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


@dataclass(frozen=True)
class Parity:
    """How far an export's probabilities are from the Keras model's.

    `max_difference` and `mean_difference` are of single probabilities (0…1). `relative_error` is the
    root mean square difference of log-probabilities over their spread: it tells networks apart where all
    probabilities are small (1,000 classes, an untrained model). `top1_agreement` is the share of images
    with the same best class. Where the images' true classes are known, `model_error` and `export_error`
    are the top-1 errors of both, in percent.
    """

    images: int
    max_difference: float
    mean_difference: float
    relative_error: float
    top1_agreement: float
    precision: str
    model_error: float | None = None
    export_error: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the export counts as the same network."""
        return (
            self.relative_error <= TOLERANCES[self.precision]
            and self.max_difference <= LARGEST[self.precision]
        )

    def describe(self) -> str:
        """One line for people."""
        errors = ""
        if self.model_error is not None:
            errors = f"; top-1 error {self.export_error:.2f} % instead of {self.model_error:.2f} %"
        return (
            f"parity on {self.images} images: largest difference of a probability "
            f"{self.max_difference:.2g} (allowed {LARGEST[self.precision]:g}), relative error "
            f"{self.relative_error:.2g} (allowed {TOLERANCES[self.precision]:g}), same top-1 class on "
            f"{self.top1_agreement:.1%}{errors}"
        )


def compare(
    expected: np.ndarray, actual: np.ndarray, precision: str, truth: np.ndarray | None = None
) -> Parity:
    """Compare probabilities [N, classes] of the Keras model and of the export.

    `truth` [N] are the images' classes, where they are known.

    Raises:
        UserError: one of them has values that are not finite.
    """
    for name, values in (("model", expected), ("export", actual)):
        if not np.isfinite(values).all():
            raise UserError(
                f"the {name} gives values that are not finite on the parity images: train or "
                "recalibrate the model first"
            )
    difference = np.abs(expected.astype(np.float64) - actual.astype(np.float64))
    return Parity(
        images=len(expected),
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        relative_error=_relative_error(expected, actual, FLOORS.get(precision, FLOOR)),
        top1_agreement=float((actual.argmax(1) == expected.argmax(1)).mean()),
        precision=precision,
        model_error=_error(expected, truth),
        export_error=_error(actual, truth),
    )


def _error(probabilities: np.ndarray, truth: np.ndarray | None) -> float | None:
    return None if truth is None else 100 * float((probabilities.argmax(1) != truth).mean())


def _relative_error(expected: np.ndarray, actual: np.ndarray, floor: float) -> float:
    logs = [np.log(np.maximum(values.astype(np.float64), floor)) for values in (expected, actual)]
    spread = logs[0] - logs[0].mean(axis=1, keepdims=True)
    error = np.sqrt(np.mean((logs[1] - logs[0]) ** 2))
    # A model of one class has no spread, and no way to differ.
    return float(error / max(np.sqrt(np.mean(spread**2)), FLOOR))


def check(
    reference: Callable[[np.ndarray], np.ndarray],
    export: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    precision: str,
    truth: np.ndarray | None = None,
    batch: int = 16,
) -> Parity:
    """Run both on `images` [N, S, S, 3] uint8 in batches and compare.

    Raises:
        UserError: they differ by more than the precision explains.
    """
    batches = [images[start : start + batch] for start in range(0, len(images), batch)]
    expected = np.concatenate([np.asarray(reference(part), np.float32) for part in batches])
    actual = np.concatenate([np.asarray(export(part), np.float32) for part in batches])
    parity = compare(expected, actual, precision, truth)
    if not parity.passed:
        raise UserError(f"the export is not the same network, nothing was written; {parity.describe()}")
    return parity

"""What scores say: errors, intervals, per-class errors, calibration, and the comparison of two models.

Plain NumPy over probabilities [images, classes] and labels [images]; nothing here knows of Keras.
Errors are percentages, as the paper gives them; probabilities and calibration errors are fractions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]

Z_95 = 1.959963984540054  # half width of a 95 % interval of the normal distribution


def label_ranks(probabilities: Floats, labels: Integers) -> Integers:
    """How many classes score better than the true one, [images]; 0 where the image is classified right.

    Of classes with equal scores the one of lower number wins, so that ties do not depend on a sort.
    NaN is worse than any place: a network that diverged is not right about anything.
    """
    own = probabilities[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(probabilities.shape[1])[None, :] < labels[:, None]
    return (~(probabilities <= own) | ((probabilities == own) & earlier)).sum(axis=1)


def percent(part: int, whole: int) -> float:
    """100 · part / whole; NaN for nothing out of nothing."""
    return 100.0 * part / whole if whole else math.nan


def wilson_interval(errors: int, images: int) -> tuple[float, float]:
    """95 % confidence interval of an error rate, in percent (Wilson 1927).

    Unlike the usual ± it stays inside 0…100 and is right for few images and errors near 0.
    """
    if images == 0:
        return 0.0, 100.0
    p, z = errors / images, Z_95
    center = p + z * z / (2 * images)
    half = z * math.sqrt(p * (1 - p) / images + z * z / (4 * images * images))
    scale = 1 + z * z / images
    low = 0.0 if errors == 0 else (center - half) / scale
    high = 1.0 if errors == images else (center + half) / scale
    return 100.0 * low, 100.0 * high


def confusion_matrix(labels: Integers, predictions: Integers, classes: int) -> Integers:
    """Images by (true class, predicted class), [classes, classes]; it sums to the number of images."""
    cells = labels.astype(np.int64) * classes + predictions
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def per_class_error(confusion: Integers) -> Floats:
    """Top-1 error of each true class in percent, [classes]; NaN for a class without images."""
    images = confusion.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(images > 0, 100.0 * (1.0 - np.diag(confusion) / images), np.nan)


@dataclass(frozen=True)
class Calibration:
    """How far confidence can be taken for accuracy (Guo et al. 2017), over bins of equal width.

    `confidence` and `accuracy` are means over the `images` of each bin, NaN where a bin is empty; `ece`,
    the expected calibration error, is the mean over all images of |accuracy − confidence| of their bin.
    All three are fractions.
    """

    ece: float
    confidence: Floats
    accuracy: Floats
    images: Integers


def calibration(probabilities: Floats, labels: Integers, bins: int = 15) -> Calibration:
    """Calibration of the predicted class; confidence exactly on a bin's edge belongs to the bin below."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = label_ranks(probabilities, labels) == 0
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    images = np.bincount(bin_of, minlength=bins)
    sums = np.bincount(bin_of, confidence, bins), np.bincount(bin_of, correct, bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_confidence, accuracy = sums[0] / images, sums[1] / images
    gap = float(np.abs(sums[0] - sums[1]).sum() / len(labels)) if len(labels) else math.nan
    return Calibration(gap, mean_confidence, accuracy, images)


@dataclass(frozen=True)
class McNemar:
    """Two models on the same images: how many only one of them got right, and how likely by chance.

    Attributes:
        only_first_right: images that only the first model classified correctly.
        only_second_right: images that only the second one did.
        p_value: of the exact two-sided binomial test of McNemar (1947): the probability of a split at least
            as uneven as this one, were both models equally good.
    """

    only_first_right: int
    only_second_right: int
    p_value: float


def mcnemar_test(first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> McNemar:
    """McNemar's test on two vectors of "classified right", [images] each, over the same images."""
    first = int((first_right & ~second_right).sum())
    second = int((second_right & ~first_right).sum())
    # Exact in integers: floats overflow beyond about a thousand disagreements.
    n, term, tail = first + second, 1, 0
    for k in range(min(first, second) + 1):
        tail += term
        term = term * (n - k) // (k + 1)
    return McNemar(first, second, min(1.0, 2 * tail / 2**n))

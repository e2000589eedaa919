"""The 1,797 handwritten digits that scikit-learn ships: real images on a machine without network."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

LABEL_NAMES = tuple(str(digit) for digit in range(10))
SPLITS = {"train": 1197, "val": 300, "test": 300}
IMAGE_SHAPE = (32, 32, 3)
_SPLIT_SEED = 2015  # fixed for ever: errors on digits are comparable between versions


def stratified_parts(labels: np.ndarray, sizes: tuple[int, ...], seed: int) -> list[np.ndarray]:
    """Draw disjoint parts of the given sizes in which every class keeps its share.

    Args:
        labels: [N] int, the class of every image.
        sizes: images per part; together at most N. What is left over belongs to no part.
        seed: of the draw. `RandomState` gives the same draw in every version of NumPy.

    Returns:
        One ascending int64 array of indices per size.
    """
    random = np.random.RandomState(seed)
    left = [random.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]
    parts = []
    for size in sizes:
        available = np.array([len(indices) for indices in left])
        share = size * available / max(1, available.sum())
        counts = np.floor(share).astype(int)
        # Largest remainders get the images that rounding down left over.
        for c in np.argsort(counts - share, kind="stable")[: size - counts.sum()]:
            counts[c] += 1
        taken = [indices[:count] for indices, count in zip(left, counts, strict=True)]
        left = [indices[count:] for indices, count in zip(left, counts, strict=True)]
        parts.append(np.sort(np.concatenate(taken)))
    return parts


@lru_cache(maxsize=1)
def _all_digits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    from PIL import Image
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)
    size = IMAGE_SHAPE[:2]
    large = np.stack([Image.fromarray(g).resize(size, Image.Resampling.BILINEAR) for g in grey])
    pixels = np.repeat(large[..., np.newaxis], 3, axis=-1)
    labels = digits.target.astype(np.int32)
    parts = stratified_parts(labels, tuple(SPLITS.values()), _SPLIT_SEED)
    return {split: (pixels[part], labels[part]) for split, part in zip(SPLITS, parts, strict=True)}


def digits_arrays(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels [N, 32, 32, 3] uint8 (RGB, all three equal) and labels [N] int32 of a split.

    The originals are 8 × 8 with grey levels 0…16; they are scaled to 0…255 and enlarged once,
    bilinearly, to CIFAR's 32 × 32, so that the networks of Sec. 4.2 run on them unchanged.
    """
    return _all_digits()[split]

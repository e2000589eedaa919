"""Images to compare an export with the model on, and their true classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

PHOTO_CROPS = 8  # of each of scikit-learn's two photos, where no images are given


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

"""A few images of a data set as files, to try a model on."""

from __future__ import annotations

import re
from pathlib import Path

import tensorflow as tf

from keras_resnet.data.pipeline import evaluation_images
from keras_resnet.data.sources import Dataset
from keras_resnet.errors import UserError


def write_samples(dataset: Dataset, split: str, folder: str | Path, count: int = 5) -> list[Path]:
    """Write `count` images, spread evenly over `split`, as PNG files named `LABEL-INDEX.png`.

    Raises:
        UserError: the folder cannot be written.
        UsageError: there is no such split.
    """
    folder = Path(folder)
    step = max(1, dataset.images(split) // count)
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for image, label, index in evaluation_images(dataset, split).shard(step, 0).take(count):
            name = re.sub(r"[^\w.-]+", "_", dataset.label_names[int(label)])
            path = folder / f"{name}-{int(index):05d}.png"
            path.write_bytes(tf.io.encode_png(image).numpy())
            paths.append(path)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
    return paths

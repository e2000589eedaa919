"""A few images of a data set: as files to try a model on, and to look at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet.data.examples import split_examples, split_stream
from keras_resnet.data.pipeline import evaluation_images
from keras_resnet.data.sources import Dataset
from keras_resnet.errors import unwrapped, writing


def write_samples(dataset: Dataset, split: str, folder: str | Path, count: int = 5) -> list[Path]:
    """Write `count` images, spread evenly over `split`, as PNG files named `LABEL-INDEX.png`.

    Raises:
        UserError: a file cannot be written.
        UsageError: there is no such split.
    """
    paths = []
    for image, label, index in _spread(dataset, split, count):
        name = re.sub(r"[^\w.-]+", "_", dataset.label_names[int(label)])
        path = Path(folder) / f"{name}-{int(index):05d}.png"
        with writing(path):
            path.write_bytes(tf.io.encode_png(image).numpy())
        paths.append(path)
    return paths


def _spread(dataset: Dataset, split: str, count: int) -> Iterator[tuple[Any, Any, Any]]:
    """Up to `count` readable images, evenly spread (the first of a stream): image, label, index."""
    if split_stream(dataset, split) is not None:
        with unwrapped():
            yield from evaluation_images(dataset, split).take(count)
        return
    examples = split_examples(dataset, split)
    for index in np.linspace(0, len(examples) - 1, min(count, len(examples))).astype(np.int64):
        with suppress(tf.errors.OpError, UnicodeDecodeError):
            yield examples.image(tf.constant(index)), examples.labels[index], index

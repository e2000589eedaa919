"""A few images of a data set: as files to try a model on, and to look at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_resnet.data.examples import split_examples, split_stream
from keras_resnet.data.pipeline import evaluation_images
from keras_resnet.data.skips import SkipLog
from keras_resnet.data.sources import Dataset
from keras_resnet.errors import UserError, unwrapped


def spread(dataset: Dataset, split: str, count: int) -> Iterator[tuple[tf.Tensor | None, int, int, str]]:
    """Up to `count` images spread evenly over `split` (the first ones of a split that is a stream).

    Yields:
        (image [H, W, 3] uint8 or None where it is unreadable, label, index, name); of a stream, the
        unreadable ones that were met come last, with -1 for label and index.
    """
    if split_stream(dataset, split) is not None:
        log = SkipLog()
        with unwrapped():
            for image, label, index in evaluation_images(dataset, split, skip_log=log).take(count):
                yield image, int(label), int(index), f"record {int(index)}"
        for name in log.names:
            yield None, -1, -1, name
        return
    examples = split_examples(dataset, split)
    chosen = np.linspace(0, len(examples) - 1, min(count, len(examples))).astype(np.int64)
    for index in chosen:
        try:
            image = examples.image(tf.constant(index))
        except tf.errors.OpError:
            image = None
        yield image, int(examples.labels[index]), int(index), str(examples.names[index])


def write_samples(dataset: Dataset, split: str, folder: str | Path, count: int = 5) -> list[Path]:
    """Write `count` images, spread evenly over `split`, as PNG files named `LABEL-INDEX.png`.

    Raises:
        UserError: the folder cannot be written.
        UsageError: there is no such split.
    """
    folder = Path(folder)
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for image, label, index, _ in spread(dataset, split, count):
            if image is None:
                continue
            name = re.sub(r"[^\w.-]+", "_", dataset.label_names[label])
            path = folder / f"{name}-{index:05d}.png"
            path.write_bytes(tf.io.encode_png(image).numpy())
            paths.append(path)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
    return paths

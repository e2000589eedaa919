"""Small splits, decoded once and kept: what makes CIFAR's pipeline as fast as its arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_resnet.data import views
from keras_resnet.data.examples import Examples, split_examples, split_stream
from keras_resnet.data.graph import without_autograph
from keras_resnet.data.loading import Loader, no_draws
from keras_resnet.data.skips import SkipLog
from keras_resnet.data.sources import Dataset
from keras_resnet.errors import UserError

LIMIT_BYTES = 2 * 2**30  # of pixels per data set; larger splits are decoded as they are needed
_CHUNK = 512


@dataclass(frozen=True)
class Decoded:
    """A split decoded to squares of one size.

    Attributes:
        pixels: [N, S, S, 3] uint8, and
        labels: [N] int32: an unreadable image has those of the next readable one.
        unreadable: indices of the images that could not be read, ascending.
    """

    pixels: tf.Tensor
    labels: np.ndarray
    unreadable: np.ndarray


def decoded_split(dataset: Dataset, split: str, size: int, resize: int, skip_log: SkipLog) -> Decoded | None:
    """Return `split` decoded, resized and centrally cropped to squares, or None where it is large.

    The result is kept with the data set: asking again costs nothing.

    Args:
        dataset: any data set.
        split: one of its splits.
        size: side of the squares.
        resize: shorter side before the central crop.
        skip_log: gets the names of the unreadable images.

    Raises:
        UserError: more images are unreadable than the skip log accepts, or all of them.
    """
    key = ("pixels", split, size, resize)
    if key not in dataset.memory:
        kept = (entry[0] for name, entry in dataset.memory.items() if name[0] == "pixels")
        used = sum(decoded.pixels.shape.num_elements() for decoded in kept)
        if used + dataset.images(split) * size * size * 3 > LIMIT_BYTES:
            return None
        if split_stream(dataset, split) is not None:
            return None
        examples = split_examples(dataset, split)
        reasons: dict[str, str] = {}
        view = views.EvalView("single", size, resize)
        dataset.memory[key] = (_decode(examples, view, reasons.setdefault), reasons)
    decoded, unreadable = dataset.memory[key]
    for name, reason in unreadable.items():
        skip_log.add(split, name, reason)
    skip_log.check()
    return decoded


def _decode(examples: Examples, view: views.EvalView, report: Callable[[str, str], object]) -> Decoded:
    count, size = len(examples), view.image_size
    whole = None if examples.pixels is None else examples.pixels.shape[1:3].as_list()
    if whole == [size, size] == [view.resize, view.resize]:
        return Decoded(examples.pixels, examples.labels, np.zeros(0, np.int64))
    loader = Loader(
        lambda index, _: views.eval_single(examples.image(index), view),
        tf.TensorSpec([size, size, 3], tf.uint8),
        report,
        examples.names,
    )

    def load_chunk(start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        indices = tf.range(start, tf.minimum(start + _CHUNK, count))
        positions, images = loader.readable(indices, no_draws(indices))
        return tf.gather(indices, positions), images

    pixels = np.zeros([count, size, size, 3], np.uint8)
    readable = np.zeros(count, bool)
    chunks = tf.data.Dataset.range(0, count, _CHUNK).map(without_autograph(load_chunk), num_parallel_calls=2)
    for indices, images in chunks.prefetch(1).as_numpy_iterator():
        pixels[indices] = images
        readable[indices] = True
    if not readable.any():
        raise UserError(
            f"none of the {count} images is readable (first: {examples.names[0]}): is this the right folder?"
        )
    source = _next_readable(readable)
    missing = np.flatnonzero(~readable)
    pixels[missing] = pixels[source[missing]]
    with tf.device("CPU:0"):
        return Decoded(tf.constant(pixels), examples.labels[source], missing)


def _next_readable(readable: np.ndarray) -> np.ndarray:
    """For each index itself where readable, else the next readable one; after the last the first."""
    good = np.flatnonzero(readable)
    after = np.searchsorted(good, np.arange(len(readable)))
    return good[after % len(good)]

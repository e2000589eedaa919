"""Mean, deviation and colour components of a training set, and ImageNet's published ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_resnet.data import decode, streams
from keras_resnet.data.examples import split_examples, split_stream
from keras_resnet.data.graph import require, without_autograph
from keras_resnet.data.loading import Loader, no_draws
from keras_resnet.data.order import Plan
from keras_resnet.data.sources import Dataset
from keras_resnet.errors import UserError, unwrapped

_CHUNK = 256  # images in memory at once, at most
_CHUNK_NUMBERS = 2**26  # float32 of a chunk's rows: 256 MiB
_MEAN_IMAGE = 2**20  # numbers of the largest mean image, 590 × 590: larger images are never seen whole


@dataclass(frozen=True)
class Statistics:
    """What normalisation and colour augmentation need to know of a training set.

    Attributes:
        mean: RGB, 0…255.
        std: deviation of single pixels from `mean`, RGB, 0…255.
        pixel_mean: [H, W, 3] float32, 0…255, the mean of each pixel (Sec. 3.4 and 4.2), where all
            images share one size, of at most 590 × 590; else None.
        eigenvalues: [3] float32, largest first: those of the covariance of RGB / 255, times 255, so
            that AlexNet's colour shift comes out in levels.
        eigenvectors: [3, 3] float32, one column per component, rows RGB.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    pixel_mean: np.ndarray | None
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray


# Mean and deviation as torchvision's, the components as fb.resnet.torch's, both of ImageNet-1k.
IMAGENET = Statistics(
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    pixel_mean=None,
    eigenvalues=np.array([0.2175, 0.0188, 0.0045], np.float32) * 255,
    eigenvectors=np.array(
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]],
        np.float32,
    ),
)


def compute_statistics(dataset: Dataset, split: str = "train", *, limit: int | None = None) -> Statistics:
    """Compute the statistics of a split, from all of its images or a sample of `limit`.

    Args:
        dataset: any data set.
        split: its training split; never the one that is tested on.
        limit: of a larger split, about this many images are used: spread evenly over it, or, of a
            stream, the first of a random order. By default 50,000 of images of one size, whose mean image
            is wanted, and 10,000 of photographs: their mean colour is then good to half a level.

    Raises:
        UserError: no image of the split is readable.
    """
    if limit is None:
        limit = 10_000 if _one_shape(dataset) is None else 50_000
    moments, pixel_mean = _moments(dataset, split, limit)
    mean = moments[:3]
    covariance = moments[3:].reshape(3, 3) - np.outer(mean, mean)
    eigenvalues, eigenvectors = np.linalg.eigh(covariance / 255)
    eigenvectors = eigenvectors[:, ::-1]
    # The sign of a component is arbitrary; fix it, so that equal data gives equal colours.
    eigenvectors = eigenvectors * np.where(eigenvectors.sum(axis=0) < 0, -1, 1)
    return Statistics(
        mean=tuple(mean.tolist()),
        # Rounded, the variance of images of one colour can be below 0.
        std=tuple(np.sqrt(np.maximum(np.diag(covariance), 0)).tolist()),
        pixel_mean=pixel_mean,
        eigenvalues=np.maximum(eigenvalues[::-1], 0).astype(np.float32),
        eigenvectors=eigenvectors.astype(np.float32),
    )


def _one_shape(dataset: Dataset) -> tuple[int, int, int] | None:
    """The shape of the mean image, None where there is none."""
    shape = dataset.image_shape
    return shape if shape is not None and np.prod(shape) <= _MEAN_IMAGE else None


def _moments(dataset: Dataset, split: str, limit: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Mean over the images of [12] (RGB, products of channels), and of each pixel of images of one size.

    Every image counts the same, whatever its size.
    """
    shape = _one_shape(dataset)
    pixels = 0 if shape is None else int(np.prod(shape))
    count, total = 0, np.zeros(12 + pixels)
    with unwrapped():
        for rows in _rows(dataset, split, limit).prefetch(1).as_numpy_iterator():
            count += len(rows)
            total += rows.sum(axis=0, dtype=np.float64)
    if not count:
        raise UserError(f"no image of {dataset.name} ({split}) is readable: no mean to compute")
    mean = total / count
    return mean[:12], None if shape is None else mean[12:].reshape(shape).astype(np.float32)


def _rows(dataset: Dataset, split: str, limit: int) -> tf.data.Dataset:
    """A row for each readable image, [M, 12 + pixels], in chunks."""
    shape = _one_shape(dataset)
    chunk = max(1, min(_CHUNK, _CHUNK_NUMBERS // (12 + (0 if shape is None else int(np.prod(shape))))))
    shards = split_stream(dataset, split)
    if shards is None:
        examples = split_examples(dataset, split)
        number = min(limit, len(examples))
        # Evenly spaced: splits are ordered by class, so every class is in the sample.
        indices = np.arange(number, dtype=np.int64) * len(examples) // number
        loader = _row_loader(examples.image, shape, examples.names)

        def load(keys: tf.Tensor) -> tf.Tensor:
            return loader.readable(keys, no_draws(keys))[1]

        return tf.data.Dataset.from_tensor_slices(indices).batch(chunk).map(without_autograph(load))
    batch = min(chunk, shards.images)
    records = streams.training_records(shards, Plan(0, shards.images, batch), 0)
    stream_loader = _row_loader(decode.decode_image, shape, None)

    def decode_rows(_: tf.Tensor, contents: tf.Tensor, __: tf.Tensor, names: tf.Tensor) -> tf.Tensor:
        return stream_loader.readable(contents, no_draws(contents), names)[1]

    chunks = max(1, min(limit, shards.images) // batch)
    return records.take(chunks).map(without_autograph(decode_rows))


def _row_loader(
    decoded: Callable[[tf.Tensor], tf.Tensor],
    shape: tuple[int, int, int] | None,
    names: Sequence[str] | None,
) -> Loader:
    """Loads an image's row; one of another than the given shape is passed over like an unreadable one."""
    spec = tf.TensorSpec([12 + (0 if shape is None else int(np.prod(shape)))], tf.float32)

    def load(key: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        image = decoded(key)
        if shape is None:  # of large photos every k-th pixel says as much, in much less memory
            k = tf.maximum(1, tf.reduce_min(tf.shape(image)[:2]) // 512)
            image = image[::k, ::k]
        flat = tf.reshape(tf.cast(image, tf.float32), [-1, 3])
        products = tf.matmul(flat, flat, transpose_a=True) / tf.cast(tf.shape(flat)[0], tf.float32)
        parts = [tf.reduce_mean(flat, axis=0), tf.reshape(products, [9])]
        if shape is not None:
            same = tf.reduce_all(tf.equal(tf.shape(image), shape))
            parts.append(tf.reshape(require(same, flat, "size differs:", tf.shape(image)), [-1]))
        return tf.ensure_shape(tf.concat(parts, axis=0), spec.shape)

    return Loader(load, spec, lambda name, reason: None, names)

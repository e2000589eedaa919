"""The examples of one split for access by index: labels, names, and files or pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_resnet.data import decode
from keras_resnet.data.digits import digits_arrays, stratified_parts
from keras_resnet.data.sources import Dataset
from keras_resnet.errors import UserError


@dataclass(frozen=True)
class Examples:
    """The images of a split, reachable in any order.

    Attributes:
        labels: [N] int32.
        names: N names to report an image by (its path).
        files: [N] string tensor of paths, or
        pixels: [N, H, W, 3] uint8 tensor of decoded images.
    """

    labels: np.ndarray
    names: Sequence[str]
    files: tf.Tensor | None = None
    pixels: tf.Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def contents(self, index: tf.Tensor) -> tf.Tensor:
        """Return the bytes of an image file, a scalar string; `index` is a scalar int64."""
        if self.files is None:
            raise ValueError("these examples are pixels, not files")
        return tf.io.read_file(self.files[index])

    def image(self, index: tf.Tensor) -> tf.Tensor:
        """Return one decoded image, [H, W, 3] uint8; raises an op error where it is unreadable."""
        if self.pixels is not None:
            return self.pixels[index]
        return decode.decode_image(self.contents(index))


def split_examples(dataset: Dataset, split: str) -> Examples:
    """Return the examples of `split`, the part that `hold_out` left or moved there.

    Raises:
        UsageError: there is no such split.
    """
    dataset.images(split)
    if split not in ("train", "val") or not dataset.held_out:
        return _stored_examples(dataset, split)
    whole = _stored_examples(dataset, "train")
    (held,) = stratified_parts(whole.labels, (dataset.held_out,), dataset.hold_out_seed)
    keep = held if split == "val" else np.setdiff1d(np.arange(len(whole)), held)
    with tf.device("CPU:0"):
        return Examples(
            labels=whole.labels[keep],
            names=[whole.names[i] for i in keep],
            files=None if whole.files is None else tf.gather(whole.files, keep),
            pixels=None if whole.pixels is None else tf.gather(whole.pixels, keep),
        )


def _stored_examples(dataset: Dataset, split: str) -> Examples:
    # Pixels and paths stay in host memory: the input pipeline runs there, whatever trains.
    with tf.device("CPU:0"):
        if dataset.kind == "digits":
            pixels, labels = digits_arrays(split)
            names = [f"digits {split} {i}" for i in range(len(labels))]
            return Examples(labels, names, pixels=tf.constant(pixels))
        if dataset.kind == "folder":
            listing = dataset.listings[split]
            return Examples(listing.labels, listing.paths, files=tf.constant(listing.paths))
    raise UserError(f"data sets of kind {dataset.kind} cannot be read yet: use a folder")

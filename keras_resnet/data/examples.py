"""The examples of one split for access by index: labels, names, and files, bytes or pixels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from keras_resnet.data import catalog, decode, records
from keras_resnet.data.digits import digits_arrays, stratified_parts
from keras_resnet.data.records import Shards
from keras_resnet.data.slices import split_name
from keras_resnet.data.sources import Dataset
from keras_resnet.errors import UsageError


@dataclass(frozen=True)
class Examples:
    """The images of a split, reachable in any order.

    Attributes:
        labels: [N] int32.
        names: N names to report an image by (its path).
        paths: [N] string tensor, the image files' paths; or
        encoded: [N] string tensor, the image files' bytes; or
        pixels: [N, H, W, 3] uint8 tensor of decoded images. All of them lie in host memory.
    """

    labels: np.ndarray
    names: Sequence[str]
    paths: tf.Tensor | None = None
    encoded: tf.Tensor | None = None
    pixels: tf.Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def contents(self, index: tf.Tensor) -> tf.Tensor:
        """Return the bytes of an image file, a scalar string; `index` is a scalar int64."""
        if self.encoded is not None:
            return self.encoded[index]
        if self.paths is not None:
            return tf.io.read_file(self.paths[index])
        raise ValueError("these examples are pixels, not files")

    def image(self, index: tf.Tensor) -> tf.Tensor:
        """Return one decoded image, [H, W, 3] uint8; raises an op error where it is unreadable."""
        if self.pixels is not None:
            return self.pixels[index]
        return decode.decode_image(self.contents(index))

    def part(self, indices: np.ndarray) -> Examples:
        """Return the examples at `indices`, in that order."""
        with tf.device("CPU:0"):
            paths, encoded, pixels = (
                None if tensor is None else tf.gather(tensor, indices)
                for tensor in (self.paths, self.encoded, self.pixels)
            )
        names = [self.names[i] for i in indices]
        return Examples(self.labels[indices], names, paths, encoded, pixels)


def split_stream(dataset: Dataset, split: str) -> Shards | None:
    """Return the shards of a split too large to be read whole, None where it has `Examples`.

    Raises:
        UsageError: there is no such split, or part of a stream is to be held out.
    """
    start, stop = dataset.range(split)
    stored, held_out = _stored_split(dataset, split)
    if dataset.kind not in ("tfds", "tfrecord"):
        return None
    shards = _shards(dataset, stored)
    size = shards.size
    if size <= records.MEMORY_BYTES:
        return None
    if held_out:
        raise UsageError(
            f"{dataset.name} is too large to hold out images class by class: "
            "use slices, such as train[:99%] and train[99%:]"
        )
    return replace(shards, buffer=records.buffer_for(size // shards.images)).part(start, stop)


def split_examples(dataset: Dataset, split: str) -> Examples:
    """Return the examples of `split`: its slice, and what `hold_out` left or moved there.

    Not for the splits that `split_stream` returns: this one reads records into memory.

    Raises:
        UsageError: there is no such split.
        UserError: its records are damaged or without labels.
    """
    key = ("part", split)
    if key not in dataset.memory:  # parts are copies
        dataset.memory[key] = _part(dataset, split)
    return dataset.memory[key]


def _part(dataset: Dataset, split: str) -> Examples:
    start, stop = dataset.range(split)
    stored, held_out = _stored_split(dataset, split)
    whole = _stored_examples(dataset, stored)
    if held_out:
        (held,) = stratified_parts(whole.labels, (dataset.held_out,), dataset.hold_out_seed)
        rest = np.setdiff1d(np.arange(len(whole)), held)
        return whole.part((held if split_name(split) == "val" else rest)[start:stop])
    return whole if (start, stop) == (0, len(whole)) else whole.part(np.arange(start, stop))


def _shards(dataset: Dataset, name: str) -> Shards:
    return catalog.shards(dataset.builder, name) if dataset.kind == "tfds" else dataset.shards[name]


def _stored_split(dataset: Dataset, split: str) -> tuple[str, bool]:
    """The split as it is stored, and whether `hold_out` parted it: its "val" lies in "train"."""
    name = split_name(split)
    held_out = dataset.held_out > 0 and name in ("train", "val")
    return "train" if held_out else name, held_out


def _stored_examples(dataset: Dataset, name: str) -> Examples:
    key = ("examples", name)
    if key not in dataset.memory:
        dataset.memory[key] = _read_examples(dataset, name)
    return dataset.memory[key]


def _read_examples(dataset: Dataset, name: str) -> Examples:
    # All tensors stay in host memory: the input pipeline runs there, whatever trains.
    with tf.device("CPU:0"):
        if dataset.kind == "digits":
            pixels, labels = digits_arrays(name)
            names = [f"digits {name} {i}" for i in range(len(labels))]
            return Examples(labels, names, pixels=tf.constant(pixels))
        if dataset.kind == "folder":
            listing = dataset.listings[name]
            return Examples(
                listing.labels,
                listing.paths,
                paths=tf.constant([os.fsencode(path) for path in listing.paths]),
            )
        contents, labels, names = _shards(dataset, name).read()
        return Examples(labels, names, encoded=tf.constant(contents))

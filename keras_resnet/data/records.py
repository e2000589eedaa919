"""Splits that lie in TFRecord shards: where each one's records are and how they are read.

Both the common ImageNet layout (`train-00000-of-01024`) and what TFDS prepares are such shards. A
small split is read into memory whole and reached by index like files; a large one is a stream: the
shards in a random order, read some at a time, and their records shuffled through a buffer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_resnet.data.graph import without_autograph
from keras_resnet.data.other_formats import NO_LABEL
from keras_resnet.errors import UserError, unwrapped

MEMORY_BYTES = 2 * 2**30  # splits whose shards are no larger are kept in memory, encoded
BUFFER = 4096  # records shuffled among each other: about 450 MB of ImageNet; fewer where they are larger
BUFFER_BYTES = 2**29
_OPEN_SHARDS = 16
_BLOCK = 4


@dataclass(frozen=True)
class Shards:
    """The records of one split.

    Attributes:
        files: paths of the shards.
        skips: records to pass over at the beginning of each.
        takes: records to read of each after that.
        image_key: feature with the image file's bytes.
        label_key: feature with the label, int64.
        name_key: feature with the image's name, if there is one.
        first_label: label of the first class: 1 in the common ImageNet layout, else 0.
        classes: their number, where known; images with labels beyond it are unreadable.
        buffer: records that are shuffled among each other.
    """

    files: tuple[str, ...]
    skips: tuple[int, ...]
    takes: tuple[int, ...]
    image_key: str = "image/encoded"
    label_key: str = "image/class/label"
    name_key: str | None = None
    first_label: int = 0
    classes: int | None = None
    buffer: int = BUFFER

    @property
    def images(self) -> int:
        """Number of records."""
        return sum(self.takes)

    @property
    def size(self) -> int:
        """Bytes of the shards."""
        # By TensorFlow, since TFDS' folder may be in a cloud: gs://…
        return sum(tf.io.gfile.stat(file).length for file in self.files)

    def part(self, start: int, stop: int) -> Shards:
        """Return records `start` to `stop` of the split."""
        pieces = []
        for file, skip, take in zip(self.files, self.skips, self.takes, strict=True):
            first, last = max(start, 0), min(stop, take)
            if first < last:
                pieces.append((file, skip + first, last - first))
            start, stop = start - take, stop - take
        files, skips, takes = zip(*pieces, strict=True)
        return replace(self, files=files, skips=skips, takes=takes)

    def in_order(self) -> tf.data.Dataset:
        """All records in order: (contents string, label int32, name string)."""
        records = self._shards().flat_map(without_autograph(self._open))
        return self._parsed(records)

    def shuffled(self, key: tf.Tensor) -> tf.data.Dataset:
        """All records in an order that depends on `key` ([2] int64) alone; elements as above."""
        order = tf.random.experimental.stateless_shuffle(tf.range(len(self.files)), key)
        records = self._shards(order).interleave(
            without_autograph(self._open),
            cycle_length=min(_OPEN_SHARDS, len(self.files)),
            block_length=_BLOCK,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        seed = tf.bitcast(tf.random.experimental.stateless_split(key, 1)[0], tf.int64)[0]
        return self._parsed(records.shuffle(self.buffer, seed=seed, reshuffle_each_iteration=False))

    def read(self) -> tuple[list[bytes], np.ndarray, list[str]]:
        """Read the split into memory: contents, labels [N] int32 and names.

        Raises:
            UserError: a shard is damaged, or shorter than it should be.
        """
        with unwrapped():
            rows = list(self.in_order().as_numpy_iterator())
        contents, labels, names = zip(*rows, strict=True)
        return list(contents), np.array(labels, np.int32), [os.fsdecode(name) for name in names]

    def _shards(self, order: tf.Tensor | None = None) -> tf.data.Dataset:
        tensors = (
            tf.constant(self.files),
            tf.constant(self.skips, tf.int64),
            tf.constant(self.takes, tf.int64),
        )
        if order is not None:
            tensors = tuple(tf.gather(tensor, order) for tensor in tensors)
        return tf.data.Dataset.from_tensor_slices(tensors)

    def _open(self, file: tf.Tensor, skip: tf.Tensor, take: tf.Tensor) -> tf.data.Dataset:
        records = tf.data.TFRecordDataset(file).ignore_errors()
        # Nobody reads what comes after all the records that there should be.
        beyond = tf.data.Dataset.from_tensors(file).map(
            without_autograph(lambda name: tf.numpy_function(_refuse, [name], tf.string))
        )
        records = records.concatenate(beyond).enumerate().skip(skip).take(take)
        return records.map(without_autograph(lambda number, record: (file, number, record)))

    def _parsed(self, records: tf.data.Dataset) -> tf.data.Dataset:
        features = {
            self.image_key: tf.io.FixedLenFeature([], tf.string, b""),
            self.label_key: tf.io.FixedLenFeature([], tf.int64, self.first_label - 1),
        }
        if self.name_key is not None:
            features[self.name_key] = tf.io.FixedLenFeature([], tf.string, b"")

        def parse(file: tf.Tensor, number: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, ...]:
            parsed = tf.io.parse_single_example(record, features)
            label = tf.cast(parsed[self.label_key] - self.first_label, tf.int32)
            # An image without a label is as good as none: it is skipped by name.
            usable = label >= 0 if self.classes is None else (label >= 0) & (label < self.classes)
            contents = tf.where(usable, parsed[self.image_key], NO_LABEL)
            short = tf.strings.split(file, "/")[-1]
            name = tf.strings.join([short, tf.strings.as_string(number)], ":")
            if self.name_key is not None:
                name = tf.strings.join([name, parsed[self.name_key]], " ")
            return contents, tf.where(usable, label, 0), name

        return records.map(without_autograph(parse), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def buffer_for(record_bytes: int) -> int:
    """How many records of that size on average to shuffle among each other."""
    return min(BUFFER, max(_OPEN_SHARDS * _BLOCK, BUFFER_BYTES // max(1, record_bytes)))


def count_records(file: str) -> int:
    """Number of records in a TFRecord file, from the lengths alone; the data is not read.

    Raises:
        UserError: the file ends within a record.
    """
    return sum(1 for _ in _offsets(Path(file)))


def _refuse(file: bytes) -> bytes:
    """Say what is wrong with a shard that did not give all of its records."""
    path, count = os.fsdecode(file), 0
    try:
        for _ in tf.data.TFRecordDataset(path):
            count += 1
        reason = f"it ends after {count} records"
    except tf.errors.OpError as error:
        reason = re.sub(r"\{\{.*?\}\}| ?\[Op:.*", "", error.message).strip()
    raise UserError(f"shard {path} is damaged ({reason}): copy, pack or prepare it again")


def _offsets(path: Path) -> Iterator[int]:
    """Where each record begins. A record: length [8], its checksum [4], data, its checksum [4]."""
    size, position = path.stat().st_size, 0
    with path.open("rb", buffering=0) as file:
        while position < size:
            file.seek(position)
            length = int.from_bytes(file.read(8), "little")
            following = position + 16 + length
            if following > size:
                raise UserError(
                    f"{path} is not a complete TFRecord file: it ends within a record; copy it again"
                )
            yield position
            position = following

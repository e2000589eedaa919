"""Load a batch of images in parallel so that an unreadable one costs neither the run nor the order.

A graph cannot catch an exception, but `tf.data` can drop the elements that raised one. So the
images of one step are loaded by a small data set of their own, inside the pipeline's: whatever is
missing from it afterwards was unreadable, and is looked after in Python. Compared with one plain
parallel map over all images this costs nothing measurable; a data set per image would cost a tenth
of the rate.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from keras_resnet.data.faults import reason
from keras_resnet.data.graph import without_autograph
from keras_resnet.errors import UserError

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Loader:
    """How to load one image, and what to do about those that cannot be loaded.

    An image is reached by its key: its index in a split, or, of a stream of records, its bytes.

    Attributes:
        load: (key, draws) -> image, in the graph; raises an op error where it is unreadable.
        spec: of the image, with a fully known shape.
        report: gets name and reason of each unreadable image, from the pipeline's threads.
        names: of all images of the split, where keys are indices. Where keys are bytes: None, and
            the names come with each batch.
        whole: key -> anything; raises unless all of the image can be read. None where `load` reads all
            of it, whatever the draws.
    """

    load: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    spec: tf.TensorSpec
    report: Callable[[str, str], object]
    names: Sequence[str] | None = None
    whole: Callable[[tf.Tensor], tf.Tensor] | None = None
    # What is wrong with the images that were looked at one by one; a function of the files alone.
    _faults: dict[str, str | None] = field(default_factory=dict, repr=False, compare=False)

    def readable(
        self, keys: tf.Tensor, draws: tf.Tensor, names: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Load what can be loaded of a batch, in order, and report the rest.

        Args:
            keys: [B] int64 or string.
            draws: [B, D] float32, a row for each `load`.
            names: [B] string, where keys are bytes.

        Returns:
            positions [M] int64 of the readable ones in the batch, ascending; images [M, ...].
        """
        positions, images, missing = self._attempt(keys, draws)

        def report() -> tf.Tensor:
            arguments = [missing, keys, draws, _or_none(names)]
            return tf.numpy_function(self._report, arguments, tf.int64)

        reported = tf.cond(tf.size(missing) > 0, report, lambda: tf.constant(0, tf.int64))
        with tf.control_dependencies([reported]):
            return tf.identity(positions), tf.ensure_shape(images, [None, *self.spec.shape])

    def every(
        self, keys: tf.Tensor, draws: tf.Tensor, names: tf.Tensor | None = None, start: int = 0
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Load `keys[start : start + b]`; the next sound image stands in for an unreadable one.

        Next is the next index of the split, or, of a stream, the next record of `keys`; after the last
        comes the first. Sound is what can be read as a whole, so that the choice does not depend on the
        draws. The stand-in is loaded with the draws of the image it replaces.

        Args:
            keys: [B] int64 or string. Of a stream the whole batch, of which this worker loads a part.
            draws: [b, D] float32.
            names: [B] string, where keys are bytes.
            start: position in the batch of this worker's part.

        Returns:
            sources [b] int64, the index in the split (of a stream: the position in the batch) that
            each image really is; images [b, ...].
        """
        size = draws.shape[0]
        part = keys[start : start + size]
        positions, images, missing = self._attempt(part, draws)
        own = part if self.names is not None else start + tf.range(size, dtype=tf.int64)

        def repair() -> tuple[tf.Tensor, tf.Tensor]:
            arguments = [missing, start + missing, keys, draws, _or_none(names)]
            types = (tf.int64, self.spec.dtype)
            chosen, replaced = tf.numpy_function(self._stand_ins, arguments, types)
            order = tf.argsort(tf.concat([positions, missing], axis=0))
            sources = tf.concat([tf.gather(own, positions), chosen], axis=0)
            everything = tf.concat([images, replaced], axis=0)
            return tf.gather(sources, order), tf.gather(everything, order)

        sources, images = tf.cond(tf.size(missing) > 0, repair, lambda: (own, images))
        return sources, tf.ensure_shape(images, [size, *self.spec.shape])

    def _attempt(self, keys: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Positions [M] of the readable among B, their images, positions [B - M] of the others."""
        count = tf.size(keys, tf.int64)
        loaded = (
            tf.data.Dataset.from_tensor_slices((tf.range(count), keys, draws))
            .map(
                without_autograph(lambda position, key, row: (position, self.load(key, row))),
                num_parallel_calls=CORES,
                deterministic=True,
            )
            .ignore_errors()
        )
        # Without an end mark, a batch in which nothing is readable would be no batch at all.
        mark = (tf.constant(-1, tf.int64), tf.zeros(self.spec.shape, self.spec.dtype))
        marked = loaded.concatenate(tf.data.Dataset.from_tensors(mark))
        positions, images = marked.batch(count + 1).get_single_element()
        positions, images = positions[:-1], images[:-1]
        found = tf.scatter_nd(positions[:, tf.newaxis], tf.ones_like(positions), count[tf.newaxis])
        return positions, images, tf.where(tf.equal(found, 0))[:, 0]

    def _report(
        self, missing: np.ndarray, keys: np.ndarray, draws: np.ndarray, names: np.ndarray
    ) -> np.int64:
        for position in missing:
            _, key, name = next(self._candidates(position, keys, names))
            fault = self._fault(key, draws[position], name)
            self.report(name, fault or "could not be read at first")
        return np.int64(len(missing))

    def _stand_ins(
        self,
        rows: np.ndarray,
        positions: np.ndarray,
        keys: np.ndarray,
        draws: np.ndarray,
        names: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        found = [
            self._first_sound(position, keys, draws[row], names)
            for row, position in zip(rows, positions, strict=True)
        ]
        sources, images = zip(*found, strict=True)
        return np.array(sources, np.int64), np.stack(images)

    def _first_sound(
        self, position: int, keys: np.ndarray, draws: np.ndarray, names: np.ndarray
    ) -> tuple[int, np.ndarray]:
        for source, key, name in self._candidates(position, keys, names):
            fault = self._fault(key, draws, name)
            if fault is None:
                image, fault = _try(self.load, key, draws)
            if fault is None:
                return source, image
            self.report(name, fault)
        raise UserError("none of the images that could stand in for an unreadable one is readable")

    def _candidates(
        self, position: int, keys: np.ndarray, names: np.ndarray
    ) -> Iterator[tuple[int, int | bytes, str]]:
        """The image at `position` itself and those after it: source, key and name."""
        if self.names is not None:
            for index in range(keys[position], keys[position] + len(self.names)):
                index %= len(self.names)
                yield index, index, str(self.names[index])
        else:
            for place in (*range(position, len(keys)), *range(position)):
                yield place, keys[place], os.fsdecode(names[place])

    def _fault(self, key: int | bytes, draws: np.ndarray, name: str) -> str | None:
        """What is wrong with an image as a whole, None if nothing; each is looked at once."""
        if name not in self._faults:
            arguments = (self.load, key, draws) if self.whole is None else (self.whole, key)
            self._faults[name] = _try(*arguments)[1]
        return self._faults[name]


def no_draws(keys: tf.Tensor) -> tf.Tensor:
    """Return draws for a batch whose `load` needs none, [B, 0]."""
    return tf.zeros([tf.size(keys), 0])


def _or_none(names: tf.Tensor | None) -> tf.Tensor:
    return tf.constant([], tf.string) if names is None else names


def _try(
    function: Callable[..., tf.Tensor], key: int | bytes, *draws: np.ndarray
) -> tuple[np.ndarray, str | None]:
    """Call `function` for one image: its result, and what went wrong, None if nothing did."""
    with tf.device("CPU:0"):
        kind = tf.string if isinstance(key, bytes) else tf.int64
        try:
            return function(tf.constant(key, kind), *map(tf.constant, draws)).numpy(), None
        except (tf.errors.OpError, UnicodeDecodeError) as error:
            return np.empty(0), reason(error)

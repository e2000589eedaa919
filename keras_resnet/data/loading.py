"""Load a batch of images in parallel so that an unreadable one costs neither the run nor the order.

A graph cannot catch an exception, but `tf.data` can drop the elements that raised one. So the
images of one step are loaded by a small data set of their own, inside the pipeline's: whatever is
missing from it afterwards was unreadable. Compared with one plain parallel map over all images this
costs nothing measurable; a data set per image would cost a tenth of the rate.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import tensorflow as tf

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

# (index, *arguments) -> image; raises an op error where the image cannot be read.
Load = Callable[..., tf.Tensor]


def load_readable(
    load: Load, indices: tf.Tensor, arguments: tuple[tf.Tensor, ...], spec: tf.TensorSpec
) -> tuple[tf.Tensor, tf.Tensor]:
    """Load what can be loaded of a batch, in order.

    Args:
        load: loads one image from its index and its slice of each of `arguments`.
        indices: [B] int64.
        arguments: tensors of B rows.
        spec: of one image, of a fully known shape.

    Returns:
        positions [M] int64, which of the B were readable, ascending; images [M, ...].
    """
    end = tf.data.Dataset.from_tensors((tf.constant(-1, tf.int64), tf.zeros(spec.shape, spec.dtype)))
    loaded = (
        tf.data.Dataset.from_tensor_slices((indices, *arguments))
        .enumerate()
        .map(lambda p, row: (p, load(*row)), num_parallel_calls=CORES, deterministic=True)
        .ignore_errors()
    )
    # The end mark keeps a batch without any readable image from being no batch at all.
    count = tf.size(indices, out_type=tf.int64)
    positions, images = loaded.concatenate(end).batch(count + 1).get_single_element()
    return positions[:-1], images[:-1]


def load_all(
    load: Load,
    indices: tf.Tensor,
    arguments: tuple[tf.Tensor, ...],
    spec: tf.TensorSpec,
    candidates: tf.Tensor | int,
    report: Callable[[tf.Tensor, tf.Tensor], None],
) -> tuple[tf.Tensor, tf.Tensor]:
    """Load a full batch; the next readable image stands in for an unreadable one.

    Args:
        load: see `load_readable`.
        indices: [B] int64, each below `candidates`.
        arguments: tensors of B rows; a stand-in is loaded with the row of the image it replaces.
        spec: of one image.
        candidates: number of images there are; after the last comes the first.
        report: called in the graph with (unreadable index, its stand-in), both [M] int64.

    Returns:
        images [B, ...]; the indices really loaded [B] int64.
    """
    positions, images = load_readable(load, indices, arguments, spec)
    candidates = tf.cast(candidates, tf.int64)

    def next_readable(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        rows = tuple(argument[position] for argument in arguments)
        others = tf.data.Dataset.range(indices[position] + 1, indices[position] + candidates)
        return (
            others.map(lambda i: (i % candidates, load(i % candidates, *rows)))
            .ignore_errors()
            .take(1)
            .get_single_element()
        )

    def repair() -> tuple[tf.Tensor, tf.Tensor]:
        every = tf.range(tf.size(indices, out_type=tf.int64))
        missing = tf.sparse.to_dense(tf.sets.difference(every[tf.newaxis], positions[tf.newaxis]))[0]
        chosen, replaced = tf.map_fn(
            next_readable, missing, fn_output_signature=(tf.TensorSpec([], tf.int64), spec)
        )
        report(tf.gather(indices, missing), chosen)
        order = tf.argsort(tf.concat([positions, missing], axis=0))
        return (
            tf.gather(tf.concat([images, replaced], axis=0), order),
            tf.gather(tf.concat([tf.gather(indices, positions), chosen], axis=0), order),
        )

    complete = tf.equal(tf.size(positions), tf.size(indices))
    return tf.cond(complete, lambda: (images, indices), repair)

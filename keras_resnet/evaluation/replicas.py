"""A function over a batch, spread over the devices of a strategy, with every image computed once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet.training.devices import workers_of


class Replicated:
    """`function` [n, …] → [n, …] as a compiled step over the local replicas of `strategy`.

    A batch is filled up to `batch_size` rounded up to whole replicas, so that every step has one
    shape: nothing is compiled twice, no image is dropped, and a result does not depend on its
    neighbours. What filled it up is cut off again. Without `batch_size`, batches of uint8 images may
    have any shape and are filled up to whole replicas only.
    """

    def __init__(self, function: Callable[[Any], Any], strategy: Any = None, batch_size: int | None = None):
        self.strategy = strategy or tf.distribute.get_strategy()
        self.local = local_replicas(self.strategy)
        self.share = None if batch_size is None else -(-batch_size // self.local)
        run = self.strategy.run
        # One trace for all shapes; values of several replicas have no signature, so theirs are relaxed.
        any_shape = self.local == 1 and batch_size is None
        self._step = tf.function(
            lambda images: run(function, (images,)),
            input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)] if any_shape else None,
            reduce_retracing=batch_size is None,
        )

    def __call__(self, images: Any) -> Callable[[], np.ndarray]:
        """Start the computation on `images` [n, …]; calling what is returned waits for its result."""
        count = len(images)
        share = self.share or -(-count // self.local)
        missing = share * self.local - count
        if missing:
            with tf.device("CPU:0"):  # where they are
                images = tf.concat([images, tf.repeat(images[-1:], missing, axis=0)], axis=0)
        if self.local == 1:
            parts: Any = images
        else:
            parts = self.strategy.experimental_distribute_values_from_function(
                lambda context: self._part(images, context.replica_id_in_sync_group, share)
            )
        outputs = self.strategy.experimental_local_results(self._step(parts))
        return lambda: np.concatenate([output.numpy() for output in outputs])[:count]

    def _part(self, images: Any, replica: int, share: int) -> Any:
        start = replica % self.local * share  # replica numbers count over all workers
        with tf.device("CPU:0"):
            return images[start : start + share]


def local_replicas(strategy: Any) -> int:
    """How many replicas of `strategy` run in this process."""
    if strategy.num_replicas_in_sync == 1:  # TensorFlow's default strategy has no worker devices
        return 1
    return len(strategy.extended.worker_devices)


def worker_of(strategy: Any) -> tuple[int, int]:
    """(this worker's number, how many workers there are) under `strategy`; (0, 1) in a single process."""
    return (0, 1) if strategy is None else workers_of(strategy)


def gather_rows(strategy: Any, rows: np.ndarray) -> np.ndarray:
    """The rows of all workers, one after another; every worker may have another number of them."""
    if worker_of(strategy)[1] == 1:
        return rows
    first = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(
            rows if context.replica_id_in_sync_group % local_replicas(strategy) == 0 else rows[:0]
        )
    )
    return strategy.gather(first, axis=0).numpy()


def gather_names(strategy: Any, names: Iterable[str]) -> tuple[str, ...]:
    """The names that any worker has, each once: workers that keep a small split in memory all read it."""
    lines = os.fsencode("".join(f"{name}\n" for name in names))
    gathered = gather_rows(strategy, np.frombuffer(lines, np.uint8).astype(np.int32))
    return tuple(dict.fromkeys(os.fsdecode(bytes(gathered.tolist())).split("\n")[:-1]))

"""What is random about step k, as a function of (seed, k) and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from keras_resnet.data.imagenet import DRAWS
from keras_resnet.errors import UsageError

_COLOR_DEVIATION = 0.1  # AlexNet's


@dataclass(frozen=True)
class Plan:
    """The order of a training run and the random numbers of each of its steps.

    Nothing here remembers: the order is a keyed permutation evaluated at the positions of one step,
    the numbers come from stateless generators keyed by the step. Several workers take slices of the
    same batch.

    Attributes:
        seed: of the run.
        images: in the split.
        batch_size: images per step over all workers.
        worker: index of this one.
        workers: how many share each batch.
    """

    seed: int
    images: int
    batch_size: int
    worker: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        share(self.batch_size, self.worker, self.workers)

    @property
    def share(self) -> int:
        """Images per step for this worker, b."""
        return self.batch_size // self.workers

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass over the split."""
        return self.images // self.batch_size

    @property
    def slice(self) -> slice:
        """This worker's part of a batch."""
        return slice(self.worker * self.share, (self.worker + 1) * self.share)

    def indices(self, step: tf.Tensor) -> tf.Tensor:
        """Images of a step, [b] int64: a part of the epoch's permutation of all indices."""
        epoch, step_of_epoch = step // self.steps_per_epoch, step % self.steps_per_epoch
        positions = step_of_epoch * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)
        return tf.random.experimental.index_shuffle(
            positions[self.slice], seed=self.epoch_key(epoch), max_index=self.images - 1
        )

    def draws(self, step: tf.Tensor) -> tf.Tensor:
        """Numbers in [0, 1) for places and mirrors, [b, DRAWS] float32."""
        # Drawn for the whole batch, so that a worker's slice is the same however many share it.
        key = self._key(1, step)
        return tf.random.stateless_uniform([self.batch_size, DRAWS], key)[self.slice]

    def normals(self, step: tf.Tensor) -> tf.Tensor:
        """Normal numbers of deviation 0.1 for colours, [b, 3] float32."""
        key = self._key(2, step)
        shape = [self.batch_size, 3]
        return tf.random.stateless_normal(shape, key, stddev=_COLOR_DEVIATION)[self.slice]

    def epoch_key(self, epoch: tf.Tensor) -> tf.Tensor:
        """[2] int64, what the order of an epoch follows from."""
        return self._key(0, epoch)

    def augmentation_key(self, step: tf.Tensor) -> tf.Tensor:
        """[2] int64, what the `Draws` of a step follow from."""
        return self._key(0, -1 - step)  # epochs are not negative, so no order has this key

    def _key(self, purpose: int, number: tf.Tensor) -> tf.Tensor:
        # Equal keys would make order, places and colours depend on each other.
        return tf.stack([tf.constant(3 * self.seed + purpose, tf.int64), number])


class Draws:
    """The random numbers of one step's augmentations beyond the paper; every call gives fresh ones."""

    def __init__(self, plan: Plan, step: tf.Tensor) -> None:
        self._plan, self._key, self._calls = plan, plan.augmentation_key(step), 0

    def uniform(self, count: int) -> tf.Tensor:
        """[b, count] float32 in [0, 1)."""
        return tf.random.stateless_uniform([self._plan.batch_size, count], self._next())[self._plan.slice]

    def normal(self) -> tf.Tensor:
        """[b] float32 of mean 0 and deviation 1."""
        return tf.random.stateless_normal([self._plan.batch_size], self._next())[self._plan.slice]

    def beta(self, strength: float) -> tf.Tensor:
        """[b] float32 in [0, 1], of the distribution Beta(strength, strength)."""
        shape = [self._plan.batch_size, 2]
        gammas = tf.random.stateless_gamma(shape, self._next(), alpha=strength)[self._plan.slice]
        # Of a small strength both can be 0.
        return tf.math.divide_no_nan(gammas[:, 0], tf.reduce_sum(gammas, 1))

    def coin(self) -> tf.Tensor:
        """True in half of the steps, for all workers alike."""
        return tf.random.stateless_uniform([], self._next()) < 0.5

    def _next(self) -> tf.Tensor:
        self._calls += 1
        return tf.random.experimental.stateless_fold_in(self._key, self._calls)


def share(batch_size: int, worker: int, workers: int) -> int:
    """Images of a batch for one worker.

    Raises:
        UsageError: the batch cannot be divided evenly, or there is no such worker.
    """
    if not 0 <= worker < workers:
        raise UsageError(f"worker {worker} of {workers}: the index counts from 0")
    if batch_size < workers or batch_size % workers:
        raise UsageError(
            f"a batch of {batch_size} images cannot be divided among {workers} workers: choose a "
            "multiple of their number"
        )
    return batch_size // workers

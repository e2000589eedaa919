"""Steps of a split that is too large for memory, read from its shards in sequence.

Every worker reads all records and decodes only its share: reading is cheap beside decoding, and
each step shows the same images however many workers share it.
"""

from __future__ import annotations

import tensorflow as tf

from keras_resnet.data.graph import without_autograph
from keras_resnet.data.order import Plan
from keras_resnet.data.records import Shards

_LAST_EPOCH = 2**31


def training_records(shards: Shards, plan: Plan, start_step: int) -> tf.data.Dataset:
    """Endless steps of encoded images, each epoch in another order.

    A run that begins within an epoch reads, but does not decode, what the epoch has shown before.

    Returns:
        Elements (step int64, contents [B] string, labels [B] int32, names [B] string) of the whole batch:
        one that another worker decodes may have to stand in for one of this worker's.
    """
    per_epoch = plan.steps_per_epoch * plan.batch_size
    first_epoch, first_step = divmod(start_step, plan.steps_per_epoch)

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        # Of this traced function alone: the order must not follow the program's global seed (which, at 0,
        # tf.data cannot join with a computed one).
        tf.random.set_seed(1)
        return shards.shuffled(plan.epoch_key(number)).take(per_epoch)

    records = tf.data.Dataset.range(first_epoch, _LAST_EPOCH).flat_map(without_autograph(epoch))
    batches = records.skip(first_step * plan.batch_size).batch(plan.batch_size, drop_remainder=True)
    flat = without_autograph(lambda step, batch: (step, *batch))
    return batches.enumerate(start_step).map(flat)


def evaluation_records(shards: Shards, batch_size: int, share: int, worker: int) -> tf.data.Dataset:
    """Every encoded image of a split once, in order, cut into this worker's shares.

    Returns:
        Elements (index of the first int64, contents [m] string, labels [m] int32, names [m]
        string), m at most `share`.
    """
    batches = shards.in_order().batch(batch_size).enumerate()

    def cut(number: tf.Tensor, batch: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        start = worker * share
        return number * batch_size + start, *(tensor[start : start + share] for tensor in batch)

    return batches.map(without_autograph(cut)).filter(lambda first, *batch: tf.size(batch[1]) > 0)

"""Batches for training and evaluation. Step k is a function of (seed, k), however it is reached.

Nothing here shuffles with a buffer or draws from a generator that remembers. The order is a keyed
permutation, evaluated at the positions of one step; crops, mirrors and colours come from stateless
random numbers keyed by the step. So training resumes at any step at once, and several workers each
take their slice of the very batches that one alone would see.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import tensorflow as tf

from keras_resnet.data import cifar, imagenet, views
from keras_resnet.data.examples import Examples, split_examples
from keras_resnet.data.loading import load_all, load_readable
from keras_resnet.data.memory import Decoded, decoded_split
from keras_resnet.data.skips import SkipLog
from keras_resnet.data.sources import Dataset
from keras_resnet.data.statistics import IMAGENET, Statistics
from keras_resnet.data.views import EvalView, TrainView
from keras_resnet.errors import UsageError, UserError

__all__ = ["SkipLog", "evaluation_batches", "evaluation_images", "steps_per_epoch", "training_batches"]

_STEPS_IN_FLIGHT = 2  # while one step's last images are decoded, the next one's are begun
_COLOR_DEVIATION = 0.1  # AlexNet's
_LAST_STEP = 2**62


def steps_per_epoch(dataset: Dataset, split: str, batch_size: int) -> int:
    """Number of full batches in one pass; the rest of each permutation is left out.

    Raises:
        UserError: the split has fewer images than one batch.
    """
    images = dataset.images(split)
    if batch_size < 1 or batch_size > images:
        raise UserError(
            f"a batch of {batch_size} images does not fit split {split!r} of {dataset.name}, which "
            f"has {images}: choose a batch size between 1 and {images}"
        )
    return images // batch_size


def training_batches(
    dataset: Dataset,
    split: str,
    view: TrainView,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    worker: int = 0,
    workers: int = 1,
    mean: np.ndarray | tuple[float, ...] | None = None,
    statistics: Statistics | None = None,
    skip_log: SkipLog | None = None,
) -> tf.data.Dataset:
    """Endless batches of augmented images; each epoch is a new permutation of the split.

    Args:
        dataset: any data set.
        split: its training split.
        view: what the network sees of an image.
        batch_size: images per step over all workers; a multiple of `workers`.
        seed: of order and augmentation.
        start_step: step to begin at; reaching it takes no longer than reaching step 0.
        worker: index of this worker, from 0.
        workers: how many share each batch.
        mean: [3] or [S, S, 3], RGB 0…255: what the model will subtract. "pad-crop" pads with it
            (see `cifar.pad_crop`); other views do not need it.
        statistics: whose colour components `view.color` uses; ImageNet's where None.
        skip_log: gets the names of unreadable images; the next readable one stands in for each.

    Returns:
        Elements (images, labels): images [b, S, S, 3], RGB 0…255, uint8, or float32 for "pad-crop"
        with a mean and for `view.color`; labels [b] int32; b = batch_size / workers.

    Raises:
        UserError: the batch exceeds the split, or too many images are unreadable.
        UsageError: the batch cannot be divided among the workers; no such split.
    """
    steps = steps_per_epoch(dataset, split, batch_size)
    share = _share(batch_size, worker, workers)
    skip_log = SkipLog() if skip_log is None else skip_log
    skip_log.expect(split, dataset.images(split))
    count = dataset.images(split)

    def key(purpose: int, number: tf.Tensor) -> tf.Tensor:
        # Equal keys would make order, places and colours depend on each other.
        return tf.stack([tf.constant(3 * seed + purpose, tf.int64), number])

    def plan(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Indices [b], numbers in [0, 1) [b, DRAWS] and normals [b, 3] of this worker's share."""
        first = worker * share
        positions = (step % steps) * batch_size + first + tf.range(share, dtype=tf.int64)
        indices = tf.random.experimental.index_shuffle(
            positions, seed=key(2, step // steps), max_index=count - 1
        )
        # Drawn for the whole batch, so that a worker's slice is the same however many share it.
        draws = tf.random.stateless_uniform([batch_size, imagenet.DRAWS], key(0, step))
        normals = tf.random.stateless_normal([batch_size, 3], key(1, step), stddev=_COLOR_DEVIATION)
        here = slice(first, first + share)
        return indices, draws[here], normals[here]

    load = _training_loader(dataset, split, view, skip_log)
    components = IMAGENET if statistics is None else statistics
    means = None if mean is None else np.asarray(mean, np.float32)

    def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        indices, draws, normals = plan(step)
        images, labels = load(indices, draws)
        if view.name == "pad-crop":
            offsets, mirror = cifar.pad_crop_offsets(draws, view.padding, view.flip)
            images = cifar.pad_crop(images, offsets, mirror, view.padding, means)
        elif view.name == "center" and view.flip:
            images = tf.where(draws[:, 2, None, None, None] < 0.5, images[:, :, ::-1], images)
        if view.color:
            images = imagenet.pca_color(images, normals, components.eigenvalues, components.eigenvectors)
        shape = [share, view.image_size, view.image_size, 3]
        return tf.ensure_shape(images, shape), tf.ensure_shape(labels, [share])

    batches = tf.data.Dataset.range(start_step, _LAST_STEP).map(
        batch, num_parallel_calls=_STEPS_IN_FLIGHT, deterministic=True
    )
    return _finished(batches)


def evaluation_batches(
    dataset: Dataset,
    split: str,
    view: EvalView,
    *,
    batch_size: int,
    worker: int = 0,
    workers: int = 1,
    skip_log: SkipLog | None = None,
) -> tf.data.Dataset:
    """Every image of a split once, in order; unreadable ones are left out and named in `skip_log`.

    Args:
        dataset: any data set.
        split: one of its splits.
        view: "single" or "10-crop"; see `evaluation_images` for whole images.
        batch_size: images per step over all workers.
        worker: index of this worker, from 0.
        workers: how many share the images: each takes its slice of every batch.
        skip_log: gets the names of unreadable images.

    Returns:
        Elements (images, labels, index): images [b, S, S, 3] uint8, RGB 0…255 ([b, 10, S, S, 3] for
        "10-crop"), labels [b] int32, index [b] int64, the image's place in the split. The last
        batch may be smaller.
    """
    if view.name == "multi-scale":
        raise UsageError("multi-scale evaluation takes whole images: use evaluation_images")
    share = _share(batch_size, worker, workers)
    skip_log = SkipLog() if skip_log is None else skip_log
    skip_log.expect(split, dataset.images(split))
    decoded = None
    if view.name == "single":
        decoded = decoded_split(dataset, split, view.image_size, view.resize, skip_log)
    count = dataset.images(split)
    starts = tf.data.Dataset.range(worker * share, count, batch_size)
    if decoded is not None:
        order = tf.constant(np.delete(np.arange(count), decoded.unreadable), tf.int64)
        labels = tf.constant(decoded.labels)

        def memory_batch(start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            indices = order[start : start + share]
            return tf.gather(decoded.pixels, indices), tf.gather(labels, indices), indices

        starts = tf.data.Dataset.range(worker * share, int(order.shape[0]), batch_size)
        return _finished(starts.map(memory_batch, num_parallel_calls=2, deterministic=True))

    examples = split_examples(dataset, split)
    apply = views.eval_ten_crops if view.name == "10-crop" else views.eval_single
    crops = [10] if view.name == "10-crop" else []
    spec = tf.TensorSpec([*crops, view.image_size, view.image_size, 3], tf.uint8)
    batches = starts.map(
        partial(
            _evaluation_batch,
            lambda index: apply(examples.image(index), view),
            examples,
            share,
            spec,
            skip_log,
        ),
        num_parallel_calls=_STEPS_IN_FLIGHT,
        deterministic=True,
    )
    return _finished(batches.rebatch(share))


def evaluation_images(dataset: Dataset, split: str, *, skip_log: SkipLog | None = None) -> tf.data.Dataset:
    """Every image of a split once, whole and in its own size, for multi-scale testing.

    Returns:
        Elements (image [H, W, 3] uint8, label int32, index int64).
    """
    skip_log = SkipLog() if skip_log is None else skip_log
    skip_log.expect(split, dataset.images(split))
    examples = split_examples(dataset, split)
    labels = tf.constant(examples.labels)

    def load(index: tf.Tensor) -> tf.data.Dataset:
        one = (
            tf.data.Dataset.from_tensors(index)
            .map(lambda i: (examples.image(i), labels[i], i))
            .ignore_errors()
        )
        nothing = tf.data.Dataset.from_tensors((tf.zeros([0, 0, 3], tf.uint8), tf.constant(0), index))
        return one.concatenate(nothing).take(1).get_single_element()

    def readable(image: tf.Tensor, label: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        del label
        missing = tf.equal(tf.size(image), 0)
        tf.cond(missing, lambda: _report(skip_log, examples, index[None]), lambda: None)
        return ~missing

    images = tf.data.Dataset.range(len(examples)).map(
        load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return _finished(images.filter(readable))


def _training_loader(
    dataset: Dataset, split: str, view: TrainView, skip_log: SkipLog
) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Return (indices [b], draws [b, DRAWS]) -> (images [b, S, S, 3] uint8, labels [b])."""
    size = view.image_size
    spec = tf.TensorSpec([size, size, 3], tf.uint8)
    cropped = view.name in ("scale-jitter", "random-resized-crop")
    shape = dataset.image_shape
    side = shape[0] if cropped and shape and shape[0] == shape[1] else size
    decoded: Decoded | None = None
    if not cropped or side != size or (shape and shape[0] == shape[1]):
        decoded = decoded_split(dataset, split, side, side, skip_log)
    if decoded is not None:
        pixels, labels = decoded.pixels, tf.constant(decoded.labels)

        def square(index: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
            return views.train_square(pixels[index], view, draws)

        def from_memory(indices: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            if cropped:
                images = load_readable(square, indices, (draws,), spec)[1]
            else:
                images = tf.gather(pixels, indices)
            return images, tf.gather(labels, indices)

        return from_memory
    examples = split_examples(dataset, split)
    plain = views.EvalView("single", size, size)

    def load_one(index: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        if cropped:
            return views.train_square_of_file(examples.contents(index), view, draws)
        return views.eval_single(examples.image(index), plain)

    def from_files(indices: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, chosen = load_all(
            load_one,
            indices,
            (draws,),
            spec,
            len(examples),
            lambda missing, _: _report(skip_log, examples, missing),
        )
        return images, tf.gather(tf.constant(examples.labels), chosen)

    return from_files


def _evaluation_batch(
    load: Callable[[tf.Tensor], tf.Tensor],
    examples: Examples,
    share: int,
    spec: tf.TensorSpec,
    skip_log: SkipLog,
    start: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    indices = tf.range(start, tf.minimum(start + share, len(examples)))
    positions, images = load_readable(load, indices, (), spec)
    readable = tf.gather(indices, positions)
    missing = tf.sparse.to_dense(tf.sets.difference(indices[None], readable[None]))[0]
    tf.cond(tf.size(missing) > 0, lambda: _report(skip_log, examples, missing), lambda: None)
    images.set_shape([None, *spec.shape])
    return images, tf.gather(tf.constant(examples.labels), readable), readable


def _report(skip_log: SkipLog, examples: Examples, indices: tf.Tensor) -> None:
    def add(indices: np.ndarray) -> np.int64:
        for index in indices:
            skip_log.add(str(examples.names[index]))
        return np.int64(len(indices))

    tf.numpy_function(add, [indices], tf.int64)


def _share(batch_size: int, worker: int, workers: int) -> int:
    if not 0 <= worker < workers:
        raise UsageError(f"worker {worker} of {workers}: the index counts from 0")
    if batch_size < workers or batch_size % workers:
        raise UsageError(
            f"a batch of {batch_size} images cannot be divided among {workers} workers: choose a "
            "multiple of their number"
        )
    return batch_size // workers


def _finished(batches: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # The shards are made here; tf.distribute must not shard again.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.prefetch(2).with_options(options)

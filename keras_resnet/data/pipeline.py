"""Batches for training and evaluation. Step k is a function of (seed, k), however it is reached.

The pipeline is a map over step numbers: `order.Plan` says which images a step shows and what is
random about them, `memory` or `loading.Loader` fetches them, `views` and `cifar` cut them. So
training resumes at any step at once, and several workers see slices of the very batches that one
alone would see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import tensorflow as tf

from keras_resnet.data import cifar, decode, imagenet, streams, views
from keras_resnet.data.examples import split_examples, split_stream
from keras_resnet.data.graph import without_autograph
from keras_resnet.data.loading import CORES, Loader, no_draws
from keras_resnet.data.memory import decoded_split
from keras_resnet.data.order import Plan, share
from keras_resnet.data.skips import SkipLog
from keras_resnet.data.sources import Dataset
from keras_resnet.data.statistics import IMAGENET, Statistics
from keras_resnet.data.views import EvalView, TrainView
from keras_resnet.errors import UsageError, UserError

__all__ = [
    "evaluation_batches",
    "evaluation_images",
    "steps_per_epoch",
    "training_batches",
]

_STEPS_IN_FLIGHT = 2  # while one step's last images are decoded, the next one's are begun
_LAST_STEP = 2**62

Fetch = Callable[..., tuple[tf.Tensor, tf.Tensor]]
Report = Callable[[str, str], object]


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
    mean: np.ndarray | tuple[float, ...] | list[float] | None = None,
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
        mean: [3] or [S, S, 3], RGB 0…255: what the model will subtract; only "pad-crop" pads with it.
        statistics: whose colour components `view.color` uses; ImageNet's where None.
        skip_log: gets the names of unreadable images; the next readable one stands in for each.

    Returns:
        Elements (images, labels): images [b, S, S, 3], RGB 0…255, uint8, or float32 for "pad-crop"
        with a mean and for `view.color`; labels [b] int32; b = batch_size / workers.

    Raises:
        UserError: the batch exceeds the split, or too many images are unreadable.
        UsageError: the batch cannot be divided among the workers; no such split.
    """
    steps_per_epoch(dataset, split, batch_size)
    plan = Plan(seed, dataset.images(split), batch_size, worker, workers)
    skip_log, add = _watching(skip_log, dataset, split)

    def report(name: str, reason: str) -> None:
        add(name, reason)
        skip_log.check()  # at once: the next readable image may be a million files away

    shards = split_stream(dataset, split)
    if shards is None:
        fetch = _training_fetcher(dataset, split, view, skip_log, report)
        steps = tf.data.Dataset.range(start_step, _LAST_STEP)
    else:
        fetch = _record_fetcher(view, report, plan.slice)
        steps = streams.training_records(shards, plan, start_step)
    components = IMAGENET if statistics is None else statistics
    means = None if mean is None else np.asarray(mean, np.float32)

    def batch(step: tf.Tensor, *records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        draws = plan.draws(step)
        images, labels = fetch(draws, *(records or [plan.indices(step)]))
        if not view.is_crop:
            padding = view.padding if view.name == "pad-crop" else 0
            offsets, mirror = cifar.pad_crop_offsets(draws, padding, view.flip)
            images = cifar.pad_crop(images, offsets, mirror, padding, means if padding else None)
        if view.color:
            images = imagenet.pca_color(
                images, plan.normals(step), components.eigenvalues, components.eigenvectors
            )
        shape = [plan.share, view.image_size, view.image_size, 3]
        return tf.ensure_shape(images, shape), tf.ensure_shape(labels, [plan.share])

    return _finished(steps, batch)


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
    size = share(batch_size, worker, workers)
    skip_log, report = _watching(skip_log, dataset, split)
    decoded = None
    if view.name == "single":
        decoded = decoded_split(dataset, split, view.image_size, view.resize, skip_log)
    if decoded is not None:
        order = tf.constant(np.delete(np.arange(len(decoded.labels)), decoded.unreadable), tf.int64)
        labels = tf.constant(decoded.labels)

        def from_memory(start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            indices = order[start : start + size]
            return tf.gather(decoded.pixels, indices), tf.gather(labels, indices), indices

        starts = tf.data.Dataset.range(worker * size, int(order.shape[0]), batch_size)
        return _finished(starts, from_memory)

    apply = views.eval_ten_crops if view.name == "10-crop" else views.eval_single
    crops = [10] if view.name == "10-crop" else []
    spec = tf.TensorSpec([*crops, view.image_size, view.image_size, 3], tf.uint8)
    image, names, parts = _in_order(dataset, split, batch_size, size, worker)
    loader = Loader(lambda key, _: apply(image(key), view), spec, report, names)
    return _finished(parts, partial(_readable, loader), rebatch=size)


def evaluation_images(dataset: Dataset, split: str, *, skip_log: SkipLog | None = None) -> tf.data.Dataset:
    """Every image of a split once, whole and in its own size, for multi-scale testing.

    Returns:
        Elements (image [H, W, 3] uint8, label int32, index int64), in order.
    """
    _, report = _watching(skip_log, dataset, split)
    image, names, parts = _in_order(dataset, split, 1, 1, 0)
    # Images of differing sizes make no batch; their serialised forms do, of one image each.
    spec = tf.TensorSpec([], tf.string)
    loader = Loader(lambda key, _: tf.io.serialize_tensor(image(key)), spec, report, names)

    def parse(image: tf.Tensor, label: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, ...]:
        image = tf.ensure_shape(tf.io.parse_tensor(image, tf.uint8), [None, None, 3])
        return image, label, index

    batches = _finished(parts, partial(_readable, loader), ahead=CORES)
    return batches.unbatch().map(without_autograph(parse))


def _in_order(
    dataset: Dataset, split: str, batch_size: int, size: int, worker: int
) -> tuple[Callable[[tf.Tensor], tf.Tensor], Sequence[str] | None, tf.data.Dataset]:
    """Return how a split's images are reached, in order, for a `Loader`.

    Returns:
        key -> image [H, W, 3] uint8; all names, where they do not come with the keys; this worker's parts
        of every batch: (index of the first int64, keys [m], labels [m] int32, names [m], or [0] where all
        are known), m at most `size`.
    """
    shards = split_stream(dataset, split)
    if shards is not None:
        return decode.decode_image, None, streams.evaluation_records(shards, batch_size, size, worker)
    examples = split_examples(dataset, split)
    labels = tf.constant(examples.labels)

    def part(first: tf.Tensor) -> tuple[tf.Tensor, ...]:
        indices = tf.range(first, tf.minimum(first + size, len(examples)))
        return first, indices, tf.gather(labels, indices), tf.constant([], tf.string)

    firsts = tf.data.Dataset.range(worker * size, len(examples), batch_size)
    return examples.image, examples.names, firsts.map(without_autograph(part))


def _readable(
    loader: Loader, first: tf.Tensor, keys: tf.Tensor, labels: tf.Tensor, names: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Images, labels and indices in the split of what can be read of a part."""
    positions, images = loader.readable(keys, no_draws(keys), names)
    return images, tf.gather(labels, positions), first + positions


def _training_fetcher(
    dataset: Dataset, split: str, view: TrainView, skip_log: SkipLog, report: Report
) -> Fetch:
    """Return (draws [b, DRAWS], indices [b]) -> (images [b, S, S, 3] uint8, labels [b])."""
    size = view.image_size
    # Windows are cut out of whole images, which fit into memory as squares only if they are square.
    side = dataset.square_side if view.is_crop else size
    decoded = None if side is None else decoded_split(dataset, split, side, side, skip_log)
    if decoded is not None and not view.is_crop:
        labels = tf.constant(decoded.labels)
        return lambda _, indices: (tf.gather(decoded.pixels, indices), tf.gather(labels, indices))
    examples = split_examples(dataset, split)
    if decoded is not None:
        examples = replace(examples, labels=decoded.labels, pixels=decoded.pixels)

    def load(index: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        if examples.pixels is not None:
            return views.train_square(examples.pixels[index], view, draws)
        return views.train_square_of_file(examples.contents(index), view, draws)

    spec = tf.TensorSpec([size, size, 3], tf.uint8)
    loader = Loader(load, spec, report, examples.names, examples.image)

    def fetch(draws: tf.Tensor, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        sources, images = loader.every(indices, draws)
        return images, tf.gather(tf.constant(examples.labels), sources)

    return fetch


def _record_fetcher(view: TrainView, report: Report, part: slice) -> Fetch:
    """Return (draws [b, DRAWS], contents [B], labels [B], names [B]) -> (images, labels) of that part."""

    def load(contents: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        return views.train_square_of_file(contents, view, draws)

    spec = tf.TensorSpec([view.image_size, view.image_size, 3], tf.uint8)
    loader = Loader(load, spec, report, whole=decode.decode_image)

    def fetch(
        draws: tf.Tensor, contents: tf.Tensor, labels: tf.Tensor, names: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        sources, images = loader.every(contents, draws, names, part.start)
        return images, tf.gather(labels, sources)

    return fetch


def _watching(skip_log: SkipLog | None, dataset: Dataset, split: str) -> tuple[SkipLog, Report]:
    skip_log = SkipLog() if skip_log is None else skip_log
    skip_log.expect(split, dataset.images(split))
    return skip_log, partial(skip_log.add, split)


def _finished(
    numbers: tf.data.Dataset, batch: Callable, rebatch: int | None = None, ahead: int = _STEPS_IN_FLIGHT
) -> tf.data.Dataset:
    """Map step numbers to batches, in order, a little ahead of their use."""
    batches = numbers.map(without_autograph(batch), num_parallel_calls=ahead, deterministic=True)
    if rebatch is not None:  # fill the gaps that unreadable images left
        batches = batches.rebatch(rebatch)
    options = tf.data.Options()
    options.deterministic = True
    # The shards are made here; tf.distribute must not shard again.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.prefetch(2).with_options(options)

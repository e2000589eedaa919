"""What a run is fed: its data's statistics, and batches for training and validation over all devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet.data.examples import split_examples, split_stream
from keras_resnet.data.mixing import augment, wants_augmentation
from keras_resnet.data.order import Plan
from keras_resnet.data.pipeline import evaluation_batches, steps_per_epoch, training_batches
from keras_resnet.data.skips import SkipLog
from keras_resnet.data.slices import split_name
from keras_resnet.data.sources import Dataset
from keras_resnet.data.statistics import IMAGENET, Statistics, compute_statistics
from keras_resnet.recipes import Normalization
from keras_resnet.training.devices import distribute
from keras_resnet.training.settings import RunSettings, eval_view, split_to_validate, train_view
from keras_resnet.weights.state import State


@dataclass(frozen=True)
class Inputs:
    """The data side of one run.

    Attributes:
        settings: of the run.
        dataset: that `settings.dataset` names, opened.
        strategy: that shares the batches among devices and workers.
        statistics: of the images that are trained on.
        mean: [3] or [H, W, 3], RGB 0…255: what the network subtracts.
        std: what it divides by, [3]; as `mean` where both come from given weights.
        skips: the images that could not be read.
    """

    settings: RunSettings
    dataset: Dataset
    strategy: tf.distribute.Strategy
    statistics: Statistics
    mean: np.ndarray
    std: np.ndarray
    skips: SkipLog

    @classmethod
    def prepare(
        cls,
        settings: RunSettings,
        dataset: Dataset,
        strategy: tf.distribute.Strategy,
        initial: State | None = None,
        skip_limit: float = 0.05,
    ) -> Inputs:
        """Compute the statistics; a run that starts from given weights keeps their normalisation."""
        needed = cls.needs_statistics(settings, initial)
        statistics = compute_statistics(dataset, settings.split) if needed else IMAGENET
        if initial is None:
            mean, std = normalization(statistics, settings.recipe.normalization, settings.image_size)
        else:
            mean, std = initial["normalization/mean"], initial["normalization/std"]
        return cls(settings, dataset, strategy, statistics, mean, std, SkipLog(skip_limit))

    @staticmethod
    def needs_statistics(settings: RunSettings, initial: State | None) -> bool:
        """Whether the images' own mean and colours are used, which takes a look at many of them."""
        return initial is None or settings.recipe.color

    def reads_over(self, start_step: int) -> bool:
        """Whether reaching a step takes reading what its epoch has shown before, as in streams."""
        stream = split_stream(self.dataset, self.settings.split) is not None
        return stream and start_step % self.steps_per_epoch > 0

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass over the training images."""
        return steps_per_epoch(self.dataset, self.settings.split, self.settings.recipe.batch_size)

    @property
    def val_split(self) -> str:
        """The split, or the slice of one, that the validation error is measured on."""
        return split_to_validate(self.settings, self.dataset)

    def classes_in(self, split: str) -> int:
        """Number of classes that `split` has images of.

        A slice of a folder may have few, as folders are in the order of their classes. A whole split, and a
        stream, whose labels nobody has read, are taken to have all.
        """
        if split == split_name(split) or split_stream(self.dataset, split) is not None:
            return self.dataset.classes
        return len(np.unique(split_examples(self.dataset, split).labels))

    def training(self, start_step: int) -> Any:
        """Endless batches (images, labels) from a step on, distributed."""

        def share(worker: int, workers: int) -> tf.data.Dataset:
            return self.training_share(start_step, worker, workers)

        return distribute(self.strategy, share, self.settings.recipe.batch_size)

    def training_share(self, start_step: int, worker: int = 0, workers: int = 1) -> tf.data.Dataset:
        """One worker's part of them; see `pipeline.training_batches`."""
        recipe, view = self.settings.recipe, train_view(self.settings, self.dataset)
        batches = training_batches(
            self.dataset,
            self.settings.split,
            view,
            batch_size=recipe.batch_size,
            seed=self.settings.seed,
            start_step=start_step,
            worker=worker,
            workers=workers,
            mean=self.mean if view.name == "pad-crop" else None,
            statistics=self.statistics,
            skip_log=self.skips,
        )
        if wants_augmentation(recipe):
            images = self.dataset.images(self.settings.split)
            plan = Plan(self.settings.seed, images, recipe.batch_size, worker, workers)
            classes = self.dataset.classes
            batches = augment(batches, recipe, classes, plan, start_step=start_step, mean=self.mean)
        # Of finite ones several machines would agree on whether there is a next, at every step.
        return batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))

    def validation(self) -> Any:
        """Every validation image once, as batches (images, labels, index), distributed."""
        view = eval_view(self.settings, self.dataset)
        replicas = self.strategy.num_replicas_in_sync
        batch = -(-self.settings.recipe.batch_size // replicas) * replicas

        def share(worker: int, workers: int) -> tf.data.Dataset:
            return evaluation_batches(
                self.dataset,
                self.val_split,
                view,
                batch_size=batch,
                worker=worker,
                workers=workers,
                skip_log=self.skips,
            )

        return distribute(self.strategy, share, batch)


def normalization(
    statistics: Statistics, kind: Normalization, image_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean ([3] or [H, W, 3]) and std ([3]) of the network's first layer, RGB 0…255."""
    mean = np.asarray(statistics.mean, np.float32)
    ones = np.ones(3, np.float32)
    if kind == "pixel-mean":
        pixels = statistics.pixel_mean
        whole = pixels is not None and pixels.shape[:2] == (image_size, image_size)
        return (np.asarray(pixels, np.float32) if whole else mean), ones
    if kind == "channel-mean":
        return mean, ones
    return mean, np.maximum(np.asarray(statistics.std, np.float32), 1.0)

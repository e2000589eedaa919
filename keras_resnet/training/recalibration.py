"""Batch normalisation's statistics over a large sample of training images, after training.

The authors' released models hold such plain averages instead of moving ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.data.pipeline import steps_per_epoch, training_batches
from keras_resnet.data.skips import SkipLog
from keras_resnet.data.sources import Dataset, open_dataset
from keras_resnet.data.views import EvalView, TrainView, eval_view
from keras_resnet.errors import UsageError, UserError
from keras_resnet.layers import BN_MOMENTUM
from keras_resnet.pages.writing import require_writable
from keras_resnet.saving import RUN_MODEL, load_model, save_model
from keras_resnet.scanned import ScannedBlocks
from keras_resnet.training.record import forget_measurements, note_recalibration, recorded_settings

BATCHES = 100


def recalibrate(model: keras.Model, batches: Iterable[Any]) -> None:
    """Set every moving average to the plain mean of the batch statistics over `batches` (images, …).

    Raises:
        UserError: `batches` is empty.
    """
    layers = _batch_norms(model)
    if not layers:
        return
    moving = [v for layer in layers for v in layer.non_trainable_variables if "moving_" in v.name]
    keep = {id(v): getattr(layer, "momentum", BN_MOMENTUM) for layer in layers for v in layer.variables}
    sums = [np.zeros(variable.shape) for variable in moving]

    @tf.function(reduce_retracing=True)
    def forward(images: tf.Tensor) -> None:
        model(images, training=True)

    count = 0
    for batch in batches:
        # From zero, one update leaves (1 − momentum) × the batch's statistics.
        for variable in moving:
            variable.assign(tf.zeros(variable.shape))
        forward(batch[0])
        for total, variable in zip(sums, moving, strict=True):
            total += variable.numpy() / (1.0 - keep[id(variable)])
        count += 1
    if count == 0:
        raise UserError("no readable image to recalibrate batch normalisation with")
    for total, variable in zip(sums, moving, strict=True):
        variable.assign((total / count).astype("float32"))


def _batch_norms(model: keras.Model) -> list[keras.layers.Layer]:
    """Layers with moving averages; frozen ones keep theirs, and run with them."""
    kinds = keras.layers.BatchNormalization | ScannedBlocks
    return [layer for layer in model._flatten_layers() if isinstance(layer, kinds) and layer.trainable]


def recalibration_batches(
    dataset: Dataset,
    view: EvalView,
    *,
    split: str = "train",
    batches: int = BATCHES,
    batch_size: int = 128,
    skip_log: SkipLog | None = None,
) -> tf.data.Dataset:
    """Training images as `view` scales them, cropped at a random place, and nothing else done to them.

    They come shuffled: folders are ordered by class, and a batch of one class has another variance.

    Args:
        dataset: where the images are.
        view: how the model is tested.
        split: the training images: a split, or a slice of one.
        batches: how many batches to take, at most one pass over the images.
        batch_size: images in each.
        skip_log: gets the names of unreadable images.
    """
    scale = (view.resize, view.resize)
    crops = TrainView("scale-jitter", view.image_size, flip=False, scale_range=scale, antialias=True)
    batch_size = min(batch_size, dataset.images(split))
    shuffled = training_batches(dataset, split, crops, batch_size=batch_size, seed=0, skip_log=skip_log)
    return shuffled.take(min(batches, steps_per_epoch(dataset, split, batch_size)))


def recalibrate_file(
    path: str,
    *,
    dataset: str | None = None,
    data_dir: str | None = None,
    batches: int = BATCHES,
    batch_size: int = 128,
    output: str | None = None,
    skip_limit: float = 0.05,
) -> Path:
    """Recalibrate a run's model or a `.keras` file; frozen layers keep their statistics.

    Args:
        path: a run folder or a `.keras` file.
        dataset: where the images come from; by default what the model was trained on (for a run, the very
            images: its slice, without those that it held out).
        data_dir: where TFDS keeps prepared data sets.
        batches: how many batches to average over, at most one pass over the training images.
        batch_size: images in each.
        output: the `.keras` file to write; by default the model is replaced. It names no errors: those that
            were measured before are not its own.
        skip_limit: the largest accepted share of unreadable images, 0…1.

    Raises:
        UserError: no model, or no data set, by that name; a model without batch normalisation; too many
            unreadable images.
    """
    target = Path(output) if output else Path(path) / RUN_MODEL if Path(path).is_dir() else Path(path)
    if target.suffix != ".keras":
        raise UsageError(f"the output must be a .keras file, not {target}")
    require_writable(target)
    saved = load_model(path)
    if not _batch_norms(saved.model):
        raise UserError(f"{path} has no batch normalisation whose statistics could be set")
    name = dataset or saved.info.dataset
    if name is None:
        raise UserError(f"{path} does not say what data it was trained on: name it with --dataset")
    run = recorded_settings(Path(path)) if dataset is None else {}
    opened = open_dataset(name, data_dir=data_dir, held_out=run.get("hold_out"))
    view = eval_view("single", saved.info.image_size, resize=saved.info.resize)
    skips = SkipLog(skip_limit)
    with skips.watch():
        taken = recalibration_batches(
            opened,
            view,
            split=run.get("split", "train"),
            batches=batches,
            batch_size=batch_size,
            skip_log=skips,
        )
        recalibrate(saved.model, taken)
    skips.check()
    replaced = target.name == RUN_MODEL and target.exists()
    save_model(saved.model, replace(saved.info, results={}), target)
    if replaced:
        forget_measurements(target.parent)
        note_recalibration(target.parent)
    return target

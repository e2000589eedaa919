"""What must hold before a run starts or goes on: each a refusal in one line."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from keras_resnet.data.sources import Dataset
from keras_resnet.errors import UsageError, UserError
from keras_resnet.training.devices import workers_of
from keras_resnet.training.settings import RunSettings


def check_batch(settings: RunSettings, dataset: Dataset, strategy: tf.distribute.Strategy) -> None:
    """The batch can be shared among devices and parts, and the data set fills it."""
    batch, replicas = settings.recipe.batch_size, strategy.num_replicas_in_sync
    parts = replicas * settings.accumulate
    if batch < replicas:
        raise UsageError(f"--batch-size {batch} is smaller than the number of devices, {replicas}")
    if batch % parts:
        raise UsageError(f"--batch-size {batch} must be a multiple of devices × accumulation, {parts}")
    images = dataset.images("train")
    if batch > images:
        raise UserError(
            f"recipe {settings.recipe.name} takes {batch} images a step, {dataset.name} has only {images} to "
            "train on: choose a smaller --batch-size, or --recipe finetune with --weights"
        )


def data_facts(dataset: Dataset) -> dict[str, int]:
    """What `run.json` keeps of the data, to notice a change of it: {classes, training_images}."""
    return {"classes": dataset.classes, "training_images": dataset.images("train")}


def check_data(dataset: Dataset, before: Mapping[str, int] | None, workdir: Path) -> None:
    """The data is that which the run began with; `before` is its `data_facts`, None where none were kept."""
    now = data_facts(dataset)
    if before not in (None, now):
        raise UserError(
            f"{dataset.name} has changed since the run in {workdir} began: "
            f"{before['training_images']:,} training images of {before['classes']} classes then, "
            f"{now['training_images']:,} of {now['classes']} now: --fresh starts over"
        )


def check_agreement(
    settings: RunSettings,
    data: Mapping[str, int],
    strategy: tf.distribute.Strategy,
    first_step: int,
    workdir: Path,
) -> None:
    """Workers that start from different checkpoints or settings would train different networks."""
    if workers_of(strategy)[1] == 1:
        return
    digest = zlib.crc32(json.dumps([settings.to_json(), data]).encode())
    # In float64: sums of such numbers are exact.
    own = tf.constant([first_step, digest], tf.float64)
    total = strategy.run(lambda: tf.distribute.get_replica_context().all_reduce("SUM", own))
    mean = strategy.experimental_local_results(total)[0] / strategy.num_replicas_in_sync
    if mean[0] != first_step:
        raise UserError(
            f"the workers found different checkpoints (this one step {first_step:,}): "
            f"they must share {workdir}"
        )
    if mean[1] != digest:
        raise UserError(
            "the workers were started with different settings or data: give all of them the same command"
        )

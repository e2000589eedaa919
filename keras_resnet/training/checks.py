"""What must hold before a run starts or resumes: each a refusal in one line."""

from __future__ import annotations

import importlib.util
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_resnet.data.examples import split_stream
from keras_resnet.data.slices import split_name
from keras_resnet.data.sources import Dataset, same_data
from keras_resnet.errors import UsageError, UserError
from keras_resnet.saving import RUN_MODEL
from keras_resnet.training.devices import workers_of
from keras_resnet.training.epochs import Habits
from keras_resnet.training.record import recorded
from keras_resnet.training.settings import RunSettings, split_to_validate


def check_batch(settings: RunSettings, dataset: Dataset, strategy: tf.distribute.Strategy) -> None:
    """The batch can be shared among devices and parts, and the data set fills it."""
    batch, replicas = settings.recipe.batch_size, strategy.num_replicas_in_sync
    parts = replicas * settings.accumulate
    if batch < replicas:
        raise UsageError(f"--batch-size {batch} is smaller than the number of devices, {replicas}")
    if batch % parts:
        raise UsageError(f"--batch-size {batch} must be a multiple of devices × accumulation, {parts}")
    images = dataset.images(settings.split)
    if batch > images:
        raise UserError(
            f"recipe {settings.recipe.name} takes {batch} images per step, {dataset.name} has only {images} "
            "to train on: choose a smaller --batch-size, or --recipe finetune with --weights"
        )


def check_initial_weights(settings: RunSettings, workdir: Path) -> None:
    """The weights to start from are not those that the run will replace.

    Raises:
        UsageError: they are in its own folder.
    """
    source = settings.initial_weights
    if source and Path(source).resolve() in (workdir.resolve(), (workdir / RUN_MODEL).resolve()):
        raise UsageError(
            f"--weights {source} are what the run in {workdir} will replace: name another --workdir"
        )


def check_splits(settings: RunSettings, dataset: Dataset) -> None:
    """No image is trained on and validated on, as far as the names of splits and their slices tell.

    Raises:
        UsageError: they share images; there is no such split; held-out images would not be used.
        UserError: there is nothing to validate on.
    """
    split, val_split = settings.split, split_to_validate(settings, dataset)
    names = split_name(split), split_name(val_split)
    (start, stop), (val_start, val_stop) = dataset.range(split), dataset.range(val_split)
    if settings.hold_out and names != ("train", "val"):
        raise UsageError(
            f"--hold-out {settings.hold_out} moves images from train to val: with it --split names train and "
            f"--val-split val, or slices of them, not {split} and {val_split}"
        )
    for part in (split, val_split):
        split_stream(dataset, part)  # refuses to hold images out of a stream
    shared = min(stop, val_stop) - max(start, val_start)
    if names[0] == names[1] and shared > 0:
        raise UsageError(
            f"the run would train on {split} and validate on {val_split}, which share {shared:,} of the "
            f"images of {dataset.name}: name others with --val-split, or --hold-out some of train"
        )


def data_facts(settings: RunSettings, dataset: Dataset) -> dict[str, Any]:
    """What `run.json` keeps of the data, to notice a change of it.

    {classes, names (a checksum: `_names`), training_images, val_split, validation_images} and, where a slice
    is trained on, what it is a slice of: {split_images}.
    """
    split, val_split = settings.split, split_to_validate(settings, dataset)
    images, whole = dataset.images(split), dataset.splits[split_name(split)]
    return {
        "classes": dataset.classes,
        "names": _names(dataset, split, val_split),
        "training_images": images,
        **({} if images == whole else {"split_images": whole}),
        "val_split": val_split,
        "validation_images": dataset.images(val_split),
    }


def check_data(name: str, now: Mapping[str, Any], before: Mapping[str, Any] | None, workdir: Path) -> None:
    """The data set of that name is that which the run began with.

    `now` and `before` are its `data_facts`; the latter as far as they were kept, None where none were.
    """
    changed = [key for key, value in (before or {}).items() if now.get(key) != value]
    if changed == ["names"]:
        raise UserError(
            f"classes or files of {name} have been renamed, moved or exchanged since the run in "
            f"{workdir} began, and would get others' labels or places: give them back, or --fresh starts over"
        )
    if changed:
        raise UserError(
            f"{name} has changed since the run in {workdir} began: {_told(before or {})} then, "
            f"{_told(now)} now: --fresh starts over"
        )


def check_held_out(folder: Path, dataset: Dataset) -> None:
    """What `dataset` holds out is what the run in `folder` held out, where it was trained on that data.

    Raises:
        UsageError: another number was held out.
        UserError: files have changed since, and with them which are held out.
    """
    record = recorded(folder)
    settings, facts = record.get("settings", {}), record.get("data", {})
    if not dataset.held_out or not settings or not same_data(settings["dataset"], dataset.name):
        return
    if dataset.held_out != settings["hold_out"]:
        raise UsageError(
            f"{folder} was trained with --hold-out {settings['hold_out']}: with {dataset.held_out} it would "
            "be tested on images that it was trained on"
        )
    if "names" in facts and facts["names"] != _names(dataset, settings["split"], facts["val_split"]):
        raise UserError(
            f"files of {dataset.name} have changed since {folder} was trained, and others would be held out "
            "now: it would be tested on images that it was trained on"
        )


def _names(dataset: Dataset, *splits: str) -> int:
    """Checksum of what labels and places mean: classes by name and, in folders, the files of the splits."""
    checksum = zlib.crc32("\n".join(dataset.label_names).encode(errors="surrogateescape"))
    root = "" if str(Path(dataset.name)) == "." else f"{Path(dataset.name)}/"
    for name in sorted({split_name(split) for split in splits} & dataset.listings.keys()):
        for path in dataset.listings[name].paths:
            checksum = zlib.crc32(os.fsencode(path.removeprefix(root)), checksum)
    return checksum


def _told(facts: Mapping[str, Any]) -> str:
    of = f" (of {facts['split_images']:,})" if "split_images" in facts else ""
    told = f"{facts['training_images']:,} training images{of} of {facts['classes']} classes"
    if "val_split" not in facts:
        return told
    return f"{told}, {facts['validation_images']:,} to validate on ({facts['val_split']})"


def check_extras(habits: Habits) -> None:
    """What is asked for besides training is installed.

    Raises:
        UserError: it is not.
    """
    if habits.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise UserError("--tensorboard needs TensorBoard: pip install 'keras-resnet[tensorboard]'")


def check_agreement(
    agreed: Sequence[Any],
    strategy: tf.distribute.Strategy,
    first_step: int,
    workdir: Path,
) -> None:
    """Workers that start from different checkpoints or settings would train different networks.

    Args:
        agreed: settings, data facts and --checkpoint-steps, as plain data. (Those steps end calls of the
            compiled loop: with different ones the workers would wait for each other forever.)
        strategy: over all workers.
        first_step: of this worker's checkpoint, 0 without one.
        workdir: the run folder, for the message.

    Raises:
        UserError: they differ.
    """
    if workers_of(strategy)[1] == 1:
        return
    digest = zlib.crc32(json.dumps(agreed).encode())
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
            "the workers were started with different settings, data or --checkpoint-steps: give all of them "
            "the same command"
        )

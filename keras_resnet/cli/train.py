"""`keras-resnet train`."""

from __future__ import annotations

from typing import Any

import click

from keras_resnet.cli.common import (
    COUNT,
    accumulate_option,
    command,
    data_dir_option,
    dataset_option,
    devices_option,
    echo,
    echo_json,
    hold_out_option,
    json_option,
    precision_option,
    recipe_option,
    skip_limit_option,
    start_tensorflow,
)
from keras_resnet.cli.recipe_values import recipe_values

SECTIONS = {  # of the help: the first option of each
    "depth": "Network",
    "dataset": "Data",
    "recipe": "Recipe (each option overrides one of its values)",
    "view": "Augmentation and regularisation (these override the recipe too)",
    "precision": "Devices",
    "seed": "Run",
}


@command(sections=SECTIONS)
@click.option(
    "--depth",
    type=int,
    required=True,
    metavar="LAYERS",
    help="Layers: 18, 34, 50, 101, 152 (for ImageNet), 20, 32, 44, 56, 110, 1202 (for CIFAR), 16, 19 (VGG).",
)
@click.option("--plain", is_flag=True, help="The same network without shortcuts.")
@click.option(
    "--shortcut",
    type=click.Choice(["A", "B", "C"]),
    help="Shortcuts (Sec. 3.3): A pads with zeros where dimensions grow, B projects there, C projects "
    "everywhere; by default B for ImageNet's networks, A for CIFAR's.",
)
@click.option(
    "--downsample",
    type=click.Choice(["1x1", "3x3"]),
    help="Convolution of a bottleneck that has the stride: 1x1 as in the authors' released models (default), "
    "3x3 as in torchvision.",
)
@click.option(
    "--image-size",
    type=COUNT,
    metavar="PIXELS",
    help="Side of the network's input; by default the network's own, or that of small images.",
)
@click.option(
    "--weights",
    metavar="imagenet|FILE|RUN",
    help="Start from the official ImageNet weights, a weights file or an earlier run's folder.",
)
@dataset_option
@data_dir_option
@click.option(
    "--split",
    default="train",
    show_default=True,
    metavar="SLICE",
    help="Split, or slice of one, to train on, such as train[:45000] or train[10%:].",
)
@click.option(
    "--val-split",
    metavar="SLICE",
    help="Split, or slice of one, to validate on; by default val or validation, else test.",
)
@hold_out_option
@skip_limit_option
@recipe_option
@recipe_values
@precision_option
@devices_option
@click.option(
    "--workers", metavar="HOST:PORT,…", help="Train on several machines: all of them, the same list on each."
)
@click.option(
    "--worker-index", type=int, metavar="I", help="Place of this machine in --workers, counted from 0."
)
@accumulate_option
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    metavar="S",
    default=0,
    show_default=True,
    help="Seed of the initial weights, the order of the images and their augmentation.",
)
@click.option("--workdir", metavar="DIR", help="Run folder to write to; runs/NETWORK-DATASET by default.")
@click.option("--fresh", is_flag=True, help="Start over instead of resuming the run in the run folder.")
@click.option(
    "--checkpoint-minutes",
    type=click.FloatRange(min=0),
    metavar="M",
    default=5.0,
    show_default=True,
    help="Save a checkpoint every M minutes (one is saved after each epoch anyway).",
)
@click.option("--checkpoint-steps", type=COUNT, metavar="N", help="Save a checkpoint every N steps as well.")
@click.option(
    "--keep",
    type=COUNT,
    metavar="N",
    default=2,
    show_default=True,
    help="Keep the last N checkpoints, besides the best epoch's.",
)
@click.option(
    "--tensorboard",
    is_flag=True,
    help="Write curves to the run folder's tensorboard/ (extra keras-resnet[tensorboard]).",
)
@click.option("--profile", is_flag=True, help="Write a trace of ten steps to the run folder's profile/.")
@json_option
def train(
    depth: int,
    plain: bool,
    shortcut: Any,
    downsample: Any,
    dataset: str | None,
    data_dir: str | None,
    split: str,
    val_split: str | None,
    recipe: str | None,
    weights: str | None,
    precision: str,
    image_size: int | None,
    devices: str,
    workers: str | None,
    worker_index: int | None,
    accumulate: int,
    hold_out: int,
    seed: int,
    workdir: str | None,
    fresh: bool,
    checkpoint_minutes: float,
    checkpoint_steps: int | None,
    keep: int,
    skip_limit: float,
    tensorboard: bool,
    profile: bool,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Train a network, or resume its training.

    Without --dataset it trains on scikit-learn's 1,797 digits (300 to validate on, 300 to test on). The run
    folder gets run.json (settings, hardware, results), history.csv (one row per epoch), checkpoints and, at
    the end, model.keras. Ctrl-C saves a checkpoint; the same command resumes the run.

    Examples:

    \b
        keras-resnet train --depth 20
        keras-resnet train --depth 56 --plain --dataset cifar10 --recipe cifar-fast
        keras-resnet train --depth 20 --dataset cifar10 --split 'train[:45000]' --val-split 'train[45000:]'
        keras-resnet train --depth 50 --dataset path/to/folders --precision mixed_bfloat16
        keras-resnet train --depth 18 --dataset my-photos --recipe finetune --weights imagenet
        keras-resnet train --depth 50 --dataset imagenet2012 --workers a:7000,b:7000 --worker-index 0
    """
    from keras_resnet.architectures import get_architecture, network_name

    architecture = get_architecture(network_name(depth, plain=plain), shortcut, downsample)
    if dataset is None:
        dataset = "digits"
        echo(
            "training on digits, scikit-learn's 1,797 handwritten digits; --dataset names other data "
            "(a folder of class folders, or a TFDS name such as cifar10)",
            err=True,
        )
    start_tensorflow()
    from keras_resnet.data.sources import open_dataset
    from keras_resnet.training.devices import make_strategy
    from keras_resnet.training.epochs import Habits
    from keras_resnet.training.record import skipped_images
    from keras_resnet.training.run import train as run_training
    from keras_resnet.training.settings import make_settings

    # First of all: collective operations must be set up before TensorFlow does anything else.
    hosts = [worker.strip() for worker in workers.split(",")] if workers else ()
    strategy = make_strategy(devices, hosts, worker_index)
    data = open_dataset(dataset, data_dir=data_dir, held_out=hold_out)
    settings = make_settings(
        architecture,
        data,
        recipe=recipe,
        overrides=overrides,
        image_size=image_size,
        split=split,
        val_split=val_split,
        precision=precision,
        devices=devices,
        seed=seed,
        hold_out=hold_out,
        accumulate=accumulate,
        initial_weights=weights,
    )
    habits = Habits(checkpoint_minutes, checkpoint_steps, keep, skip_limit, tensorboard, profile)
    folder = workdir or f"runs/{architecture.name}-{data.slug}"
    result = run_training(settings, data, folder, strategy=strategy, fresh=fresh, habits=habits)
    if as_json:
        echo_json(result.to_json())
    else:
        echo(
            f"validation error {result.val_error:.2f} % (best {result.best_val_error:.2f} %), training error "
            f"{result.train_error:.2f} %, {result.images_per_second:,.0f} images/s"
            f"{skipped_images(result.skipped, result.workdir)}; model: {result.model}"
        )

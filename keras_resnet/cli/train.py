"""`keras-resnet train` and `keras-resnet recalibrate`."""

from __future__ import annotations

from typing import Any

import click

from keras_resnet.cli.common import (
    COUNT,
    command,
    data_dir_option,
    dataset_option,
    devices_option,
    echo_json,
    json_option,
    precision_option,
    skip_limit_option,
    start_tensorflow,
)


@command()
@click.option("--depth", type=int, required=True, help="Layers: 18/34/50/101/152 or 20/32/44/56/110/1202.")
@click.option("--plain", is_flag=True, help="The plain twin, without shortcuts.")
@click.option("--shortcut", type=click.Choice(["A", "B", "C"]), help="Shortcut option (Sec. 3.3).")
@click.option("--downsample", type=click.Choice(["1x1", "3x3"]), help="Where a bottleneck has its stride.")
@dataset_option
@data_dir_option
@click.option(
    "--split",
    default="train",
    show_default=True,
    metavar="SLICE",
    help="Train on this split, or a slice of one: train[:45000], train[10%:].",
)
@click.option(
    "--val-split", metavar="SLICE", help="Validate on this one; by default val or validation, else test."
)
@click.option("--recipe", metavar="NAME", help="See `keras-resnet recipes`; by default the one that fits.")
@click.option("--epochs", type=float, help="Length of the training in epochs.")
@click.option("--steps", type=COUNT, help="Length of the training in steps.")
@click.option("--batch-size", type=COUNT, help="Images per step, over all devices.")
@click.option("--learning-rate", type=float, help="Peak learning rate.")
@click.option("--weight-decay", type=float, help="L2 term in the gradient of kernels.")
@click.option(
    "--view",
    type=click.Choice(["scale-jitter", "random-resized-crop", "pad-crop", "center"]),
    help="How training images are cropped; photographs as the paper did: scale-jitter.",
)
@click.option(
    "--flip/--no-flip", default=None, help="Mirror half of the images; not for digits, text, signs."
)
@click.option("--label-smoothing", type=float, help="Probability spread over all classes: 0.1.")
@click.option("--mixup", type=float, help="Blend pairs of images: 0.2.")
@click.option("--cutmix", type=float, help="Paste a part of one image into another: 1.0.")
@click.option("--randaugment/--no-randaugment", default=None, help="Two random operations on each image.")
@click.option("--color-jitter", type=float, help="Brightness, contrast, saturation, hue: 0.4.")
@click.option("--random-erasing", type=float, help="Share of images that lose a rectangle: 0.25.")
@click.option("--gradient-clip", type=float, help="Largest norm of the whole gradient.")
@click.option("--ema", type=float, help="Decay of a running average of the weights, such as 0.999.")
@click.option(
    "--keep-best/--no-keep-best",
    default=None,
    help="End with the epoch of least validation error, not with the last one.",
)
@click.option("--freeze", metavar="STAGE", help="Do not train up to this stage: conv1 … conv5.")
@click.option("--weights", metavar="FILE", help='Start from these weights ("imagenet" or a file).')
@precision_option
@click.option("--image-size", type=COUNT, metavar="PIXELS", help="Side of the network's input.")
@devices_option
@click.option("--workers", metavar="HOST:PORT,…", help="All workers of a run on several machines.")
@click.option("--worker-index", type=int, help="This machine's place in --workers, from 0.")
@click.option(
    "--accumulate",
    type=COUNT,
    default=1,
    help="Pass each batch in that many parts, to save memory.",
)
@click.option(
    "--hold-out",
    type=click.IntRange(min=0),
    default=0,
    help="Take that many training images out and validate on them (Sec. 4.2).",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Of weights, order and augmentation.",
)
@click.option("--workdir", metavar="DIR", help="Run folder; runs/NETWORK-DATASET by default.")
@click.option("--fresh", is_flag=True, help="Start over in a run folder that is not empty.")
@click.option(
    "--checkpoint-minutes",
    type=click.FloatRange(min=0),
    default=5.0,
    show_default=True,
    help="Save that often.",
)
@click.option("--checkpoint-steps", type=COUNT, help="Save every so many steps as well.")
@click.option(
    "--keep",
    type=COUNT,
    default=2,
    show_default=True,
    help="Checkpoints to keep, besides the best epoch's.",
)
@skip_limit_option
@click.option("--tensorboard", is_flag=True, help="Write curves for TensorBoard to DIR/tensorboard.")
@click.option("--profile", is_flag=True, help="Write a trace of ten steps to DIR/profile.")
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
    """Train a network; run the same command again to resume.

    Without --dataset it trains on the 1,797 digits that scikit-learn ships. The run folder gets run.json
    (settings, hardware, results), history.csv (one row an epoch), checkpoints and model.keras. Ctrl-C
    saves and says how to go on.

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
        click.echo(
            "training on digits, scikit-learn's 1,797 handwritten digits; --dataset names other data "
            "(a folder of class folders, or a TFDS name such as cifar10)",
            err=True,
        )
    start_tensorflow()
    from keras_resnet.data.sources import hold_out as hold_out_images
    from keras_resnet.data.sources import open_dataset
    from keras_resnet.training.devices import make_strategy
    from keras_resnet.training.epochs import Habits
    from keras_resnet.training.record import skipped_images
    from keras_resnet.training.run import train as run_training
    from keras_resnet.training.settings import make_settings

    # First of all: collective operations must be set up before TensorFlow does anything else.
    strategy = make_strategy(devices, workers.split(",") if workers else (), worker_index)
    data = open_dataset(dataset, data_dir=data_dir)
    if hold_out:
        data = hold_out_images(data, images=hold_out)
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
        click.echo(
            f"validation error {result.val_error:.2f} % (best {result.best_val_error:.2f} %), training error "
            f"{result.train_error:.2f} %, {result.images_per_second:,.0f} images/s"
            f"{skipped_images(result.skipped, result.workdir)}; model: {result.model}"
        )


@command()
@click.argument("model")
@dataset_option
@data_dir_option
@click.option(
    "--batches",
    type=COUNT,
    default=100,
    show_default=True,
    help="Training batches to average over.",
)
@click.option("--batch-size", type=COUNT, default=128, show_default=True, help="Images per batch.")
@click.option("--output", metavar="FILE", help="Where to write; by default the model is replaced.")
def recalibrate(
    model: str, dataset: str | None, data_dir: str | None, batches: int, batch_size: int, output: str | None
) -> None:
    """Set batch normalisation's statistics to averages over training images.

    The authors' released models hold such averages, taken after training, instead of moving ones. Of a
    run folder the images are those that it trained on; of a file, or with --dataset, split train.

    Example:

    \b
        keras-resnet recalibrate runs/resnet20-digits --output recalibrated.keras
    """
    start_tensorflow()
    from keras_resnet.training.recalibration import recalibrate_file

    path = recalibrate_file(
        model, dataset=dataset, data_dir=data_dir, batches=batches, batch_size=batch_size, output=output
    )
    click.echo(f"recalibrated over up to {batches} batches: {path}")

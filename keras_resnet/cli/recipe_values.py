"""Options of `train` that override single values of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from keras_resnet.cli.common import COUNT, gradient_clip_option, learning_rate_option

_OPTIONS = (
    click.option(
        "--epochs", type=float, metavar="E", help="Length in epochs: passes over the training images."
    ),
    click.option(
        "--steps", type=COUNT, metavar="N", help="Length in steps of one batch, instead of --epochs."
    ),
    click.option(
        "--batch-size", type=COUNT, metavar="N", help="Images per step, over all devices of all machines."
    ),
    learning_rate_option,
    click.option(
        "--weight-decay",
        type=float,
        metavar="DECAY",
        help="L2 penalty on the weights of convolutions and classifier, such as 1e-4.",
    ),
    click.option(
        "--freeze",
        metavar="STAGE",
        help="Freeze the stages up to and including this one (conv1 … conv5); none trains all.",
    ),
    click.option(
        "--keep-best/--no-keep-best",
        default=None,
        help="End with the weights of the epoch with the lowest validation error, not the last ones.",
    ),
    click.option(
        "--view",
        type=click.Choice(["scale-jitter", "random-resized-crop", "pad-crop", "center"]),
        help="How training images are cropped: scale-jitter is the paper's for ImageNet, pad-crop for CIFAR, "
        "center always takes the middle.",
    ),
    click.option(
        "--flip/--no-flip", default=None, help="Mirror half of the images; not for digits, text or signs."
    ),
    click.option(
        "--label-smoothing",
        type=float,
        metavar="P",
        help="Probability to spread over all classes, such as 0.1.",
    ),
    click.option(
        "--mixup",
        type=float,
        metavar="ALPHA",
        help="Blend pairs of images (MixUp): parameter of the Beta distribution, such as 0.2.",
    ),
    click.option(
        "--cutmix",
        type=float,
        metavar="ALPHA",
        help="Paste a rectangle of another image (CutMix): parameter of the Beta distribution, such as 1.0.",
    ),
    click.option(
        "--randaugment/--no-randaugment",
        default=None,
        help="Two random operations on each image (RandAugment).",
    ),
    click.option(
        "--color-jitter",
        type=float,
        metavar="STRENGTH",
        help="Strength of random changes of brightness, contrast, saturation and hue, such as 0.4.",
    ),
    click.option(
        "--random-erasing",
        type=float,
        metavar="SHARE",
        help="Share of the images that lose a random rectangle, such as 0.25.",
    ),
    gradient_clip_option,
    click.option(
        "--ema",
        type=float,
        metavar="DECAY",
        help="Validate and save an exponential moving average of the weights, of this decay, such as 0.999.",
    ),
)


def recipe_values(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options, in their order; their names are those of `Recipe`'s fields."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function

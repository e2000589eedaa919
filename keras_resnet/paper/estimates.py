"""What the runs that were not made would take, from known throughput."""

from __future__ import annotations

from collections.abc import Sequence

from keras_resnet.architectures import get_architecture
from keras_resnet.paper.experiments import Net
from keras_resnet.paper.numbers import A100_RESNET50, TWO_CORES_RESNET20, Throughput
from keras_resnet.recipes import RECIPES


def imagenet_hours(nets: Sequence[Net]) -> float:
    """Hours of one A100 to train all `nets` by the paper's recipe (600k steps of 256 images)."""
    return _hours(nets, A100_RESNET50, "imagenet-paper")


def cifar_hours(nets: Sequence[Net]) -> float:
    """Hours of two CPU cores to train all `nets` by the paper's recipe (64k steps of 128 images)."""
    return _hours(nets, TWO_CORES_RESNET20, "cifar-paper")


def _hours(nets: Sequence[Net], on: Throughput, name: str) -> float:
    """Scaled from the throughput by multiply-adds, which is kind to deep networks (their layers are the
    same) and unkind to shallow ones; good for an order of magnitude."""
    recipe = RECIPES[name]
    images = (recipe.steps or 0) * recipe.batch_size
    known = get_architecture(on.network, downsample=on.downsample).multiply_adds()
    seconds = (images / on.images_per_second * net.architecture.multiply_adds() / known for net in nets)
    return sum(seconds) / 3600

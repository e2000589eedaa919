"""Recipes refuse what makes no sense, and the right one is taken where none is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keras_resnet.architectures import ARCHITECTURES
from keras_resnet.data.sources import open_dataset
from keras_resnet.errors import UsageError
from keras_resnet.recipes import RECIPES, default_recipe
from keras_resnet.training.settings import make_settings


@pytest.mark.parametrize(
    "nonsense",
    [
        {"batch_size": 0},
        {"steps": 0},
        {"epochs": float("nan"), "steps": None},
        {"epochs": -1, "steps": None},
        {"learning_rate": float("inf")},
        {"learning_rate": float("nan")},
        {"weight_decay": -1.0},
        {"weight_decay": float("nan")},
        {"gradient_clip": 0.0},
        {"gradient_clip": float("inf")},
        {"ema": 1.0},
        {"ema": 0.0},
        {"label_smoothing": 1.0},
        {"color_jitter": 1.5},
        {"random_erasing": -0.1},
        {"mixup": float("inf")},
    ],
)
def test_nonsense_is_refused(nonsense):
    with pytest.raises(UsageError):
        replace(RECIPES["cifar-paper"], **nonsense)


@pytest.mark.parametrize(
    ("network", "kind", "images", "pretrained", "recipe"),
    [
        ("resnet20", "digits", 1_197, False, "digits"),
        ("resnet20", "tfds", 50_000, False, "cifar-paper"),
        ("resnet50", "tfds", 1_281_167, False, "imagenet-paper"),
        ("resnet50", "folder", 9_469, False, "imagenet-90"),
        ("resnet50", "folder", 9_469, True, "finetune"),
    ],
)
def test_the_default_follows_network_and_data(network, kind, images, pretrained, recipe):
    assert default_recipe(ARCHITECTURES[network], kind, images, pretrained) == recipe


def test_a_rate_that_was_asked_for_is_not_scaled_with_the_batch():
    digits = open_dataset("digits")
    settings = make_settings(
        ARCHITECTURES["resnet18"],
        digits,
        recipe="imagenet-90",
        overrides={"learning_rate": 0.1, "batch_size": 32},
    )
    assert settings.recipe.learning_rate == 0.1 and settings.recipe.reference_batch is None


@pytest.mark.parametrize(("network", "stage"), [("vgg16", "block3"), ("resnet18", "conv3")])
def test_fine_tuning_freezes_the_stages_that_the_network_has(network, stage):
    tuned = make_settings(ARCHITECTURES[network], open_dataset("digits"), recipe="finetune")
    assert tuned.recipe.freeze == stage


def test_fine_tuning_may_train_all_stages():
    data = open_dataset("digits")
    tuned = make_settings(ARCHITECTURES["resnet18"], data, recipe="finetune", overrides={"freeze": "none"})
    assert tuned.recipe.freeze is None

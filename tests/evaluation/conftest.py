"""Small real images in class folders, and small networks with random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from keras_resnet.architectures import ARCHITECTURES, Architecture
from keras_resnet.builders import build_model
from keras_resnet.data.sources import Dataset, open_dataset
from keras_resnet.saving import LoadedModel, ModelInfo

CLASSES = ("boat", "cat", "dog")
SHAPES = ((50, 70), (70, 50), (50, 70), (64, 64), (40, 96))  # (height, width) in pixels, for every class


def random_network(
    network: str | Architecture, labels: tuple[str, ...], image_size: int, **build: Any
) -> LoadedModel:
    keras.utils.set_random_seed(1)
    architecture = ARCHITECTURES[network] if isinstance(network, str) else network
    model = build_model(
        architecture, classes=len(labels), mean=[120.0, 115.0, 100.0], std=[60.0, 60.0, 65.0], **build
    )
    resize = image_size if architecture.family == "cifar" else round(image_size * 8 / 7)
    return LoadedModel(model, ModelInfo(architecture, labels, image_size, resize))


@pytest.fixture(scope="session")
def network():
    """Builds a network with random weights: name, label names, image size."""
    return random_network


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Windows of the two photos that scikit-learn ships, as PNG files: 3 classes of 5 images."""
    folder = tmp_path_factory.mktemp("photos")
    pictures = [Image.fromarray(image) for image in load_sample_images().images]
    random = np.random.default_rng(0)
    for label in CLASSES:
        (folder / "test" / label).mkdir(parents=True)
        for number, (height, width) in enumerate(SHAPES):
            left, top = int(random.integers(0, 300)), int(random.integers(0, 200))
            picture = pictures[number % 2].crop((left, top, left + 3 * width, top + 3 * height))
            picture.resize((width, height)).save(folder / "test" / label / f"{number}.png")
    return open_dataset(str(folder))


@pytest.fixture(scope="session")
def resnet18() -> LoadedModel:
    """One narrow block a stage and images of 32 pixels: a laptop tests multi-scale views in no time."""
    whole = ARCHITECTURES["resnet18"]
    stages = tuple(replace(stage, blocks=1, filters=64) for stage in whole.stages)
    return random_network(replace(whole, stages=stages), CLASSES, 32)


@pytest.fixture(scope="session")
def resnet20() -> LoadedModel:
    """For digits."""
    return random_network("resnet20", tuple("0123456789"), 32)


@pytest.fixture(scope="session")
def run_folder(resnet20: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from keras_resnet.saving import save_model

    folder = tmp_path_factory.mktemp("run")
    save_model(resnet20.model, resnet20.info, folder / "model.keras")
    return folder

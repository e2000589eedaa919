"""Small networks with plausible weights, saved, for the tests of export and serving."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from keras_resnet.architectures import Architecture, get_architecture
from keras_resnet.builders import build_model
from keras_resnet.saving import ModelInfo, save_model
from keras_resnet.weights.state import get_state, set_state

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def tiny(name: str, shortcut: Any = None, downsample: Any = None, blocks: int = 2) -> Architecture:
    """That network with few blocks and channels."""
    architecture = get_architecture(name, shortcut, downsample)
    base = 64 if architecture.family == "imagenet" and architecture.block == "basic" else 16
    stages = tuple(
        replace(stage, blocks=blocks, filters=base * 2**index)
        for index, stage in enumerate(architecture.stages)
    )
    return replace(architecture, stages=stages)


def random_model(architecture: Architecture, classes: int = 3, seed: int = 0, **options: Any) -> keras.Model:
    """Random weights and BN statistics, such that activations stay of order 1 and classes differ."""
    options = {"mean": MEAN, "std": STD, **options}
    model = build_model(architecture, classes=classes, **options)
    random = np.random.default_rng(seed)
    ranges = {
        "gamma": (0.5, 1.0),
        "beta": (-0.3, 0.3),
        "moving_mean": (-0.5, 0.5),
        "moving_variance": (0.5, 2.0),
    }
    state = get_state(model)
    for name, value in state.items():
        part = name.split("/")[1]
        if part in ranges:
            state[name] = random.uniform(*ranges[part], value.shape).astype(np.float32)
        elif part == "kernel":
            deviation = np.sqrt(2 / np.prod(value.shape[:-1]))
            state[name] = random.normal(0, deviation, value.shape).astype(np.float32)
    set_state(model, state)
    return model


def saved_network(
    path: Path, name: str = "resnet20", classes: int = 3, size: int = 32, **options: Any
) -> Path:
    """A `.keras` file of a whole network with labels "cat", "dog", …"""
    architecture = get_architecture(name)
    labels = (["cat", "dog", "émeu"] + [f"class {index}" for index in range(classes)])[:classes]
    info = ModelInfo(architecture, tuple(labels), size, size + 4, "pets", "digits", {"val_error": 12.5})
    return save_model(random_model(architecture, classes, **options), info, path)


def pixels(seed: int = 0, height: int = 40, width: int = 50) -> np.ndarray:
    """A smooth coloured picture, [height, width, 3] uint8."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def picture(kind: str = "PNG", seed: int = 0, **size: int) -> bytes:
    """`pixels` as a file of that kind."""
    file = io.BytesIO()
    Image.fromarray(pixels(seed, **size)).save(file, kind)
    return file.getvalue()


def bomb(side: int = 60_000) -> bytes:
    """A PNG of a few bytes whose header claims side × side pixels."""
    data = bytearray(picture())
    data[16:24] = side.to_bytes(4, "big") * 2
    return bytes(data)

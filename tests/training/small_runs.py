"""Runs on the digits at 16 pixels, as small as they come."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import shallow
from PIL import Image
from shallow import SHALLOW

from keras_resnet.data.sources import open_dataset
from keras_resnet.training.checkpoints import latest_checkpoint
from keras_resnet.training.settings import make_settings

DIGITS = open_dataset("digits")
ONE_STEP = {"epochs": None, "steps": 1, "batch_size": 8}


def settings(**changes):
    overrides = {"epochs": 1, "batch_size": 100, **changes.pop("overrides", {})}
    return make_settings(
        changes.pop("architecture", SHALLOW["resnet20"]),
        changes.pop("data", DIGITS),
        overrides=overrides,
        image_size=changes.pop("image_size", 16),
        **changes,
    )


def command(workdir: Path, *more: str) -> list[str]:
    arguments = ["train", "--depth", "20", "--image-size", "16", "--workdir", str(workdir)]
    return [sys.executable, shallow.__file__, *arguments, *more]


def grey_folder(root: Path) -> Path:
    """A data set of one split, 4 classes of 8 images, whose level of grey is 8 · class + number."""
    for label, name in enumerate("abcd"):
        (root / "train" / name).mkdir(parents=True)
        for number in range(8):
            pixels = np.full((16, 16, 3), 8 * label + number, np.uint8)
            Image.fromarray(pixels).save(root / "train" / name / f"{number}.png")
    return root


def assert_same_weights(first: Path, second: Path) -> None:
    a, b = latest_checkpoint(first), latest_checkpoint(second)
    assert a is not None and b is not None and a.step == b.step
    for name, array in a.arrays.items():
        np.testing.assert_array_equal(array, b.arrays[name], err_msg=name)

"""Images to compare an export with the model on, and their true classes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_resnet.data.images import image_files, read_file, view_of
from keras_resnet.imagenet import IMAGENET_CLASSES
from keras_resnet.saving import ModelInfo

PHOTO_CROPS = 8  # of each of scikit-learn's two photos, where no images are given
MOST_IMAGES = 1000  # that are used: all of them lie in memory
SPLIT_FROM = 100  # images that int8 is given: half of as many calibrate it, the other half compare it


@dataclass(frozen=True)
class ParityImages:
    """Images [N, S, S, 3] uint8 to compare on, and those that calibrate int8.

    `classes` [N] are the true classes of `compared`, where they are known; `described` is how many of which
    images those are, for people.
    """

    compared: np.ndarray
    calibration: np.ndarray
    classes: np.ndarray | None
    described: str


def parity_images(paths: Sequence[str | os.PathLike[str]], info: ModelInfo, precision: str) -> ParityImages:
    """The images below `paths`, or crops of two photos where none are named.

    Where they are enough, int8 is calibrated on every second one and compared on the others.

    Raises:
        UserError: a file is not a readable image, or a folder has none.
    """
    if not paths:
        crops = photo_crops(info.image_size)
        return ParityImages(crops, crops, None, f"{len(crops)} crops of two photos")
    files = _some(image_files(paths))
    images = np.stack([view_of(file, read_file(file), info) for file in files])
    classes = true_classes(files, info.label_names)
    if precision != "int8":
        return ParityImages(images, images, classes, f"{len(files)} given images")
    if len(files) < SPLIT_FROM:
        described = f"{len(files)} given images, the same that int8 was calibrated on"
        print(
            f"int8 is calibrated and compared on the same {len(files)} images: of {SPLIT_FROM} or more, half "
            "are kept for the comparison",
            file=sys.stderr,
        )
        return ParityImages(images, images, classes, described)
    calibration, compared = images[::2], images[1::2]
    described = f"{len(compared)} given images; int8 was calibrated on {len(calibration)} others"
    return ParityImages(compared, calibration, None if classes is None else classes[1::2], described)


def _some(files: list[str]) -> list[str]:
    if len(files) <= MOST_IMAGES:
        return files
    chosen = np.random.default_rng(0).permutation(len(files))[:MOST_IMAGES]
    return [files[index] for index in sorted(chosen)]


def true_classes(files: Sequence[str], label_names: Sequence[str]) -> np.ndarray | None:
    """The class of each file by its folder's name, [N]; None, which stderr explains, unless all have one.

    A folder is named as its class or, for ImageNet's classes, by WordNet id. Class numbers for labels are
    the places of the folders' names in their order, where there are as many: as in evaluation.
    """
    # Links are not followed, as classes may be folders of links into one pool.
    folders = [Path(os.path.abspath(file)).parent.name for file in files]  # noqa: PTH100
    numbers = {label: number for number, label in enumerate(label_names)}
    if list(label_names) == [label for _, label in IMAGENET_CLASSES]:
        numbers |= {wnid: number for number, (wnid, _) in enumerate(IMAGENET_CLASSES)}
    found = sorted(set(folders))
    if list(label_names) == [str(number) for number in range(len(found))]:
        numbers |= {} if set(found) == set(numbers) else {name: n for n, name in enumerate(found)}
    if unknown := [folder for folder in found if folder not in numbers]:
        print(
            f"errors are not compared: the folder {unknown[0]!r} is not a class of the model", file=sys.stderr
        )
        return None
    return np.array([numbers[folder] for folder in folders])


def photo_crops(image_size: int) -> np.ndarray:
    """Crops of the two photos that scikit-learn ships, [16, S, S, 3] uint8: every machine has those."""
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(0)
    crops = []
    for photo in load_sample_images().images:
        height, width, _ = photo.shape
        for _ in range(PHOTO_CROPS):
            side = int(random.integers(min(64, height), height + 1))
            top = int(random.integers(0, height - side + 1))
            left = int(random.integers(0, width - side + 1))
            window = tf.constant(photo[top : top + side, left : left + side])
            resized = tf.image.resize(window, (image_size, image_size), antialias=True)
            crops.append(np.clip(np.round(resized.numpy()), 0, 255).astype(np.uint8))
    return np.stack(crops)

"""Class folders: `DIR/train/<class>/…/image.jpg`, listed once, with errors a user can fix. No TensorFlow."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from keras_resnet.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif")
_FOREIGN = (".webp", ".avif", ".heic", ".tif", ".tiff")  # images that are not read; a user may count on them
SPLIT_NAMES = ("train", "val", "validation", "test")
# A TFRecord shard: train-00000-of-01024, my-validation.tfrecord-00000-of-00128, …
SHARD = re.compile(
    r"(?:.*-)?(?P<split>train|val|validation|test|all)(?:\.tfrecords?)?"
    r"-(?P<number>\d{5})-of-(?P<count>\d{5})(?:\.tfrecords?)?"
)
_SAMPLE = 64  # images whose size is looked at to tell whether all have one size


@dataclass(frozen=True)
class Listing:
    """The image files of one split, ordered by class, then path; label i is class i by name."""

    paths: tuple[str, ...]
    labels: np.ndarray  # [N] int32


@dataclass(frozen=True)
class ClassFolders:
    """What `list_class_folders` found: class names in order and a listing for each split."""

    label_names: tuple[str, ...]
    splits: Mapping[str, Listing]


def has_shards(folder: Path) -> bool:
    """Whether the folder directly contains TFRecord shards."""
    return any(SHARD.fullmatch(path.name) for path in folder.iterdir())


def list_class_folders(root: str | Path) -> ClassFolders:
    """List every image below `root`, a folder of splits or, for evaluation, of classes alone.

    Args:
        root: folder with `train/` and/or `val/`, `validation/`, `test/`, each with one folder per
            class; or a folder of class folders, which becomes the single split "all".

    Raises:
        UserError: no such folder, no classes, an empty class, or splits with different classes.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root} is not a folder: name an existing one")
    found = {name: root / name for name in SPLIT_NAMES if (root / name).is_dir()}
    splits = found or {"all": root}
    if len(splits) > 1 and "test" in splits and not _subfolders(splits["test"]):
        print(f"{splits.pop('test')} has no class folders and is left out", file=sys.stderr)  # as of ImageNet
    classes = {split: _class_names(folder, split, root) for split, folder in splits.items()}
    first, *others = classes
    for split in others:
        _require_same_classes(root, first, classes[first], split, classes[split])
    return ClassFolders(
        label_names=classes[first],
        splits={split: _listing(folder, classes[first]) for split, folder in splits.items()},
    )


def common_image_shape(paths: tuple[str, ...]) -> tuple[int, int, int] | None:
    """Return [height, width, 3] where a spread sample of the files has one size, else None."""
    from PIL import Image

    step = max(1, len(paths) // _SAMPLE)
    sizes = set()
    for path in paths[::step]:
        try:
            with Image.open(path) as image:  # reads the header only
                sizes.add(image.size)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue  # unreadable files are the pipeline's to skip and report
        if len(sizes) > 1:
            return None
    if not sizes:
        return None
    width, height = sizes.pop()
    return (height, width, 3)


def _subfolders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(e.name for e in os.scandir(folder) if e.is_dir() and e.name[0] != "."))


def _class_names(folder: Path, split: str, root: Path) -> tuple[str, ...]:
    names = _subfolders(folder)
    if not names:
        where = f"{root} has no train/, val/ or test/ folder and" if split == "all" else str(folder)
        raise UserError(
            f"{where} has no class folders: put the images of each class into a folder of its own, "
            f"{root}/train/<class>/image.jpg"
        )
    return names


def _require_same_classes(
    root: Path, first: str, a: tuple[str, ...], second: str, b: tuple[str, ...]
) -> None:
    if a == b:
        return
    differences = [
        f"{only} only in {split}/"
        for split, here, there in ((first, a, b), (second, b, a))
        if (only := ", ".join(sorted(set(here) - set(there))[:5]))
    ]
    raise UserError(
        f"{root}: {first}/ has {len(a)} classes, {second}/ has {len(b)} "
        f"({'; '.join(differences)}): both need the same class folders"
    )


def _listing(folder: Path, classes: tuple[str, ...]) -> Listing:
    paths: list[str] = []
    labels: list[int] = []
    foreign: Counter[str] = Counter()
    for label, name in enumerate(classes):
        files, others = images_below(folder / name)
        if not files:
            but = f", but {counted(others)}" if others else ""
            raise UserError(
                f"class folder {folder / name} holds no image ({', '.join(SUFFIXES)}){but}: "
                "add images or remove the folder (in every split)"
            )
        paths += files
        labels += [label] * len(files)
        foreign += others
    if foreign:
        left_out = counted(foreign)
        print(f"{folder}: files left out: {left_out} (supported: {', '.join(SUFFIXES)})", file=sys.stderr)
    return Listing(tuple(paths), np.array(labels, np.int32))


def counted(suffixes: Counter[str]) -> str:
    """3 .heic, 1 .webp."""
    return ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(suffixes.items()))


def _refuse(error: OSError) -> NoReturn:
    raise UserError(f"cannot read {error.filename}: {error.strerror or error}") from error


def images_below(folder: Path) -> tuple[list[str], Counter[str]]:
    """Image files below `folder` by name, and how many there are of formats that are not read, by suffix.

    What is hidden (`._1.jpg`, `.ipynb_checkpoints/`) is left out. Links are followed, each real folder once:
    they may form a ring.

    Raises:
        UserError: a folder cannot be listed.
    """
    files: list[str] = []
    foreign: Counter[str] = Counter()
    seen: set[str] = set()
    for directory, subfolders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(directory)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            lowered = name.lower()
            if name.startswith("."):
                continue
            if lowered.endswith(SUFFIXES):
                files.append(os.path.join(directory, name))  # noqa: PTH118  (a million of them: Path is slow)
            elif lowered.endswith(_FOREIGN):
                foreign[lowered[lowered.rindex(".") :]] += 1
    return sorted(files), foreign

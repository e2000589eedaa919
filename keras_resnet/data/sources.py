"""Where images come from: one frozen `Dataset` for digits, class folders, TFDS and TFRecord shards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from keras_resnet.data import digits, folders
from keras_resnet.data.slices import split_name, split_range
from keras_resnet.errors import UsageError, UserError
from keras_resnet.quiet import import_tensorflow

SMALL = 64  # pixels; up to this, images of one size are small, what the networks of Sec. 4.2 are for


@dataclass(frozen=True)
class Dataset:
    """An image-classification data set: what it is called, its classes and its splits.

    Attributes:
        name: what the user typed: "digits", a folder, a TFDS name.
        kind: where the images come from.
        label_names: class names; label i is the i-th.
        splits: images per split, e.g. {"train": 50000, "test": 10000}.
        image_shape: (height, width, 3) where all images share one size, else None.
        listings: the image files of each split ("folder").
        shards: the TFRecord shards of each split ("tfrecord"), see `records.Shards`.
        builder: the prepared TFDS builder ("tfds").
        held_out: images that `hold_out` moved from "train" to "val", drawn with `hold_out_seed`.
    """

    name: str
    kind: Literal["digits", "folder", "tfds", "tfrecord"]
    label_names: tuple[str, ...]
    splits: Mapping[str, int]
    image_shape: tuple[int, int, int] | None = None
    held_out: int = 0
    hold_out_seed: int = 0
    listings: Mapping[str, folders.Listing] = field(default_factory=dict, repr=False, compare=False)
    shards: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    builder: Any = field(default=None, repr=False, compare=False)
    # What was read or decoded of the splits; it lives exactly as long as the data set.
    memory: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.label_names)

    @property
    def square_side(self) -> int | None:
        """Side of the images where all are squares of one size, else None."""
        shape = self.image_shape
        return shape[0] if shape is not None and shape[0] == shape[1] else None

    @property
    def is_small(self) -> bool:
        """Whether its images are small squares of one size, as CIFAR-10's and the digits are."""
        return self.square_side is not None and self.square_side <= SMALL

    @property
    def slug(self) -> str:
        """Its name in those of folders: the last component, in letters, digits and dashes.

        With the others of a TFDS name: imagenette and imagewoof both have a 320px-v2.
        """
        parts = [part for part in self.name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        name = "-".join(parts if self.kind == "tfds" else parts[-1:])
        return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower() or "data"

    def images(self, split: str) -> int:
        """Number of images in `split`, which may have a slice: "train[:45000]".

        Raises:
            UsageError: there is no such split; the message names those there are.
        """
        start, stop = self.range(split)
        return stop - start

    def range(self, split: str) -> tuple[int, int]:
        """First index and the one after the last of `split` within its whole split.

        Raises:
            UsageError: there is no such split, or its slice selects nothing.
        """
        name = split_name(split)
        if name not in self.splits:
            if name == "train" and set(self.splits) == {"all"}:
                raise UsageError(
                    f"{self.name} has class folders but no train/: move them to {self.name}/train, and then "
                    f"some images of each class to {self.name}/val, or let --hold-out N take N out of train"
                )
            raise UsageError(f"data set {self.name} has no split {name!r}: it has {', '.join(self.splits)}")
        return split_range(split, self.splits[name])


def open_dataset(
    spec: str, *, data_dir: str | None = None, held_out: int | None = None, prepare: bool = True
) -> Dataset:
    """Find the data set that `spec` names.

    Args:
        spec: "digits"; an existing folder (of class folders, or of TFRecord shards); else a name
            that TFDS knows (`cifar10`, `imagenet2012`, `imagenette/320px-v2`).
        data_dir: where TFDS looks for prepared data sets and puts new ones.
        held_out: so many training images are moved to "val" (`hold_out`).
        prepare: download and prepare TFDS' data set where that has not been done; else refuse it.

    Raises:
        UsageError: nothing, or neither a folder nor a name that TFDS knows.
        UserError: the folder has no classes, an empty class, splits with different classes, …
    """
    found = _open(spec, data_dir, prepare)
    return hold_out(found, images=held_out) if held_out else found


def _open(spec: str, data_dir: str | None, prepare: bool) -> Dataset:
    if not spec:  # as of a variable that the shell does not know; a path of no letters is the current folder
        raise UsageError("the data set's name is empty: digits, a folder, or a name that TFDS knows")
    if spec == "digits":
        return Dataset(
            name=spec,
            kind="digits",
            label_names=digits.LABEL_NAMES,
            splits=digits.SPLITS,
            image_shape=digits.IMAGE_SHAPE,
        )
    if Path(spec).is_dir():
        return _open_folder(spec)
    if not _could_be_tfds(spec):
        raise UsageError(
            f"no folder {spec}: name an existing one with train/ and test/ or val/ class folders"
        )
    return _open_tfds(spec, data_dir, prepare)


def same_data(name: str, other: str) -> bool:
    """Whether two names of data sets mean one: photos, photos/ and its absolute path do."""
    if "digits" in (name, other):  # not a folder of that name
        return name == other
    return name == other or Path(name).resolve() == Path(other).resolve()


def validation_split(dataset: Dataset) -> str:
    """Return the split to validate on: "val" or "validation" if there is one, else "test".

    Raises:
        UserError: the data set has none of them.
    """
    for split in ("val", "validation", "test"):
        if split in dataset.splits:
            return split
    raise UserError(
        f"data set {dataset.name} has nothing to validate on (splits: "
        f"{', '.join(dataset.splits)}): add a val/ or test/ folder, or take part of train with --hold-out or "
        "--val-split"
    )


def hold_out(dataset: Dataset, *, images: int = 5000, seed: int = 0) -> Dataset:
    """Move `images` training images to a split "val", every class keeping its share (Sec. 4.2).

    The paper's CIFAR-10 runs train on 45k of the 50k images and validate on the other 5k.

    Raises:
        UsageError: there is already a validation split, or too few training images.
    """
    if "val" in dataset.splits or "validation" in dataset.splits:
        raise UsageError(f"data set {dataset.name} already has a validation split: nothing held out")
    train = dataset.images("train")
    if not dataset.classes <= images < train:
        raise UsageError(
            f"cannot hold out {images} of the {train} training images of {dataset.name}: "
            f"between {dataset.classes} (one per class) and {train - 1}"
        )
    rest = {split: count for split, count in dataset.splits.items() if split != "train"}
    splits = {"train": train - images, "val": images, **rest}
    return replace(dataset, splits=splits, held_out=images, hold_out_seed=seed, memory={})


def _open_folder(spec: str) -> Dataset:
    if folders.has_shards(Path(spec)):
        import_tensorflow()
        from keras_resnet.data import tfrecords

        packed = tfrecords.open_shards(Path(spec))
        return Dataset(
            name=spec,
            kind="tfrecord",
            label_names=packed.label_names,
            splits={split: shards.images for split, shards in packed.splits.items()},
            image_shape=packed.image_shape,
            shards=packed.splits,
        )
    found = folders.list_class_folders(spec)
    paths = tuple(path for listing in found.splits.values() for path in listing.paths)
    return Dataset(
        name=spec,
        kind="folder",
        label_names=found.label_names,
        splits={split: len(listing.paths) for split, listing in found.splits.items()},
        image_shape=folders.common_image_shape(paths),
        listings=found.splits,
    )


def _open_tfds(spec: str, data_dir: str | None, prepare: bool) -> Dataset:
    import_tensorflow()
    from keras_resnet.data import catalog

    builder = catalog.open_builder(spec, data_dir, prepare)
    image, label = catalog.image_and_label(builder)
    features = builder.info.features
    height, width = features[image].shape[:2]
    return Dataset(
        name=spec,
        kind="tfds",
        label_names=tuple(features[label].names),
        splits={split: info.num_examples for split, info in builder.info.splits.items()},
        image_shape=None if height is None or width is None else (height, width, 3),
        builder=builder,
    )


def _could_be_tfds(spec: str) -> bool:
    """Whether it looks like TFDS' `name`, `name:version` or `name/config/version`, and not like a path."""
    named = re.fullmatch(r"([\w-]+:)?[A-Za-z]\w*([/:].*)?", spec)
    return named is not None and spec.count("/") <= 2 and not spec.endswith("/")

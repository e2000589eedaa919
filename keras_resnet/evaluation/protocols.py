"""The rules of a test: on which data, which split, which views, and which output is which class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from keras_resnet.data.sources import Dataset, validation_split
from keras_resnet.data.views import EvalView, eval_view
from keras_resnet.errors import UsageError, UserError
from keras_resnet.saving import ModelInfo

if TYPE_CHECKING:
    from keras_resnet.evaluation.classifier import Classifier

_SECRET = ("imagenet2012", "i_naturalist20", "diabetic_retinopathy_detection")  # TFDS' names
VIEWS: tuple[str, ...] = ("single", "10-crop", "multi-scale")


def data_of(info: ModelInfo, model: str, named: str | None = None) -> str:
    """The data set to test `model` on: the one that is named, else the one that it was trained on.

    Raises:
        UserError: none is named or known.
    """
    if known := named or info.dataset:
        return known
    raise UserError(f"{model} does not say what data it was trained on: name it with --dataset")


def evaluation_split(dataset: Dataset) -> str:
    """The split that errors are reported on: "test", but of data sets whose test labels are secret."""
    if "test" in dataset.splits and not dataset.name.startswith(_SECRET):
        return "test"
    return validation_split(dataset) if set(dataset.splits) != {"all"} else "all"


def view_of(info: ModelInfo, views: str, sizes: Sequence[int] | None = None) -> EvalView:
    """The test view for a model: its own image size and resize; multi-scale sizes in proportion.

    Raises:
        UsageError: the model cannot be tested with these views.
    """
    view = eval_view(views, info.image_size, resize=info.resize)  # type: ignore[arg-type]
    sizes = view.sizes if sizes is None else tuple(sizes)
    if views == "10-crop" and info.resize <= info.image_size:
        raise UsageError(
            f"{info.architecture.name} is trained on whole images of {info.image_size} pixels: its ten crops "
            "are all the same; use the single view, as the paper does for CIFAR (Sec. 4.2)"
        )
    if views == "multi-scale" and info.architecture.family == "cifar":
        raise UsageError(
            f"{info.architecture.name} is a CIFAR network; tested with the single view (Sec. 4.2)"
        )
    # VGG's first connected layer is as large as the map of its own image size.
    smallest = info.image_size if info.architecture.block == "vgg" else info.architecture.minimum_image_size
    if views == "multi-scale" and min(sizes) < smallest:
        raise UsageError(f"size {min(sizes)} is too small: {info.architecture.name} needs {smallest} pixels")
    return replace(view, sizes=sizes)


def class_order(classifier: Classifier, dataset: Dataset) -> np.ndarray:
    """Which of the model's outputs belongs to each class of the data, [classes].

    By name where both have the same names, else by position: ImageNet's folders have other names
    than its models give, and a model without a description calls its classes 0, 1, 2, …

    Raises:
        UserError: another number of classes, or common names in contradictory places.
    """
    ours, theirs = list(classifier.info.label_names), list(dataset.label_names)
    if len(ours) != len(theirs):
        raise UserError(
            f"{classifier.name} has {len(ours)} classes ({_few(ours)}), {dataset.name} has {len(theirs)} "
            f"({_few(theirs)}): evaluate on the data set that it was trained on"
        )
    place = np.arange(len(ours))
    if ours == theirs or ours == [str(number) for number in place]:
        return place
    where = {name: number for number, name in enumerate(ours) if ours.count(name) == 1}
    if set(where) == set(theirs) and len(where) == len(theirs):
        return np.array([where[name] for name in theirs])
    for number, name in enumerate(theirs):
        if where.get(name, number) != number:
            raise UserError(
                f"class {name!r} is number {number} in {dataset.name} and number {where[name]} in "
                f"{classifier.name}, and other classes differ in name: give both the same names"
            )
    return place


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")

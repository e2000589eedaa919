"""What a data set holds: classes, counts, sizes, broken files; and what a network sees of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_resnet.data.examples import split_examples, split_stream
from keras_resnet.data.mixing import augment, wants_augmentation
from keras_resnet.data.order import Plan
from keras_resnet.data.pipeline import training_batches
from keras_resnet.data.samples import spread
from keras_resnet.data.sources import Dataset
from keras_resnet.data.views import TrainView
from keras_resnet.errors import UserError
from keras_resnet.recipes import Recipe

SHEET_COLUMNS = 8
SHEET_IMAGES = 32
_GAP = 4  # pixels between the samples of a sheet


def inspect(dataset: Dataset, *, limit: int = 2000) -> dict[str, Any]:
    """Look at every label and, spread evenly, at up to `limit` images of each split.

    Returns:
        {name, kind, classes, label_names, splits: {split: {images, per_class: {label: count}, looked_at,
        smallest, median, largest: [height, width], broken: [names]}}}. `per_class` is None for splits
        that are streams of records.
    """
    splits = {}
    for split in dataset.splits:
        shapes, broken = [], []
        for image, _, _, name in spread(dataset, split, limit):
            if image is None:
                broken.append(name)
            else:
                shapes.append(tuple(image.shape[:2]))
        shapes.sort(key=lambda shape: shape[0] * shape[1])
        splits[split] = {
            "images": dataset.images(split),
            "per_class": _per_class(dataset, split),
            "looked_at": len(shapes) + len(broken),
            "smallest": list(shapes[0]) if shapes else None,
            "median": list(shapes[len(shapes) // 2]) if shapes else None,
            "largest": list(shapes[-1]) if shapes else None,
            "broken": broken,
        }
    return {
        "name": dataset.name,
        "kind": dataset.kind,
        "classes": dataset.classes,
        "label_names": list(dataset.label_names),
        "splits": splits,
    }


def _per_class(dataset: Dataset, split: str) -> dict[str, int] | None:
    if split_stream(dataset, split) is not None:
        return None
    counts = np.bincount(split_examples(dataset, split).labels, minlength=dataset.classes)
    return dict(zip(dataset.label_names, counts.tolist(), strict=True))


def contact_sheet(
    dataset: Dataset, view: TrainView, path: str | Path, *, recipe: Recipe | None = None, seed: int = 0
) -> Path:
    """Write a PNG with one batch of training samples, eight in a row, as a network gets them.

    Args:
        dataset: whose training split is shown.
        view: what is cut out of an image.
        path: of the PNG.
        recipe: whose augmentations beyond the view are shown as well.
        seed: of the samples.

    Raises:
        UserError: the file cannot be written.
    """
    count = min(SHEET_IMAGES, dataset.images("train"))
    batches = training_batches(dataset, "train", view, batch_size=count, seed=seed)
    if recipe is not None and wants_augmentation(recipe):
        batches = augment(batches, recipe, dataset.classes, Plan(seed, dataset.images("train"), count))
    images, _ = next(iter(batches))
    pixels = np.clip(np.round(images.numpy().astype(np.float32)), 0, 255).astype(np.uint8)
    cell = view.image_size + _GAP
    rows = -(-count // SHEET_COLUMNS)
    sheet = Image.new("RGB", (SHEET_COLUMNS * cell + _GAP, rows * cell + _GAP), "white")
    for index, sample in enumerate(pixels):
        row, column = divmod(index, SHEET_COLUMNS)
        sheet.paste(Image.fromarray(sample), (column * cell + _GAP, row * cell + _GAP))
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write the sheet {path}: {error}") from error
    return path

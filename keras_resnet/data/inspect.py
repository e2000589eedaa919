"""What a data set holds: classes, counts, sizes, broken files; and what a network sees of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

from keras_resnet.data import streams
from keras_resnet.data.decode import decode_image
from keras_resnet.data.examples import split_examples, split_stream
from keras_resnet.data.graph import require, without_autograph
from keras_resnet.data.jpeg import is_complete
from keras_resnet.data.loading import Loader, no_draws
from keras_resnet.data.other_formats import NO_LABEL
from keras_resnet.data.sources import Dataset
from keras_resnet.errors import unwrapped, writing
from keras_resnet.pages.lettering import composed, font

SHEET_COLUMNS = 8
SHEET_IMAGES = 32
_TILE = 128  # pixels; smaller samples are enlarged, so that their labels can be read
_CAPTION = 18
_GAP = 4  # pixels between the samples of a sheet
_CHUNK = 64  # images between two reports of progress


def inspect(
    dataset: Dataset,
    *,
    limit: int | None = 2000,
    advance: Callable[[int], object] = lambda images: None,
) -> dict[str, Any]:
    """Look at every label and decode up to `limit` images of each split, in parallel.

    Broken are files that cannot be decoded, and JPEG files that can, but end early (`jpeg.is_complete`).

    Args:
        dataset: any data set.
        limit: of a larger split, this many images spread evenly over it (the first ones of a stream of
            records); None: all of them.
        advance: called with the number of images just looked at.

    Returns:
        {name, kind, classes, label_names, splits: {split: {images, per_class: {label: count}, looked_at,
        smallest, median, largest: [height, width], broken: {name: reason}}}}. `per_class` is None for
        splits that are streams of records.
    """
    splits = {}
    for split, images in dataset.splits.items():
        looked_at, shapes = 0, []
        broken: dict[str, str] = {}
        count = images if limit is None else min(limit, images)
        with unwrapped():
            for keys, found in _shapes(dataset, split, count, broken.setdefault):
                looked_at += int(keys)
                shapes += [tuple(shape.tolist()) for shape in found]
                advance(int(keys))
        shapes.sort(key=lambda shape: shape[0] * shape[1])
        splits[split] = {
            "images": images,
            "per_class": _per_class(dataset, split),
            "looked_at": looked_at,
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


def _shapes(
    dataset: Dataset, split: str, count: int, report: Callable[[str, str], object]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Chunk by chunk, how many images were looked at and [M, 2] height and width of those that are whole."""
    spec = tf.TensorSpec([2], tf.int32)
    shards = split_stream(dataset, split)
    if shards is not None:
        loader = Loader(lambda contents, _: _whole_shape(contents), spec, report)
        records = streams.evaluation_records(shards.part(0, count), _CHUNK, _CHUNK, 0)
        chunks = records.map(without_autograph(lambda _, contents, labels, names: (contents, names)))
    else:
        examples = split_examples(dataset, split)

        def load(index: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
            if examples.pixels is not None:
                return tf.shape(examples.pixels[index])[:2]
            return _whole_shape(examples.contents(index))

        loader = Loader(load, spec, report, examples.names)
        indices = np.linspace(0, len(examples) - 1, count).astype(np.int64)
        keys = tf.data.Dataset.from_tensor_slices(indices).batch(_CHUNK)
        chunks = keys.map(without_autograph(lambda keys: (keys, None)))

    def look(keys: tf.Tensor, names: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.size(keys), loader.readable(keys, no_draws(keys), names)[1]

    return chunks.map(without_autograph(look), num_parallel_calls=2).as_numpy_iterator()


def _whole_shape(contents: tf.Tensor) -> tf.Tensor:
    """Height and width of a file's image, [2] int32; an op error where it is broken."""
    image = decode_image(contents)
    with tf.control_dependencies([image]):  # its size has been checked then
        complete = tf.py_function(lambda file: is_complete(file.numpy()), [contents], tf.bool)
    shape = tf.shape(image)[:2]
    return require(tf.ensure_shape(complete, []), shape, "JPEG data end early: the rest of the image is grey")


def _per_class(dataset: Dataset, split: str) -> dict[str, int] | None:
    if split_stream(dataset, split) is not None:
        return None
    examples = split_examples(dataset, split)
    labels = examples.labels
    if examples.encoded is not None:
        labels = labels[tf.not_equal(examples.encoded, NO_LABEL).numpy()]
    counts = np.bincount(labels, minlength=dataset.classes)
    return dict(zip(dataset.label_names, counts.tolist(), strict=True))


def contact_sheet(batches: tf.data.Dataset, label_names: Sequence[str], path: str | Path) -> Path:
    """Write a PNG with the first samples of the first batch, eight in a row, their labels below them.

    Args:
        batches: what a run trains on (`training.inputs.Inputs.training_share`): images [b, S, S, 3] RGB
            0…255, and labels [b], or [b, classes] as probabilities.
        label_names: of the classes.
        path: of the PNG.

    Raises:
        UserError: the file cannot be written.
    """
    images, labels = (tensor.numpy()[:SHEET_IMAGES] for tensor in next(iter(batches)))
    pixels = np.clip(np.round(images.astype(np.float32)), 0, 255).astype(np.uint8)
    side = pixels.shape[1] * max(1, _TILE // pixels.shape[1])
    width, height = side + _GAP, side + _CAPTION + _GAP
    rows = -(-len(pixels) // SHEET_COLUMNS)
    sheet = Image.new("RGB", (SHEET_COLUMNS * width + _GAP, rows * height + _GAP), "white")
    for index, (sample, label) in enumerate(zip(pixels, labels, strict=True)):
        tile = Image.new("RGB", (side, side + _CAPTION), "white")
        tile.paste(Image.fromarray(sample).resize((side, side), Image.Resampling.NEAREST))
        ImageDraw.Draw(tile).text((0, side + 1), composed(_caption(label, label_names)), "black", font(12))
        row, column = divmod(index, SHEET_COLUMNS)
        sheet.paste(tile, (column * width + _GAP, row * height + _GAP))
    with writing(path):
        sheet.save(path, "PNG")
    return Path(path)


def _caption(label: np.ndarray, names: Sequence[str]) -> str:
    """The class, or the classes that an image was mixed of, the larger share first."""
    if label.ndim == 0:
        return names[int(label)]
    shares = [f"{label[i]:.0%} {names[i]}" for i in np.argsort(-label) if label[i] > 0]
    return ", ".join(shares) if len(shares) > 1 else names[int(label.argmax())]

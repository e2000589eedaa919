"""A folder of TFRecord shards in the common ImageNet layout as a data set.

`train-00000-of-01024` … and `validation-00000-of-00128` …, each record a `tf.train.Example` with
`image/encoded` (the image file), `image/class/label` and perhaps `image/class/text`. The layout's
first writers counted classes from 1, keeping 0 for "background"; later ones count from 0. A file
`dataset.json`, which `packing.pack` writes, says which; without it, a sample of records tells.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from keras_resnet.data.folders import SHARD
from keras_resnet.data.records import Shards, count_records
from keras_resnet.errors import UserError

DESCRIPTION = "dataset.json"
_PACKED = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})")  # what `pack` wrote: any split
# Records that are looked at for labels in the largest split (of 1,000 classes each is among them), and in
# the others, of which one may have no labels at all, as ImageNet's test images.
_SAMPLE = 20_000
_GLANCE = 1_000


@dataclass(frozen=True)
class ShardFolder:
    """What `open_shards` found: class names in order, the shards of each split, the image size."""

    label_names: tuple[str, ...]
    splits: Mapping[str, Shards]
    image_shape: tuple[int, int, int] | None = None


def open_shards(folder: Path) -> ShardFolder:
    """Find the shards of each split, count their records and name their classes.

    Raises:
        UserError: a shard is missing or damaged, or the records have no usable labels.
    """
    description = folder / DESCRIPTION
    files = _complete_splits(folder, _PACKED if description.is_file() else SHARD)
    if description.is_file():
        try:
            return _described(folder, json.loads(description.read_text(encoding="utf-8")), files)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{description} is damaged, or not written by `keras-resnet data pack` ({error!r}): "
                "restore or remove it"
            ) from error
    with ThreadPoolExecutor(16) as pool:
        counts = {split: tuple(pool.map(count_records, paths)) for split, paths in files.items()}
    return _undescribed(folder, files, counts)


def _described(folder: Path, description: dict, files: Mapping[str, tuple[str, ...]]) -> ShardFolder:
    splits = {}
    for split, paths in files.items():
        counts = description["splits"].get(split)
        if counts is None or len(counts) != len(paths):
            raise UserError(
                f"{folder / DESCRIPTION} does not describe the {len(paths)} shards of split "
                f"{split!r}: pack the data set again"
            )
        splits[split] = Shards(
            paths,
            (0,) * len(paths),
            tuple(counts),
            name_key="image/filename",
            first_label=description["first_label"],
            classes=len(description["label_names"]),
        )
    shape = description["image_shape"]
    return ShardFolder(tuple(description["label_names"]), splits, None if shape is None else tuple(shape))


def _undescribed(
    folder: Path, files: Mapping[str, tuple[str, ...]], counts: Mapping[str, tuple[int, ...]]
) -> ShardFolder:
    """Shards of other origin: a sample shows labels and names; splits without labels are left out."""
    largest = files[max(counts, key=lambda split: sum(counts[split]))]
    found = {
        split: texts
        for split, paths in files.items()
        if (texts := _survey(paths, _SAMPLE if paths == largest else _GLANCE))
    }
    if not found:
        raise UserError(
            f"{folder}: the records have no image/class/label: use the ImageNet layout, or pack a "
            "folder of images"
        )
    texts = {number: text for survey in found.values() for number, text in survey.items()}
    first = 0 if 0 in texts else 1
    given = [texts.get(n) or str(n - first) for n in range(first, max(texts) + 1)]
    # Two classes of ImageNet are called "crane", and counts, reports and the order of classes go by name.
    uses = Counter(given)
    label_names = tuple(f"{name} ({i})" if uses[name] > 1 else name for i, name in enumerate(given))
    splits = {
        split: Shards(
            files[split],
            (0,) * len(files[split]),
            counts[split],
            first_label=first,
            classes=len(label_names),
        )
        for split in found
    }
    return ShardFolder(label_names, splits)


def _complete_splits(folder: Path, name: re.Pattern[str]) -> dict[str, tuple[str, ...]]:
    found: dict[tuple[str, int], dict[int, str]] = {}
    for path in sorted(folder.iterdir()):
        if match := name.fullmatch(path.name):
            shards = found.setdefault((match["split"], int(match["count"])), {})
            shards[int(match["number"])] = str(path)
    splits: dict[str, tuple[str, ...]] = {}
    for (split, count), shards in found.items():
        missing = [number for number in range(count) if number not in shards]
        if missing or split in splits:
            raise UserError(
                f"{folder}: split {split!r} lacks shard {missing[0]:05d} of {count:05d}"
                if missing
                else f"{folder}: split {split!r} has two sets of shards, of different numbers: remove one"
            )
        splits[split] = tuple(shards[number] for number in range(count))
    return splits


def _survey(paths: tuple[str, ...], count: int) -> dict[int, str]:
    """Look at up to `count` records: the labels there are and the names of their classes."""
    features = {
        "image/class/label": tf.io.FixedLenFeature([], tf.int64, -1),
        "image/class/text": tf.io.FixedLenFeature([], tf.string, b""),
    }
    step = max(1, len(paths) // 16)  # spread over the shards, some of them whole
    # Where a shard is damaged, reading it says so by name; here it only gives fewer records.
    records = tf.data.TFRecordDataset(paths[::step]).ignore_errors().take(count).batch(1024)
    texts: dict[int, str] = {}
    try:
        for batch in records:
            parsed = tf.io.parse_example(batch, features)
            labels = parsed["image/class/label"].numpy().tolist()
            names = parsed["image/class/text"].numpy().tolist()
            texts.update((n, os.fsdecode(t)) for n, t in zip(labels, names, strict=True) if n >= 0)
    except tf.errors.OpError as error:
        raise UserError(
            f"{paths[0]}: its records are not of the ImageNet layout: {error.message[:200]}"
        ) from error
    return texts

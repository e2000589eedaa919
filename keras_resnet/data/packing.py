"""Pack a data set into TFRecord shards in the common ImageNet layout, several shards at a time."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_resnet.data.examples import Examples, split_examples, split_stream
from keras_resnet.data.faults import reason
from keras_resnet.data.loading import CORES
from keras_resnet.data.sources import Dataset
from keras_resnet.data.tfrecords import DESCRIPTION
from keras_resnet.errors import UsageError, UserError

FIRST_LABEL = 1  # as in the layout's first writers: 0 was "background"
_SEED = 0  # of the order in which images are dealt to shards


def pack(
    dataset: Dataset,
    output: str | Path,
    *,
    shards: int = 64,
    threads: int | None = None,
    advance: Callable[[int], object] = lambda images: None,
) -> Path:
    """Write every split of `dataset` to `output` as `SPLIT-00000-of-00064` ….

    Image files go in as they are; images that have no file (digits) as PNG. The images of a split are
    dealt to its shards at random, so that reading a few shards at a time shuffles well. Smaller splits
    get fewer shards, in proportion. A shard appears whole or not at all, `dataset.json` last.

    Args:
        dataset: what to pack.
        output: a folder; created if needed, otherwise empty.
        shards: of the largest split.
        threads: shards written at the same time; one per core by default.
        advance: called with the number of images just packed.

    Raises:
        UsageError: fewer than one shard, or `output` is not empty.
        UserError: an image cannot be read, or a shard not written.
    """
    output = Path(output)
    if shards < 1:
        raise UsageError(f"--shards must be 1 or more, not {shards}")
    if output.is_dir() and any(output.iterdir()):
        raise UsageError(f"{output} is not empty: name a new folder")
    for split in dataset.splits:
        if split_stream(dataset, split) is not None:
            raise UsageError(f"{dataset.name} is in shards already: pass their folder to --dataset")
    largest = max(dataset.splits.values())
    counts: dict[str, list[int]] = {}
    try:
        output.mkdir(parents=True, exist_ok=True)
        for split, images in dataset.splits.items():
            examples = split_examples(dataset, split)
            order = np.random.default_rng(_SEED).permutation(images)
            # No more shards than images: a small set would get empty ones.
            parts = np.array_split(order, min(images, max(1, round(shards * images / largest))))
            jobs = [(output / f"{split}-{n:05d}-of-{len(parts):05d}", part) for n, part in enumerate(parts)]
            write, stop = partial(_write_shard, dataset.label_names, examples), threading.Event()
            with ThreadPoolExecutor(threads or CORES) as pool:
                try:
                    for future in as_completed([pool.submit(write, *job, stop) for job in jobs]):
                        advance(future.result())
                except BaseException:
                    stop.set()  # a shard of ImageNet takes minutes
                    pool.shutdown(cancel_futures=True)
                    raise
            counts[split] = [len(part) for part in parts]
        description = {
            "label_names": list(dataset.label_names),
            "first_label": FIRST_LABEL,
            "image_shape": dataset.image_shape,
            "splits": counts,
        }
        temporary = output / f".{DESCRIPTION}"
        temporary.write_text(json.dumps(description, indent=1), encoding="utf-8")
        temporary.replace(output / DESCRIPTION)
    except (OSError, tf.errors.OpError, UnicodeDecodeError) as error:
        raise UserError(f"cannot pack {dataset.name} into {output}: {reason(error)}") from error
    return output


def _write_shard(
    label_names: tuple[str, ...], examples: Examples, path: Path, indices: np.ndarray, stop: threading.Event
) -> int:
    """Number of images written."""
    temporary = path.with_name(f".{path.name}")
    with tf.io.TFRecordWriter(str(temporary)) as writer:
        for index in indices:
            if stop.is_set():
                return 0
            label = int(examples.labels[index])
            writer.write(
                _record(
                    _contents(examples, index), label, label_names[label], str(examples.names[index])
                ).SerializeToString()
            )
    temporary.replace(path)
    return len(indices)


def _contents(examples: Examples, index: np.int64) -> bytes:
    if examples.pixels is not None:
        contents: bytes = tf.io.encode_png(examples.pixels[index]).numpy()
    else:
        contents = examples.contents(tf.constant(index)).numpy()
    return contents


def _record(contents: bytes, label: int, text: str, name: str) -> tf.train.Example:
    def strings(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    number = tf.train.Feature(int64_list=tf.train.Int64List(value=[label + FIRST_LABEL]))
    features = {
        "image/encoded": strings(contents),
        "image/class/label": number,
        "image/class/text": strings(os.fsencode(text)),
        # With its class: fifty folders may have an IMG_0001.
        "image/filename": strings(os.fsencode(f"{text}/{Path(name).name}")),
    }
    return tf.train.Example(features=tf.train.Features(feature=features))

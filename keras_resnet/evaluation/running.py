"""Running one model over one split: each image once, whatever the batch size, devices or interruptions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_resnet.errors import UserError
from keras_resnet.evaluation.progress import Progress
from keras_resnet.evaluation.replicas import Replicated
from keras_resnet.evaluation.scores import read_arrays, write_arrays

SAVE_EVERY = 60.0  # seconds between saves of a run that can be resumed

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # index [n], labels [n], probabilities [n, classes]


@dataclass
class Collected:
    """Scores as they come in, one block of rows per batch; saved now and then if there is a `file`.

    `identity` says which model is scored on what. An interrupted run resumes from its `file` if that
    has the same identity; `skipped` are the unreadable files, known only when the run is complete.
    """

    identity: dict[str, Any]
    classes: int
    file: Path | None = None
    index: list[np.ndarray] = field(default_factory=list)
    labels: list[np.ndarray] = field(default_factory=list)
    probabilities: list[np.ndarray] = field(default_factory=list)
    skipped: tuple[str, ...] | None = None
    _saved: float = field(default_factory=time.monotonic)

    def resume(self) -> np.ndarray:
        """Take over what an interrupted run of the same kind left; returns the numbers of its images."""
        if self.file is not None and self.file.exists():
            try:
                meta, arrays = read_arrays(self.file)
            except UserError:  # a machine that died may leave half a file: nothing to resume from
                return np.zeros(0, np.int64)
            if meta.get("identity") == self.identity:
                self.index, self.labels = [arrays["index"]], [arrays["labels"]]
                self.probabilities = [arrays["probabilities"]]
                self.skipped = None if meta["skipped"] is None else tuple(meta["skipped"])
                return arrays["index"]
        return np.zeros(0, np.int64)

    def add(self, rows: Rows) -> None:
        """Append rows and, if it is time, save everything.

        Raises:
            UserError: the model answers NaN.
        """
        if not np.isfinite(rows[2]).all():
            raise UserError(
                f"{self.identity['name']} answers NaN: its training has diverged; train again with a lower "
                "learning rate"
            )
        for kept, new in zip((self.index, self.labels, self.probabilities), rows, strict=True):
            kept.append(new)
        if time.monotonic() - self._saved > SAVE_EVERY:
            self.save()

    def complete(self, skipped: tuple[str, ...]) -> None:
        """Say that nothing is missing but the unreadable files, and save."""
        self.skipped = skipped
        self.save()

    def save(self) -> None:
        """Write everything to `file`, if there is one."""
        if self.file is not None and self.index:
            names = ("index", "labels", "probabilities")
            meta = {"identity": self.identity, "skipped": self.skipped}
            write_arrays(self.file, meta, dict(zip(names, self.rows(), strict=True)))
            self._saved = time.monotonic()

    def rows(self) -> Rows:
        """Everything collected, in the order in which it came; of few images, a worker may have none."""
        return (
            np.concatenate([np.zeros(0, np.int64), *self.index]),
            np.concatenate([np.zeros(0, np.int32), *self.labels]),
            np.concatenate([np.zeros((0, self.classes), np.float32), *self.probabilities]),
        )


def collect(stream: Iterable[tuple[int, Callable[[], Rows]]], into: Collected, advance: Progress) -> None:
    """Take (number of images, rows to wait for) from `stream`; an interruption saves what there is.

    A batch is waited for only after the next one has started, so that an accelerator never idles.
    """
    pending: tuple[int, Callable[[], Rows]] | None = None
    try:
        for item in stream:
            if pending is not None:
                into.add(pending[1]())
                advance(pending[0])
            pending = item
        if pending is not None:
            into.add(pending[1]())
            advance(pending[0])
    except BaseException:
        into.save()
        raise


def score_batches(
    batches: Iterable[Any], predict: Callable[[Any], Any], done: np.ndarray, batch_size: int, strategy: Any
) -> Iterator[tuple[int, Callable[[], Rows]]]:
    """Score batches (images [b, S, S, 3] or [b, views, S, S, 3], labels [b], index [b]) but for `done`.

    The probabilities of an image's views are averaged after the softmax (10-crop testing, [21] of the
    paper). `batch_size` is the largest b.
    """
    run = Replicated(_over_views(predict), strategy, batch_size)
    for images, labels, index in batches:
        labels, index = labels.numpy(), index.numpy()
        fresh = ~np.isin(index, done)
        if not fresh.all():
            images = tf.boolean_mask(images, fresh)
        labels, index = labels[fresh].astype(np.int32), index[fresh].astype(np.int64)
        if len(index):
            result = run(images)
            yield len(index), partial(_rows, index, labels, result)


def _rows(index: np.ndarray, labels: np.ndarray, result: Callable[[], np.ndarray]) -> Rows:
    return index, labels, result()


def _over_views(predict: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def mean_over_views(images: Any) -> Any:
        if images.shape.rank == 4:
            return predict(images)
        count, views = tf.shape(images)[0], images.shape[1]
        probabilities = predict(tf.reshape(images, [count * views, *images.shape[2:]]))
        return tf.reduce_mean(tf.reshape(probabilities, [count, views, probabilities.shape[-1]]), axis=1)

    return mean_over_views

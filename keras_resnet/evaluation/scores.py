"""Scores of one or several models on one set of images: what is saved, loaded, averaged and compared."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_resnet.errors import UserError, writing

FORMAT = 1
_ARRAYS = ("index", "labels", "probabilities")


@dataclass(frozen=True)
class Scores:
    """Probabilities of every image, averaged over `models`, in the order of the images' numbers.

    `index` [images] int64 numbers the images within the split (numbers of skipped files are missing),
    `labels` [images] int32 are the true classes, `probabilities` [images, classes] float32 are in the
    order of `label_names`, the data set's. `skipped` names the files that could not be read.
    """

    models: tuple[str, ...]
    dataset: str
    split: str
    views: str
    label_names: tuple[str, ...]
    index: NDArray[np.int64]
    labels: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    skipped: tuple[str, ...] = ()


def save_scores(scores: Scores, path: str | os.PathLike[str]) -> Path:
    """Write `scores` as a NumPy .npz file that appears at once or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    values = {f.name: getattr(scores, f.name) for f in fields(scores)}
    arrays = {name: values.pop(name) for name in _ARRAYS}
    return write_arrays(path, {"format": FORMAT} | values, arrays)


def load_scores(path: str | os.PathLike[str]) -> Scores:
    """Read what `save_scores` wrote.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    meta, arrays = read_arrays(path)
    try:
        if meta["format"] != FORMAT:
            raise UserError(
                f"{path} has format {meta['format']}; this version reads {FORMAT}: evaluate again"
            )
        values: dict[str, Any] = {name: meta[name] for name in ("dataset", "split", "views")}
        values |= {name: tuple(meta[name]) for name in ("models", "label_names", "skipped")}
        values |= {name: arrays[name] for name in _ARRAYS}
        return Scores(**values)
    except KeyError as error:
        raise UserError(f"{path} holds no scores; they are written by evaluate --save-scores") from error


def average(parts: Sequence[Scores], names: Sequence[str] | None = None) -> Scores:
    """The ensemble: probabilities averaged over all models of all parts, each model counting once.

    `names` are what errors call the parts (file names).

    Raises:
        UserError: the parts are not scores of the same images in the same classes.
    """
    if not parts:
        raise UserError("an ensemble needs at least one file of scores")
    names = names or [" + ".join(part.models) for part in parts]
    first = parts[0]
    for name, part in zip(names[1:], parts[1:], strict=True):
        if part.label_names != first.label_names:
            raise UserError(f"{name} has other classes than {names[0]}: only scores of one data set combine")
        same = part.split == first.split and np.array_equal(part.index, first.index)
        if not (same and np.array_equal(part.labels, first.labels)):
            raise UserError(
                f"{name} ({part.dataset}, {part.split}, {len(part.index)} images) was scored on other images "
                f"than {names[0]} ({first.dataset}, {first.split}, {len(first.index)} images)"
            )
    total = np.zeros(first.probabilities.shape, np.float64)
    for part in parts:
        total += part.probabilities.astype(np.float64) * len(part.models)
    models = tuple(model for part in parts for model in part.models)
    views = dict.fromkeys(part.views for part in parts)
    return Scores(
        models,
        first.dataset,
        first.split,
        " + ".join(views),
        first.label_names,
        first.index,
        first.labels,
        (total / len(models)).astype(np.float32),
        first.skipped,
    )


def write_arrays(path: str | os.PathLike[str], meta: object, arrays: dict[str, np.ndarray]) -> Path:
    """One .npz file of `arrays` and the JSON of `meta`, replaced atomically."""
    path = Path(path)
    with writing(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder:
        temporary = Path(folder) / path.name
        with temporary.open("wb") as file:  # a file object: NumPy would append .npz to a bare name
            np.savez(file, meta=np.array(json.dumps(meta)), **arrays)  # type: ignore[arg-type]
        temporary.replace(path)
    return path


def read_arrays(path: str | os.PathLike[str]) -> tuple[dict, dict[str, np.ndarray]]:
    """The inverse of `write_arrays`.

    Raises:
        UserError: there is no such file, or it is not one of ours.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return json.loads(str(arrays.pop("meta"))), arrays
    except FileNotFoundError as error:
        raise UserError(f"no such file: {path}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} holds no scores; they are written by evaluate --save-scores") from error

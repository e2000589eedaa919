"""Checkpoints that are whole or not there: one file each, written, synced and renamed.

A checkpoint is a safetensors file: the arrays (weights, momentum, averages) and, as its metadata, a JSON
state (step, epoch, schedule, sums of the running epoch).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from keras_resnet.errors import UserError

FOLDER = "checkpoints"
BEST = "best.safetensors"

# What reading a damaged file raises.
_UNREADABLE = (OSError, SafetensorError, KeyError, ValueError, TypeError)


@dataclass(frozen=True)
class Checkpoint:
    """A run as it was after `step` steps."""

    step: int
    arrays: Mapping[str, np.ndarray]
    state: Mapping[str, Any]


def save_checkpoint(workdir: Path, checkpoint: Checkpoint, *, keep: int = 2, best: bool = False) -> Path:
    """Write a checkpoint, then remove all but the last `keep` (and the best one).

    Raises:
        UserError: it cannot be written (disk full, folder not writable); earlier ones are untouched.
    """
    folder = workdir / FOLDER
    metadata = {"step": str(checkpoint.step), "state": json.dumps(dict(checkpoint.state))}
    arrays = {name: np.asarray(array, order="C") for name, array in checkpoint.arrays.items()}
    path = folder / f"step-{checkpoint.step:09d}.safetensors"
    data = save(arrays, metadata)
    if best:  # first: a state that knows of a better epoch must find it here
        write_atomically(folder / BEST, data)
    write_atomically(path, data)
    files = _files(workdir)
    damaged = [file for file in files if file > path]  # or the run would have resumed from there
    for old in damaged + [file for file in files if file <= path][:-keep]:
        old.unlink(missing_ok=True)
    for cut_short in folder.glob(".*.tmp"):  # what a kill left while saving
        cut_short.unlink(missing_ok=True)
    return path


def latest_checkpoint(workdir: Path) -> Checkpoint | None:
    """The newest readable checkpoint of a run, or None where it has none yet.

    Raises:
        UserError: there are checkpoints and none of them can be read.
    """
    files = _files(workdir)
    for path in reversed(files):
        try:
            return read_checkpoint(path)
        except _UNREADABLE:
            continue  # cannot come from a kill (files appear whole), but may from a broken disk
    if files:
        raise UserError(
            f"none of the {len(files)} checkpoints in {files[0].parent} can be read: restore one, or start "
            "over with --fresh"
        )
    return None


def best_checkpoint(workdir: Path) -> Checkpoint:
    """The run as it was after the epoch with the lowest validation error.

    Raises:
        UserError: the file is gone or damaged.
    """
    path = workdir / FOLDER / BEST
    try:
        return read_checkpoint(path)
    except _UNREADABLE as error:
        raise UserError(
            f"the best epoch cannot be read from {path} ({error}); start over with --fresh"
        ) from error


def remove_checkpoints(workdir: Path) -> None:
    """Remove all of a run's, and nothing else that lies in their folder."""
    folder = workdir / FOLDER
    for path in (*_files(workdir), folder / BEST, *folder.glob(".*.tmp")):
        path.unlink(missing_ok=True)
    with suppress(OSError):  # there is none, or it is not empty
        folder.rmdir()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one file written by `save_checkpoint`."""
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    return Checkpoint(int(metadata["step"]), arrays, json.loads(metadata["state"]))


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it has its old or its new contents at every moment, even after a power cut.

    Raises:
        UserError: it cannot be written; the message says why.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # the rename itself
        finally:
            os.close(descriptor)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; what was there is intact; "
            "make room or choose another --workdir, and run the same command again"
        ) from error


@contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Keep a second run out of a run folder; the kernel drops the lock when the process ends, however.

    Raises:
        UserError: the folder is in use, or cannot be written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = (workdir / ".lock").open("w")
    except OSError as error:
        raise UserError(f"cannot write to {workdir}: {error.strerror}; choose another --workdir") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):  # which of them depends on the file system
                raise UserError(
                    f"another run is at work in {workdir}; wait for it or choose another --workdir"
                ) from None
            # Else a network file system without locks, as Lustre often is: nobody can be kept out.
        yield


def _files(workdir: Path) -> list[Path]:
    return sorted((workdir / FOLDER).glob("step-*.safetensors"))

"""Single image files named by the user, as a network sees them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_resnet.data.faults import UNREADABLE, reason
from keras_resnet.data.folders import SUFFIXES, counted, images_below
from keras_resnet.data.views import EvalView, image_to_view
from keras_resnet.errors import UserError
from keras_resnet.saving import ModelInfo


def image_files(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Files as they are, and for a folder all images below it, by name.

    Raises:
        UserError: a folder has no images.
    """
    files: list[str] = []
    for path in paths:
        if not Path(path).is_dir():
            files.append(os.fspath(path))
            continue
        found, foreign = images_below(Path(path))
        others = counted(foreign)
        if not found:
            but = f", but found {others}" if others else ""
            raise UserError(f"no images in {path}: looked for {', '.join(sorted(SUFFIXES))}{but}")
        if others:
            print(f"{path}: files left out: {others} (supported: {', '.join(SUFFIXES)})", file=sys.stderr)
        files += found
    return files


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file.

    Raises:
        UserError: it cannot be read; the message names it.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def view_of(name: str | os.PathLike[str], contents: bytes, info: ModelInfo) -> np.ndarray:
    """The test view of an image file's bytes, [S, S, 3] uint8; `name` is for the message.

    Raises:
        UserError: the bytes are not a readable image; the message ends with what the decoder says.
    """
    view = EvalView("single", info.image_size, info.resize)
    try:
        return image_to_view(tf.constant(contents), view).numpy()
    except UNREADABLE as error:
        raise UserError(f"{name} is not a readable JPEG, PNG, BMP or GIF image: {reason(error)}") from error

"""Writes torch checkpoints by hand, opcode by opcode: reading them is tested where torch is not installed."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np

from keras_resnet.weights.torch_files import LEGACY_MAGIC

STORAGES = {"f4": "FloatStorage", "f8": "DoubleStorage", "i8": "LongStorage", "f2": "HalfStorage"}


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _integers(*values: int) -> bytes:
    return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"


def _tensor(array: np.ndarray, key: str, legacy: bool, offset: int = 0, strides=None) -> bytes:
    strides = strides or [stride // array.itemsize for stride in array.strides]
    storage = (
        b"("
        + _text("storage")
        + f"ctorch\n{STORAGES[array.dtype.str[1:]]}\n".encode()
        + _text(key)
        + _text("cpu")
        + _integers(array.size)[1:-1]
        + (b"N" if legacy else b"")
        + b"tQ"
    )
    rest = storage + _integers(offset)[1:-1] + _integers(*array.shape) + _integers(*strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + rest + b"\x89ccollections\nOrderedDict\n)RtR"


def state_dict_pickle(tensors: dict[str, np.ndarray], legacy: bool = False, **view) -> bytes:
    """{"epoch": 3, "state_dict": OrderedDict(tensors)} in protocol 2."""
    items = b"".join(
        _text(name) + _tensor(array, str(index), legacy, **view)
        for index, (name, array) in enumerate(tensors.items())
    )
    state = b"ccollections\nOrderedDict\n)R(" + items + b"u"
    return b"\x80\x02}(" + _text("epoch") + b"K\x03" + _text("state_dict") + state + b"u."


def write_zip(path: Path, content: bytes, tensors: dict[str, np.ndarray]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
        for index, array in enumerate(tensors.values()):
            archive.writestr(f"archive/data/{index}", array.tobytes())
    return path


def write_checkpoint(path: Path, tensors: dict[str, np.ndarray], **view) -> Path:
    """The format of torch ≥ 1.6."""
    return write_zip(path, state_dict_pickle(tensors, **view), tensors)


def write_legacy(path: Path, tensors: dict[str, np.ndarray]) -> Path:
    """The format before: pickles one after another, then the numbers."""
    parts = [pickle.dumps(part, 2) for part in (LEGACY_MAGIC, 1001, {"little_endian": True})]
    parts.append(state_dict_pickle(tensors, legacy=True))
    parts.append(pickle.dumps([str(index) for index in range(len(tensors))], 2))
    for array in tensors.values():
        parts.append(struct.pack("<q", array.size) + array.tobytes())
    path.write_bytes(b"".join(parts))
    return path

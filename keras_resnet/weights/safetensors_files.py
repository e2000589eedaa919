"""Reads safetensors files: their tensors and the notes beside them. Nothing in them can be run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


def read_metadata(path: Path) -> dict[str, str]:
    """The notes in a safetensors file; none for files of other kinds."""
    with path.open("rb") as file:
        start = file.read(9)
        size = int.from_bytes(start[:8], "little")
        if start[8:] != b"{" or size > path.stat().st_size:
            return {}
        file.seek(8)
        metadata = json.loads(file.read(size)).get("__metadata__", {})
    return {str(key): str(value) for key, value in metadata.items()}


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a safetensors file; bfloat16, which NumPy and so the library cannot hold, as float32.

    The format is an 8-byte length, a JSON table of names, types, shapes and offsets, and the numbers.

    Raises:
        ValueError: the file is cut off, contradicts itself, or holds types that are not read here.
    """
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    if size > len(data) - 8:
        raise ValueError("it is neither a torch file nor a safetensors file")
    table = json.loads(data[8 : 8 + size])
    if not isinstance(table.pop("__metadata__", {}), dict):
        raise ValueError("its notes are not a table of names and texts")
    numbers = memoryview(data)[8 + size :]
    claimed, tensors = 0, {}
    for name, entry in table.items():
        begin, end = entry["data_offsets"]
        if not 0 <= begin <= end <= len(numbers):
            raise ValueError(f"{name} reaches beyond the end of the file: it is cut off")
        claimed += end - begin
        if claimed > len(numbers):
            raise ValueError("its tensors overlap")
        if entry["dtype"] not in _TYPES:
            raise ValueError(f"{name} is of type {entry['dtype']}, which is not read here")
        if not all(isinstance(side, int) and side >= 0 for side in entry["shape"]):
            raise ValueError(f"{name} has the shape {entry['shape']}")
        array = np.frombuffer(numbers[begin:end], _TYPES[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = widened(array) if entry["dtype"] == "BF16" else array
    if not tensors:
        raise ValueError("it holds no tensors")
    return tensors


def widened(bits: np.ndarray) -> np.ndarray:
    """bfloat16, given as its 16 bits, in float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)

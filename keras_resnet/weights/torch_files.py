"""Reads the tensors in torch's .pth, .pt and .th files without torch, and without running anything.

torch files are pickles, and a pickle is a program: it names functions to call. Here only the few names that a
state dict needs are answered, by our own functions that describe tensors; whatever else is named stands for
nothing, and must not be among the weights. (Two formats: the zip archive of torch ≥ 1.6 and the older plain
stream; not the tar archive of torch ≤ 0.1.)
"""

from __future__ import annotations

import io
import math
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np

from keras_resnet.errors import UserError, first_line
from keras_resnet.weights.pickles import Unread, ordered_dict, read_pickle
from keras_resnet.weights.safetensors_files import read_safetensors, widened

ByteOrder = Literal["<", ">"]

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_PICKLE_START = b"\x80"
_MAX_AXES = 32  # NumPy's own limit is 64 in its newest versions
_MAX_REASON = 400  # characters of an error: names in a file may have any length
# Where training scripts put the weights inside a checkpoint, in the order in which they are looked for.
_STATE_KEYS = ("state_dict", "model_state_dict", "model", "net")


class _Storage(NamedTuple):
    """A storage type of torch; stands for the class that a pickle names."""

    dtype: str


_BFLOAT16 = "bfloat16"
_STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


@dataclass
class _Buffer:
    """The numbers of one storage, known only after the pickle has been read in the older format."""

    dtype: str
    count: int
    data: bytes | None = None

    @property
    def item_size(self) -> int:
        return 2 if self.dtype == _BFLOAT16 else np.dtype(self.dtype).itemsize


@dataclass
class _Tensor:
    """A view into a buffer; offset and strides in elements."""

    buffer: _Buffer
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, byte_order: ByteOrder) -> np.ndarray:
        numbers = (self.offset, *self.shape, *self.strides)
        if not all(isinstance(number, int) and 0 <= number < 2**63 for number in numbers):
            raise ValueError("a tensor with a negative, fractional or immense size")
        if not len(self.shape) == len(self.strides) <= _MAX_AXES:
            raise ValueError("a tensor whose strides do not match its axes, or with too many of both")
        buffer, data = self.buffer, self.buffer.data
        if data is None or len(data) < buffer.count * buffer.item_size:
            raise ValueError("a tensor without its data: the file is cut off")
        if math.prod(self.shape) > buffer.count:  # strides of 0: a few bytes would claim terabytes
            raise ValueError("a tensor of more numbers than its data")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if 0 not in self.shape and last >= buffer.count:  # the bound that as_strided does not check
            raise ValueError("a tensor that reaches beyond its data")
        dtype = np.dtype("u2" if buffer.dtype == _BFLOAT16 else buffer.dtype).newbyteorder(byte_order)
        flat = np.frombuffer(data, dtype, count=buffer.count)
        view = np.lib.stride_tricks.as_strided(
            flat[self.offset :],
            self.shape,
            [stride * dtype.itemsize for stride in self.strides],
            writeable=False,
        )
        array = np.array(view, dtype.newbyteorder("="))
        return widened(array) if buffer.dtype == _BFLOAT16 else array


@dataclass
class _Reader:
    """What one pickle may ask for."""

    storage_of: Callable[[_Storage, str, int], _Buffer]

    def read(self, file: BinaryIO) -> Any:
        return read_pickle(file, self.find, self.storage)

    def find(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return ordered_dict
        if module in ("torch", "torch.cuda") and name in _STORAGES:
            return _Storage(_STORAGES[name])
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *_: self.tensor(storage, offset, size, stride)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if (module, name) == ("torch", "Size"):
            return lambda sizes=(): tuple(sizes)
        return Unread(f"{module}.{name}")

    def storage(self, pid: Any) -> _Buffer:
        kind, storage_type, key, _, count, *view = pid
        known = kind == "storage" and isinstance(storage_type, _Storage) and not any(view)
        if not (known and isinstance(key, str | int) and isinstance(count, int)):
            raise ValueError("it holds something that is not a tensor")
        return self.storage_of(storage_type, str(key), count)

    def tensor(self, buffer: Any, offset: Any, size: Any, stride: Any) -> _Tensor:
        if not isinstance(buffer, _Buffer):
            raise ValueError("it holds a tensor without a storage")
        return _Tensor(buffer, offset, tuple(size), tuple(stride))


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a weights file by the names it gives them; bfloat16 comes as float32.

    Raises:
        UserError: the file is missing, of another kind, cut off, or asks for code to be run.
    """
    try:
        with path.open("rb") as file:
            start = file.read(10)
            file.seek(0)
            if start.startswith(b"PK"):
                content, byte_order = _read_zip(path)
            elif start.startswith(_PICKLE_START):
                content = _read_legacy(file)
                byte_order = "<"
            elif start[8:9] == b"{":
                return read_safetensors(path)
            elif tarfile.is_tarfile(path):
                raise ValueError(
                    "it is a tar archive as torch wrote until 2017: load and save it again with torch, or "
                    "take a newer file (torchvision's resnet50-0676ba61.pth and the like)"
                )
            else:
                raise ValueError("it is neither a torch file nor a safetensors file")
        return _state_dict(content, byte_order)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged pickle can raise anything
        reason = first_line(error)
        raise UserError(f"cannot read {path}: {reason[:_MAX_REASON]}") from error


def _read_zip(path: Path) -> tuple[Any, ByteOrder]:
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl") or name == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError("it is a zip archive, but not one that torch.save writes")
        root = pickles[0].removesuffix("data.pkl")
        names = set(archive.namelist())
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise ValueError("it is compressed, which torch.save never does")  # nor can it be a zip bomb
        if sum(info.file_size for info in archive.infolist()) > path.stat().st_size:
            raise ValueError("its members overlap")
        byte_order: ByteOrder = "<"
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder").strip() == b"big":
            byte_order = ">"
        buffers: dict[str, _Buffer] = {}

        def storage(kind: _Storage, key: str, count: int) -> _Buffer:
            if key not in buffers:
                buffers[key] = _Buffer(kind.dtype, count, archive.read(f"{root}data/{key}"))
            return buffers[key]

        return _Reader(storage).read(io.BytesIO(archive.read(pickles[0]))), byte_order


def _read_legacy(file: BinaryIO) -> Any:
    """Magic number, protocol, system, the object, the keys of its storages, then every storage's bytes."""
    buffers: dict[str, _Buffer] = {}

    def storage(kind: _Storage, key: str, count: int) -> _Buffer:
        return buffers.setdefault(key, _Buffer(kind.dtype, count))

    reader = _Reader(storage)
    if reader.read(file) != LEGACY_MAGIC:
        raise ValueError("it is a pickle, but not one that torch.save writes")
    reader.read(file)  # protocol version
    system = reader.read(file)
    if not system.get("little_endian", True):
        raise ValueError("it was written on a big-endian machine")
    content = reader.read(file)
    for key in reader.read(file):
        buffer = buffers[str(key)]
        count = int(np.frombuffer(file.read(8), "<i8")[0])
        if count != buffer.count:
            raise ValueError("a tensor's data has another length than announced: the file is damaged")
        buffer.data = file.read(count * buffer.item_size)
    return content


def _state_dict(content: Any, byte_order: ByteOrder) -> dict[str, np.ndarray]:
    for key in _STATE_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    for value in content.values() if isinstance(content, Mapping) else [content]:
        if isinstance(value, Unread):
            raise ValueError(
                f"it wants to run {value.name}; only tensors are read here (convert it with torch: "
                "load it in a place you trust, then save model.state_dict())"
            )
    if not isinstance(content, Mapping):
        raise ValueError(f"it holds a {type(content).__name__}, not a state dict")
    found = {str(name): value for name, value in content.items() if isinstance(value, _Tensor)}
    buffers = {id(tensor.buffer): tensor.buffer for tensor in found.values()}.values()
    stored = sum(len(buffer.data or b"") // buffer.item_size for buffer in buffers)
    claimed, tensors = 0, {}
    for name, tensor in found.items():
        tensors[name] = tensor.array(byte_order)
        claimed += tensors[name].size
        if claimed > 2 * stored:  # tied weights are one thing, a thousand copies of a storage another
            raise ValueError("its tensors claim more numbers than it has")
    if not tensors:
        raise ValueError("it holds no tensors")
    return tensors

from __future__ import annotations

import argparse
import collections
import json
import os
import pickle
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from keras_resnet.errors import UserError
from keras_resnet.weights import pickles
from keras_resnet.weights.safetensors_files import read_metadata
from keras_resnet.weights.torch_files import _Buffer, _state_dict, _Tensor, read_tensors

from .torch_pickles import state_dict_pickle, write_checkpoint, write_legacy, write_zip


@pytest.fixture
def tensors():
    generator = np.random.default_rng(0)
    return {
        "conv1.weight": generator.normal(size=(4, 3, 2, 2)).astype("f4"),
        "fc.bias": generator.normal(size=5).astype("f8"),
        "half": generator.normal(size=(2, 2)).astype("f2"),
        "bn1.num_batches_tracked": np.array(7, "i8"),
    }


@pytest.mark.parametrize("write", [write_checkpoint, write_legacy])
def test_both_torch_formats(tmp_path, tensors, write):
    read = read_tensors(write(tmp_path / "model.pth", tensors))
    assert read.keys() == tensors.keys()
    for name, array in tensors.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_safetensors(tmp_path, tensors):
    save_file(tensors, tmp_path / "model.safetensors", metadata={"mean": "1,2,3"})
    read = read_tensors(tmp_path / "model.safetensors")
    for name, array in tensors.items():
        np.testing.assert_array_equal(read[name], array)
    assert read_metadata(tmp_path / "model.safetensors") == {"mean": "1,2,3"}
    assert read_metadata(write_checkpoint(tmp_path / "model.pth", tensors)) == {}


def test_bfloat16_comes_as_float32(tmp_path):
    import ml_dtypes

    values = np.array([1.5, -2.25, 1e30], ml_dtypes.bfloat16)
    header = b'{"x":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]}}'
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + values.tobytes())
    read = read_tensors(tmp_path / "x.safetensors")["x"]
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values.astype("f4"))


def test_transposed_views_are_read_as_they_are_seen(tmp_path):
    array = np.arange(6, dtype="f4").reshape(2, 3)
    path = write_checkpoint(tmp_path / "view.pth", {"x": array}, strides=[1, 2])
    np.testing.assert_array_equal(read_tensors(path)["x"], [[0, 2, 4], [1, 3, 5]])


class Bomb:
    """A pickle that would run a command when it is loaded."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_what_training_scripts_put_beside_the_weights_is_left_unread(tmp_path, tensors):
    """As timm's checkpoints and those of torchvision's reference scripts have it."""
    others = {
        "args": argparse.Namespace(model="resnet50", lr=0.1, milestones=[30, 60]),
        "lr_scheduler": {"milestones": collections.Counter([30, 60, 60]), "recent": collections.deque([1])},
        "metric": np.float64(76.1),
        "path": Path("runs"),
    }
    items = b"".join(
        pickle.dumps(name, 2)[2:-1] + pickle.dumps(value, 2)[2:-1] for name, value in others.items()
    )
    content = state_dict_pickle(tensors).removesuffix(b"u.") + items + b"u."
    assert len(pickle.loads(b"\x80\x02}(" + items + b"u.")) == 4
    read = read_tensors(write_zip(tmp_path / "checkpoint.pth", content, tensors))
    assert read.keys() == tensors.keys()
    np.testing.assert_array_equal(read["conv1.weight"], tensors["conv1.weight"])


def test_torchs_first_format_is_named(tmp_path):
    with tarfile.open(tmp_path / "resnet50-19c8e357.pth", "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(UserError, match="a tar archive as torch wrote until 2017: load and save it again"):
        read_tensors(tmp_path / "resnet50-19c8e357.pth")


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_in_a_pickle_is_executed(tmp_path, legacy, protocol):
    content = pickle.dumps({"state_dict": {"x": Bomb(f"touch {tmp_path}/executed")}}, protocol)
    if legacy:
        (tmp_path / "bomb.pth").write_bytes(content if protocol else b"\x80\x02" + content)
    else:
        write_zip(tmp_path / "bomb.pth", content, {})
    reason = "it is a pickle, but not one that" if legacy else r"it wants to run (posix|nt)\.system"
    with pytest.raises(UserError, match=rf"bomb\.pth: {reason}") as caught:
        read_tensors(tmp_path / "bomb.pth")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "name", ["builtins\neval", "torch\nload", "torch.storage\n_load_from_bytes", "numpy\nload"]
)
def test_other_globals_are_refused_too(tmp_path, name):
    content = b"\x80\x02c" + name.encode() + b"\nX\x01\x00\x00\x001\x85R."
    write_zip(tmp_path / "x.pth", content, {})
    with pytest.raises(UserError, match="it wants to run " + name.replace("\n", r"\.")):
        read_tensors(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "view", [{"offset": 3}, {"strides": [4, 1]}, {"offset": -1}, {"strides": [-3, 1]}, {"strides": [1]}]
)
def test_a_tensor_cannot_reach_beyond_its_data(tmp_path, view):
    path = write_checkpoint(tmp_path / "x.pth", {"x": np.zeros((2, 3), "f4")}, **view)
    with pytest.raises(UserError, match="a tensor"):
        read_tensors(path)


def test_a_few_bytes_cannot_claim_gigabytes(tmp_path):
    with pytest.raises(ValueError, match="a tensor of more numbers than its data"):
        _Tensor(_Buffer("f4", 1, bytes(4)), 0, (10**6, 10**6), (0, 0)).array("<")
    path = write_checkpoint(tmp_path / "x.pth", {"x": np.zeros((2, 3), "f4")})
    with (
        zipfile.ZipFile(path) as stored,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in stored.namelist():
            bomb.writestr(name, stored.read(name))
    with pytest.raises(UserError, match=r"bomb\.pth: it is compressed"):
        read_tensors(tmp_path / "bomb.pth")


def _doubled(levels: int) -> bytes:
    """A tuple of a tuple twice, of a tuple twice, …: 2^levels to whoever prints or hashes it."""
    return b")" + b"".join(b"\x94h" + bytes([level]) + b"\x86" for level in range(levels))


def _list_to_copy(items: int, copies: int) -> bytes:
    """One list, handed to torch.Size again and again."""
    shared = b"](" + b"K\x01" * items + b"eq\x00" + b"ctorch\nSize\nq\x01"
    return shared + b"h\x01h\x00\x85R" * copies


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"}" + _doubled(200) + b"K\x01s.", "a dictionary with a tuple for a key"),
        (b"ccollections\nOrderedDict\n]" + _doubled(200) + b"K\x01\x86a\x85R.", "a dictionary with a tuple"),
        (b"(X\x07\0\0\0storagectorch\nFloatStorage\n" + _doubled(200) + b"NK\x01tQ.", "not a tensor"),
        (_doubled(200) + b"K\x01\x93.", "by something other than a name"),
        (b"}\x8a\x09" + bytes(8) + b"\x01K\x01s.", "a dictionary with a int"),
        (b"N" * 2000 + b".", "more than 1,000 steps"),
        (_list_to_copy(100, 20) + b".", "more than 1,000 steps"),
        (b"cos." + b"x" * 10_000 + b"\nsystem\n.", r"wants to run os\.x{300}"),
        (b")r\x80\xf0\xfa\x02.", "it holds a tuple, not a state dict"),  # memo number 50,000,000
    ],
)
def test_a_hundred_bytes_take_neither_hours_nor_gigabytes(tmp_path, monkeypatch, content, reason):
    monkeypatch.setattr(pickles, "MAX_STEPS", 1000)
    write_zip(tmp_path / "x.pth", b"\x80\x04" + content, {})
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=reason) as caught:
            read_tensors(tmp_path / "x.pth")
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 1000


def test_members_larger_than_the_file_are_refused(tmp_path, tensors):
    content = bytearray(write_checkpoint(tmp_path / "x.pth", tensors).read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = len(content).to_bytes(4, "little")
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(UserError, match="its members overlap"):
        read_tensors(tmp_path / "x.pth")


def test_one_storage_cannot_be_copied_a_thousand_times():
    def view(buffer):
        return _Tensor(buffer, 0, (8,), (1,))

    buffer = _Buffer("f4", 8, bytes(32))
    assert len(_state_dict({"a": view(buffer), "tied": view(buffer)}, "<")) == 2
    claims_much = _Buffer("f4", 10**9, bytes(4))
    for more in ({}, {"z": view(claims_much)}):
        tensors = {str(index): view(buffer) for index in range(5)}
        with pytest.raises(ValueError, match="claim more numbers than it has"):
            _state_dict({**tensors, **more}, "<")


def test_safetensors_may_not_overlap_and_their_types_are_named(tmp_path):
    def write(table):
        header = json.dumps(table).encode()
        path = tmp_path / "x.safetensors"
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
        return path

    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    assert read_tensors(write({"a": entry})).keys() == {"a"}
    with pytest.raises(UserError, match="its tensors overlap"):
        read_tensors(write({"a": entry, "b": entry}))
    with pytest.raises(UserError, match="a is of type F8_E4M3, which is not read here"):
        read_tensors(write({"a": {**entry, "dtype": "F8_E4M3"}}))
    with pytest.raises(UserError, match="a has the shape \\[-1\\]"):
        read_tensors(write({"a": {**entry, "shape": [-1]}}))
    for notes in ([1], None):
        with pytest.raises(UserError, match="its notes are not a table"):
            read_tensors(write({"__metadata__": notes, "a": entry}))


def test_damaged_and_foreign_files_are_explained(tmp_path, tensors):
    whole = write_checkpoint(tmp_path / "whole.pth", tensors)
    (tmp_path / "cut.pth").write_bytes(whole.read_bytes()[:-200])
    legacy = write_legacy(tmp_path / "legacy.th", tensors)
    (tmp_path / "cut.th").write_bytes(legacy.read_bytes()[:-30])
    save_file(tensors, tmp_path / "whole.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:-8])
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "b")
    (tmp_path / "text.pth").write_text("not a model at all")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "list.pth").write_bytes(pickle.dumps([1, 2]))
    short = {"x": np.zeros(3, "f4")}
    write_zip(tmp_path / "short.pth", state_dict_pickle(short), {"x": np.zeros(2, "f4")})
    for name in (
        "cut.pth",
        "cut.th",
        "cut.safetensors",
        "other.zip",
        "text.pth",
        "empty.pth",
        "list.pth",
        "short.pth",
        "none.pth",
    ):
        with pytest.raises(UserError) as caught:
            read_tensors(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)

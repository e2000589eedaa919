"""How LiteRT files are written, without LiteRT; with it: test_files.py."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from saved_networks import random_model, tiny

from keras_resnet.errors import UserError
from keras_resnet.export import litert
from keras_resnet.export.folding import fold
from keras_resnet.weights.state import get_state


class Converter:
    """Converts nothing, and fails as it is told."""

    target_spec = SimpleNamespace()
    error: Exception | None = None

    @classmethod
    def from_concrete_functions(cls, functions, trackable_obj):
        return cls()

    def convert(self):
        Converter.last = self
        if self.error is not None:
            raise self.error
        return b"a file"


@pytest.fixture
def write(monkeypatch, tmp_path):
    architecture = tiny("resnet20", blocks=1)
    network = fold(architecture, get_state(random_model(architecture)))
    monkeypatch.setattr(litert, "_interpreter", lambda: None)
    monkeypatch.setattr(tf.lite, "TFLiteConverter", Converter)
    monkeypatch.setattr(Converter, "error", None)

    def write(precision="float32", images=(), path=tmp_path / "m.tflite"):
        litert.write(network, 32, precision, images, path)
        return path

    return write


def test_calibration_images_come_one_by_one(write):
    class Images:
        """What would fit in memory as bytes, but not as float32."""

        def __iter__(self):
            yield np.full((32, 32, 3), 7, np.uint8)
            raise MemoryError

        def __getitem__(self, key):
            raise MemoryError

    assert write("int8", Images()).read_bytes() == b"a file"
    ((image,),) = [next(Converter.last.representative_dataset())]
    assert (image.shape, image.dtype, image.max()) == ((1, 32, 32, 3), np.float32, 7)


@pytest.mark.parametrize(
    ("error", "words"), [(AssertionError(), "AssertionError"), (ValueError("\n bad\nmore"), "bad")]
)
def test_what_cannot_be_converted_says_why(write, monkeypatch, error, words):
    monkeypatch.setattr(Converter, "error", error)
    with pytest.raises(UserError, match=f"^LiteRT cannot convert this network: {words}$"):
        write()


def test_a_file_that_cannot_be_written_is_no_fault_of_the_network(write, tmp_path):
    with pytest.raises(IsADirectoryError):
        write(path=tmp_path)

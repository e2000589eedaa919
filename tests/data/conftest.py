"""A small data set as class folders, in shards, and as a stream of records."""

from __future__ import annotations

import corpus
import pytest

from keras_resnet.data import packing, records
from keras_resnet.data.sources import open_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    for split, count in (("train", 12), ("val", 4)):
        for c, name in enumerate(corpus.CLASSES):
            files = {
                f"{split}{c}{i}.jpg": corpus.encoded(corpus.photo(9 * c + i, (40 + i, 36)), "JPEG")
                for i in range(count)
            }
            corpus.write(root / split / name, files)
    return open_dataset(str(root))


@pytest.fixture(scope="module")
def packed_root(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("packed") / "shards"
    packing.pack(folder, root, shards=4)
    return root


@pytest.fixture
def packed(packed_root):
    return open_dataset(str(packed_root))


@pytest.fixture
def stream(packed, monkeypatch):
    monkeypatch.setattr(records, "MEMORY_BYTES", 0)
    monkeypatch.setattr(records, "BUFFER", 8)
    return packed

"""Data sets as TFRecord shards: written, and opened again."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import corpus
import numpy as np
import pytest
import tensorflow as tf

from keras_resnet.data import packing, pipeline
from keras_resnet.data.sources import open_dataset
from keras_resnet.data.views import eval_view
from keras_resnet.errors import UsageError, UserError


def test_packing_writes_the_common_layout(packed_root, folder):
    names = sorted(path.name for path in packed_root.iterdir())
    assert names == [
        "dataset.json",
        *(f"train-{i:05d}-of-00004" for i in range(4)),
        "val-00000-of-00001",
    ]
    texts = set()
    for record in tf.data.TFRecordDataset(str(packed_root / "train-00002-of-00004")):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        label = features["image/class/label"].int64_list.value[0]
        text = features["image/class/text"].bytes_list.value[0].decode()
        assert text == corpus.CLASSES[label - 1]
        name = features["image/filename"].bytes_list.value[0].decode()
        contents = features["image/encoded"].bytes_list.value[0]
        assert contents == (Path(folder.name) / "train" / name).read_bytes()
        texts.add(text)
    assert texts == set(corpus.CLASSES)  # shuffled: no shard of one class alone


def test_no_shard_is_empty(folder, tmp_path):
    packing.pack(folder, tmp_path / "out")  # 64 shards of 36 and 12 images
    assert open_dataset(str(tmp_path / "out")).splits == folder.splits
    assert sorted(json.loads((tmp_path / "out" / "dataset.json").read_text())["splits"]["train"]) == [1] * 36


def test_splits_of_any_name_are_packed(folder, tmp_path):
    more = {"extra": folder.listings["val"], "my-own": folder.listings["val"]}
    splits = {**folder.splits, "extra": 12, "my-own": 12}
    packing.pack(
        replace(folder, splits=splits, listings={**folder.listings, **more}), tmp_path / "out", shards=2
    )
    assert open_dataset(str(tmp_path / "out")).splits == splits


def test_an_image_that_is_gone_stops_all_shards_at_once(folder, tmp_path, monkeypatch):
    """Not when those before it and those at work are complete: of ImageNet each takes minutes."""
    contents, read = packing._contents, []

    def slowly(examples, index):
        read.append(index)
        if len(read) == 2:
            raise FileNotFoundError(2, "No such file or directory", "photo.jpg")
        time.sleep(0.1)
        return contents(examples, index)

    monkeypatch.setattr(packing, "_contents", slowly)
    with pytest.raises(UserError, match=r"cannot pack .*No such file"):
        packing.pack(folder, tmp_path / "out", shards=2, threads=2)
    assert len(read) < 8  # of 36


def test_the_images_packed_are_counted(folder, tmp_path):
    done = []
    packing.pack(folder, tmp_path / "out", shards=3, advance=done.append)
    assert sorted(done) == [12, 12, 12, 12]


def test_packing_refuses_a_folder_in_use(folder, packed_root):
    with pytest.raises(UsageError, match="not empty"):
        packing.pack(folder, packed_root)


def test_a_stream_is_not_packed_again(stream, tmp_path):
    with pytest.raises(UsageError, match="in shards already"):
        packing.pack(stream, tmp_path / "again")


def test_shards_open_as_they_were_packed(packed, folder):
    assert packed.kind == "tfrecord"
    assert packed.label_names == corpus.CLASSES
    assert packed.splits == {"train": 36, "val": 12} == folder.splits


def test_digits_pack_to_the_same_pixels(tmp_path):
    digits = open_dataset("digits")
    packing.pack(digits, tmp_path / "digits", shards=1)
    again = open_dataset(str(tmp_path / "digits"))
    assert again.image_shape == (32, 32, 3)
    view = eval_view("single", 32)

    def sums(dataset):  # of each image; packing shuffles
        (batch,) = pipeline.evaluation_batches(dataset, "val", view, batch_size=300)
        return np.sort(np.sum(batch[0], (1, 2, 3), int))

    np.testing.assert_array_equal(sums(digits), sums(again))

"""Folders of shards: those of others, and damaged ones."""

from __future__ import annotations

import json

import corpus
import pytest
import tensorflow as tf

from keras_resnet.data import pipeline, records, tfrecords
from keras_resnet.data.examples import split_examples
from keras_resnet.data.inspect import inspect
from keras_resnet.data.skips import SkipLog
from keras_resnet.data.sources import open_dataset
from keras_resnet.data.views import eval_view, train_view
from keras_resnet.errors import UserError


def write_shard(path, labels, texts=None):
    def strings(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    with tf.io.TFRecordWriter(str(path)) as writer:
        for number, label in enumerate(labels):
            feature = {"image/encoded": strings(corpus.png(number))}
            if texts is not None:
                feature["image/class/text"] = strings(texts[number].encode())
            if label is not None:
                value = tf.train.Int64List(value=[label])
                feature["image/class/label"] = tf.train.Feature(int64_list=value)
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())


@pytest.mark.parametrize("first_label", [0, 1])
def test_shards_of_others_are_surveyed(tmp_path, first_label):
    for number in range(2):
        write_shard(tmp_path / f"validation-{number:05d}-of-00002", [n + first_label for n in range(3)])
    dataset = open_dataset(str(tmp_path))
    assert dataset.splits == {"validation": 6} and dataset.label_names == ("0", "1", "2")
    view = eval_view("single", 32)
    (batch,) = pipeline.evaluation_batches(dataset, "validation", view, batch_size=8)
    assert batch[1].numpy().tolist() == [0, 1, 2] * 2


def test_classes_of_one_name_are_told_apart(tmp_path):
    write_shard(tmp_path / "train-00000-of-00001", [1, 2, 3, 3], ["crane", "dog", "crane", "crane"])
    dataset = open_dataset(str(tmp_path))
    assert dataset.label_names == ("crane (0)", "dog", "crane (2)")
    assert inspect(dataset)["splits"]["train"]["per_class"] == {"crane (0)": 1, "dog": 1, "crane (2)": 2}


@pytest.mark.parametrize("in_memory", [True, False], ids=["memory", "stream"])
def test_labels_beyond_the_classes_are_named_and_skipped(tmp_path, monkeypatch, in_memory):
    if not in_memory:
        monkeypatch.setattr(records, "MEMORY_BYTES", 0)
    monkeypatch.setattr(tfrecords, "_SAMPLE", 8)
    write_shard(tmp_path / "train-00000-of-00001", [0, 1, 2, 0, None, 1, 2, 0, 1, 3])
    dataset = open_dataset(str(tmp_path))
    assert dataset.classes == 3
    log = SkipLog(limit=0.2)
    batches = pipeline.training_batches(
        dataset, "train", train_view("scale-jitter", 24), batch_size=10, seed=0, skip_log=log
    )
    for _, labels in batches.take(2):
        assert set(labels.numpy().tolist()) == {0, 1, 2}
    view = eval_view("single", 32)
    (batch,) = pipeline.evaluation_batches(dataset, "train", view, batch_size=10, skip_log=log)
    assert batch[2].numpy().tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    assert sorted(name.rsplit(":", 1)[1] for name in log.names) == ["4", "9"]
    log.write(tmp_path / "skipped.csv")
    assert (tmp_path / "skipped.csv").read_text().count("no label, or one beyond the classes") == 2


def test_a_split_without_labels_is_left_out(tmp_path):
    write_shard(tmp_path / "train-00000-of-00001", [1, 2, 3])
    write_shard(tmp_path / "test-00000-of-00001", [-1, None])
    dataset = open_dataset(str(tmp_path))
    assert dataset.splits == {"train": 3} and dataset.classes == 3
    (tmp_path / "train-00000-of-00001").unlink()
    with pytest.raises(UserError, match="no image/class/label"):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize("text", ["{", "{}", "[]"])
def test_a_damaged_description_is_named(packed_root, tmp_path, text):
    for path in packed_root.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(UserError, match=r"dataset\.json is damaged"):
        open_dataset(str(tmp_path))


def test_damaged_shards_are_refused(packed_root, tmp_path):
    (tmp_path / "a").mkdir()
    for path in packed_root.iterdir():
        (tmp_path / "a" / path.name).write_bytes(path.read_bytes())
    shard = tmp_path / "a" / "train-00001-of-00004"
    whole = shard.read_bytes()
    assert records.count_records(str(shard)) == 9
    shard.write_bytes(whole[:-10])
    with pytest.raises(UserError, match=f"shard {shard} is damaged .*copy, pack or prepare"):
        split_examples(open_dataset(str(tmp_path / "a")), "train")
    with pytest.raises(UserError, match="ends within a record"):
        records.count_records(str(shard))
    shard.unlink()
    with pytest.raises(UserError, match="lacks shard 00001 of 00004"):
        open_dataset(str(tmp_path / "a"))
    description = json.loads((tmp_path / "a" / tfrecords.DESCRIPTION).read_text())
    assert description["first_label"] == 1

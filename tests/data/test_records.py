"""Records of shards, read small (in memory) and large (as a stream)."""

from __future__ import annotations

from dataclasses import replace

import corpus
import numpy as np
import pytest
import tensorflow as tf

from keras_resnet.data import packing, pipeline, records
from keras_resnet.data.examples import split_stream
from keras_resnet.data.inspect import inspect
from keras_resnet.data.skips import SkipLog
from keras_resnet.data.sources import hold_out, open_dataset
from keras_resnet.data.statistics import compute_statistics
from keras_resnet.data.views import EvalView, TrainView, eval_view, train_view
from keras_resnet.errors import UsageError, UserError


def test_statistics_of_a_stream_are_read_from_the_stream(stream, folder, monkeypatch):
    def refuse(_):
        raise AssertionError("the split was read into memory")

    monkeypatch.setattr(records.Shards, "read", refuse)
    found, expected = compute_statistics(stream), compute_statistics(folder)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-4)
    np.testing.assert_allclose(found.std, expected.std, rtol=1e-3)


def test_unreadable_images_of_a_stream_are_seen(tmp_path, monkeypatch):
    files = {"1.jpg": corpus.encoded(corpus.photo(1, (40, 36)), "JPEG"), "2.jpg": b"no image"}
    corpus.write(tmp_path / "images" / "train" / "a", files)
    packing.pack(open_dataset(str(tmp_path / "images")), tmp_path / "shards", shards=1)
    monkeypatch.setattr(records, "MEMORY_BYTES", 0)
    found = inspect(open_dataset(str(tmp_path / "shards")))
    assert len(found["splits"]["train"]["broken"]) == 1


def seen(dataset, view=None, split="val", **options):
    batches = pipeline.evaluation_batches(
        dataset, split, view or EvalView("single", 32, 33), **({"batch_size": 5} | options)
    )
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def test_stream_and_memory_evaluate_alike(packed, stream, packed_root, monkeypatch):
    from_stream = seen(stream)
    assert from_stream[2].tolist() == list(range(12))
    parts = [seen(stream, batch_size=6, worker=w, workers=2) for w in range(2)]
    monkeypatch.undo()
    for a, b in zip(from_stream, seen(open_dataset(str(packed_root))), strict=True):
        np.testing.assert_array_equal(a, b)
    assert sorted(np.concatenate([part[2] for part in parts]).tolist()) == list(range(12))
    ten = seen(stream, EvalView("10-crop", 32, 33))
    np.testing.assert_array_equal(ten[1], from_stream[1])


def test_whole_images_of_a_stream(stream):
    images = list(pipeline.evaluation_images(stream, "val"))
    assert [int(i) for _, _, i in images] == list(range(12))
    assert {image.shape[0] for image, _, _ in images} == {36}


@pytest.mark.parametrize(
    "view", [train_view("scale-jitter", 24), TrainView("pad-crop", 24)], ids=["jitter", "pad"]
)
def test_a_streams_steps_are_reached_directly_and_shared(stream, view):
    def batches(count, **options):
        found = pipeline.training_batches(stream, "train", view, batch_size=8, seed=1, **options)
        return [tuple(t.numpy() for t in batch) for batch in found.take(count)]

    every = batches(11)  # 4 steps per epoch
    for a, b in zip(every[9], batches(1, start_step=9)[0], strict=True):
        np.testing.assert_array_equal(a, b)
    halves = [batches(2, worker=w, workers=2) for w in range(2)]
    for step in range(2):
        for a, b in zip(every[step], zip(*(h[step] for h in halves), strict=True), strict=True):
            np.testing.assert_array_equal(a, np.concatenate(b))


@pytest.mark.parametrize("seed", [0, 5])
def test_a_streams_order_does_not_follow_the_global_seed(stream, seed):
    def labels():
        batches = pipeline.training_batches(stream, "train", train_view("center", 24), batch_size=8, seed=1)
        return np.concatenate([batch[1].numpy() for batch in batches.take(4)])

    try:
        tf.random.set_seed(None)
        expected = labels()
        tf.random.set_seed(seed)  # as keras.utils.set_random_seed does; tf.data breaks down at 0
        np.testing.assert_array_equal(labels(), expected)
    finally:
        tf.random.set_seed(None)


def test_a_streams_epoch_shows_each_image_once(stream):
    shards = stream.shards["train"]
    orders = [
        [name for _, _, name in shards.shuffled(tf.constant([3, epoch], tf.int64)).as_numpy_iterator()]
        for epoch in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert len(set(orders[0])) == 36 and set(orders[0]) == set(orders[2])


@pytest.mark.parametrize("in_memory", [True, False], ids=["memory", "stream"])
def test_broken_images_in_shards_are_named_and_replaced(tmp_path, monkeypatch, in_memory):
    for level, name in ((0, "black"), (255, "white")):
        image = corpus.Image.new("RGB", (8, 8), (level,) * 3)
        files = {f"{i}.png": corpus.encoded(image, "PNG") for i in range(6)}
        corpus.write(tmp_path / "in" / "train" / name, files | {f"bad-{name}.jpg": b"not an image"})
    packing.pack(open_dataset(str(tmp_path / "in")), tmp_path / "out", shards=2)
    dataset = open_dataset(str(tmp_path / "out"))
    if not in_memory:
        monkeypatch.setattr(records, "MEMORY_BYTES", 0)
    log = SkipLog(limit=0.5)
    view = train_view("random-resized-crop", 8)
    batches = pipeline.training_batches(dataset, "train", view, batch_size=14, seed=0, skip_log=log)
    for images, labels in batches.take(2):
        np.testing.assert_array_equal(images[:, 0, 0, 0] == 255, labels == 1)
    assert len(log.names) == 2
    assert all(name.startswith("train-0") and "bad-" in name for name in log.names)
    assert seen(dataset, eval_view("single", 8), "train", skip_log=log)[2].size == 12


def test_slices_select_the_same_records_everywhere(packed, stream):
    view = eval_view("single", 32)
    whole = seen(stream, view, "train")
    part = seen(stream, view, "train[10:-5]")
    np.testing.assert_array_equal(part[0], whole[0][10:-5])
    assert part[2].tolist() == list(range(21))
    alone = replace(stream, splits={"train": 36}, shards={"train": stream.shards["train"]})
    for split in ("train", "val"):
        with pytest.raises(UsageError, match="slices"):
            seen(hold_out(alone, images=6), view, split)


def test_images_are_held_out_of_shards(packed):
    alone = replace(packed, splits={"train": 36}, shards={"train": packed.shards["train"]})
    parted = hold_out(alone, images=6)
    assert np.bincount(seen(parted, split="val")[1]).tolist() == [2, 2, 2]
    assert np.bincount(seen(parted, split="train")[1]).tolist() == [10, 10, 10]


def test_few_large_records_are_shuffled_among_each_other(stream, monkeypatch):
    """Not as many as of small ones: the buffer has a bound in bytes."""
    monkeypatch.undo()
    assert [records.buffer_for(size) for size in (0, 115_000, 2**20, 4 * 2**20, 2**30)] == [
        4096,
        4096,
        512,
        128,
        64,
    ]
    monkeypatch.setattr(records, "MEMORY_BYTES", 0)
    monkeypatch.setattr(records, "BUFFER_BYTES", 70 * (stream.shards["train"].size // 36))
    assert split_stream(stream, "train").buffer == 70


def test_shards_may_lie_where_only_tensorflow_reaches(packed):
    shards = packed.shards["train"]
    assert replace(shards, files=tuple(f"file://{file}" for file in shards.files)).size == shards.size > 0


@pytest.mark.parametrize("damage", ["flipped", "cut", "shorter"])
def test_a_damaged_shard_of_a_stream_is_named(packed_root, tmp_path, monkeypatch, damage):
    for path in packed_root.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    shard = tmp_path / "train-00001-of-00004"
    whole = shard.read_bytes()
    last = list(records._offsets(shard))[-1]
    flipped = whole[: last + 50] + bytes([whole[last + 50] ^ 1]) + whole[last + 51 :]
    shard.write_bytes({"flipped": flipped, "cut": whole[:-10], "shorter": whole[:last]}[damage])
    monkeypatch.setattr(records, "MEMORY_BYTES", 0)
    dataset = open_dataset(str(tmp_path))
    reason = {
        "flipped": f"corrupted record at {last + 12}",
        "cut": "truncated record",
        "shorter": "8 records",
    }
    line = f"^shard {shard} is damaged \\(.*{reason[damage]}.*\\): copy, pack or prepare it again$"
    log = SkipLog()
    batches = pipeline.training_batches(
        dataset, "train", train_view("scale-jitter", 24), batch_size=12, seed=0, skip_log=log
    )
    with pytest.raises(UserError, match=line), log.watch():
        list(batches.take(3))
    with pytest.raises(UserError, match=line), log.watch():
        seen(dataset, split="train", skip_log=log)
    for look in (compute_statistics, inspect):
        with pytest.raises(UserError, match=line):
            look(dataset)


def test_workers_of_a_stream_find_the_same_stand_ins(tmp_path, monkeypatch):
    files = {f"{i}.png": b"no image" if i % 3 else corpus.png(i) for i in range(16)}
    corpus.write(tmp_path / "in" / "train" / "a", files)
    packing.pack(open_dataset(str(tmp_path / "in")), tmp_path / "out", shards=2)
    monkeypatch.setattr(records, "MEMORY_BYTES", 0)
    dataset = open_dataset(str(tmp_path / "out"))

    def images(**share):
        options = {"batch_size": 8, "seed": 0, "skip_log": SkipLog(limit=1.0)} | share
        batches = pipeline.training_batches(dataset, "train", train_view("scale-jitter", 24), **options)
        return [batch[0].numpy() for batch in batches.take(2)]

    halves = [images(worker=worker, workers=2) for worker in range(2)]
    for whole, *parts in zip(images(), *halves, strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), whole)

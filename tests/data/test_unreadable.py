"""Training and evaluation on a folder of which a third cannot be read."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import corpus
import numpy as np
import pytest
import tensorflow as tf

from keras_resnet.data import decode, packing, pipeline
from keras_resnet.data.samples import write_samples
from keras_resnet.data.skips import SkipLog
from keras_resnet.data.sources import open_dataset
from keras_resnet.data.views import EvalView, TrainView, train_view
from keras_resnet.errors import UserError

PAD_CROP = TrainView("pad-crop", 24)
JITTER = train_view("scale-jitter", 24, color=True)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """200 odd files in two classes, bombs included; their names tell which are unreadable."""
    root = tmp_path_factory.mktemp("odd")
    for c, name in enumerate(("a", "b")):
        for seed in range(3):
            folder = root / "train" / name / f"nested{seed}"
            corpus.write(folder, corpus.readable(10 * c + seed))
            bad = corpus.unreadable(10 * c + seed)
            corpus.write(folder, {f"bad-{key}": contents for key, contents in bad.items()})
        corpus.write(root / "train" / name, {"bad-bomb.png": corpus.bomb()})
        # The last file of all is unreadable: its stand-in is the first one.
        corpus.write(root / "train" / name, {"zz-bad.jpg": b"not an image"})
    return root


@pytest.fixture
def odd(root):
    dataset = open_dataset(str(root))
    assert 200 <= dataset.splits["train"] <= 300
    return dataset


def bad_names(dataset):
    return {path for path in dataset.listings["train"].paths if "bad" in path.rsplit("/", 1)[1]}


@pytest.mark.parametrize(
    ("view", "in_memory"),
    [(PAD_CROP, True), (PAD_CROP, False), (JITTER, False)],
    ids=["memory", "files", "windows"],
)
def test_training_never_stops_and_keeps_its_order(odd, monkeypatch, view, in_memory):
    if not in_memory:
        monkeypatch.setattr("keras_resnet.data.memory.LIMIT_BYTES", 0)
    log = SkipLog(limit=0.9)
    settings = {"batch_size": 16, "seed": 0, "skip_log": log}
    steps = pipeline.steps_per_epoch(odd, "train", 16) + 3
    batches = list(pipeline.training_batches(odd, "train", view, **settings).take(steps))
    assert len(batches) == steps
    assert all(images.shape == (16, 24, 24, 3) for images, _ in batches)
    # An epoch leaves out a few images, which may be unreadable.
    assert set(log.names) <= bad_names(odd) and len(log.names) > 0.9 * len(bad_names(odd))
    direct = pipeline.training_batches(odd, "train", view, start_step=steps - 1, **settings)
    for a, b in zip(batches[-1], next(iter(direct)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("in_memory", [True, False], ids=["memory", "files"])
def test_a_stand_in_brings_its_own_label(tmp_path, monkeypatch, in_memory):
    if not in_memory:
        monkeypatch.setattr("keras_resnet.data.memory.LIMIT_BYTES", 0)
    for level, name in ((0, "black"), (255, "white")):
        image = corpus.Image.new("RGB", (8, 8), (level,) * 3)
        files = {f"{i}.png": corpus.encoded(image, "PNG") for i in range(4)}
        corpus.write(tmp_path / "train" / name, files | {"9.png": b"broken", "8.png": b"broken"})
    dataset = open_dataset(str(tmp_path))
    view = TrainView("center", 8)
    batches = pipeline.training_batches(dataset, "train", view, batch_size=12, seed=0, skip_log=SkipLog(1))
    for images, labels in batches.take(3):
        np.testing.assert_array_equal(images[:, 0, 0, 0] == 255, labels == 1)
        assert sorted(labels.numpy().tolist()) == [0] * 6 + [1] * 6


@pytest.mark.parametrize("name", ["single", "10-crop"])
@pytest.mark.parametrize("in_memory", [True, False], ids=["memory", "files"])
def test_evaluation_leaves_out_and_names_what_it_cannot_read(odd, monkeypatch, name, in_memory):
    if not in_memory:
        monkeypatch.setattr("keras_resnet.data.memory.LIMIT_BYTES", 0)
    log = SkipLog(limit=0.9)
    view = EvalView(name, 24, 24)
    batches = list(pipeline.evaluation_batches(odd, "train", view, batch_size=16, skip_log=log))
    index = np.concatenate([b[2] for b in batches])
    paths = odd.listings["train"].paths
    assert set(log.names) == bad_names(odd)
    assert [paths[i] for i in index] == [path for path in paths if path not in bad_names(odd)]
    np.testing.assert_array_equal(
        np.concatenate([b[1] for b in batches]), odd.listings["train"].labels[index]
    )
    assert {len(b[1]) for b in batches[:-1]} == {16}


def test_whole_images_are_skipped_too(odd):
    log = SkipLog(limit=0.9)
    assert len(list(pipeline.evaluation_images(odd, "train", skip_log=log))) == odd.splits["train"] - len(
        bad_names(odd)
    )
    assert set(log.names) == bad_names(odd)


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """24 JPEGs, three of four cut off somewhere: many of their windows can be read, others cannot."""
    root = tmp_path_factory.mktemp("cut")
    for i in range(24):
        contents = corpus.encoded(corpus.photo(i, (100, 150)), "JPEG", quality=90)
        kept = 1.0 if i % 4 == 0 else 0.3 + 0.06 * (7 * i % 10)
        corpus.write(root / "train" / "a", {f"{i:02d}.jpg": contents[: int(len(contents) * kept)]})
    return open_dataset(str(root))


def test_stand_ins_follow_from_the_data_alone(cut, monkeypatch):
    monkeypatch.setattr("keras_resnet.data.memory.LIMIT_BYTES", 0)
    view = train_view("random-resized-crop", 16)

    def steps(count, log=None, **where):
        log = log or SkipLog(limit=1.0)
        batches = pipeline.training_batches(cut, "train", view, batch_size=8, seed=0, skip_log=log, **where)
        return [tuple(tensor.numpy() for tensor in batch) for batch in batches.take(count)], log

    def assert_equal(found, expected):
        for batch, other in zip(found, expected, strict=True):
            for a, b in zip(batch, other, strict=True):
                np.testing.assert_array_equal(a, b)

    broken = tf.io.read_file(cut.listings["train"].paths[1])
    decode.decode_window(broken, lambda height, width: tf.constant([0, 0, 16, 16]))
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode.decode_image(broken)
    every, log = steps(12)
    assert len(log.names) == 18
    assert_equal(steps(12, log)[0], every)  # what is known of the files changes nothing
    full = SkipLog(limit=1.0)
    for path in cut.listings["train"].paths:
        full.add("train", path)
    assert_equal(steps(12, full)[0], every)
    for step in range(2, 12, 3):
        assert_equal(steps(1, start_step=step)[0], every[step : step + 1])
    halves = [steps(12, worker=worker, workers=2)[0] for worker in range(2)]
    joined = [tuple(map(np.concatenate, zip(*parts, strict=True))) for parts in zip(*halves, strict=True)]
    assert_equal(joined, every)


REASONS = {
    "empty.jpg": "not a JPEG, PNG, BMP or GIF image",
    "one-byte.png": "not a JPEG, PNG, BMP or GIF image",
    "text.jpg": "not a JPEG, PNG, BMP or GIF image",
    "noise.jpg": "not a JPEG, PNG, BMP or GIF image",
    "webp.jpg": "not a JPEG, PNG, BMP or GIF image",
    "jpeg-then-noise.jpg": "Invalid JPEG data, size 503",
    "truncated.jpg": "Invalid JPEG data",
    "header-only.jpg": "Invalid JPEG data, size 40",
    "truncated.png": "Invalid PNG data",
    "header-only.png": "not between 1 and 67,108,864 pixels: height and width -1 48",
    "flipped.png": "Invalid PNG data",
    "truncated.gif": "the file ends too early",
    "header-only.gif": "not between 1 and 67,108,864 pixels: height and width -1 48",
    "huge-frame.gif": "GIF without a proper first frame",
    "tiny-blocks.gif": "GIF",
    "truncated.bmp": "Input size should match",
    "palette-outside.bmp": "BMP with a palette outside of the file",
    "header-only.bmp": "not between 1 and 67,108,864 pixels: height and width -1 -1",
    "claims.jpg": "not between 1 and 67,108,864 pixels: height and width 20000, 20000",
    "claims.png": "not between 1 and 67,108,864 pixels: height and width 20000 20000",
    "claims-2g.png": "not between 1 and 67,108,864 pixels: height and width 2147483647 2147483647",
    "zero.png": "not between 1 and 67,108,864 pixels: height and width 10 0",
}


def test_each_has_a_reason_that_a_person_understands(tmp_path):
    files = corpus.unreadable(0)
    corpus.write(tmp_path / "test" / "a", files | {"good.png": corpus.readable(0)["rgb.png"]})
    (tmp_path / "test" / "a" / "dangling.jpg").symlink_to("nowhere.jpg")
    dataset = open_dataset(str(tmp_path))
    log = SkipLog(limit=1.0)
    assert len(list(pipeline.evaluation_images(dataset, "test", skip_log=log))) == 1
    log.write(tmp_path / "skipped.csv")
    with (tmp_path / "skipped.csv").open(encoding="utf-8") as file:
        found = {Path(row["name"]).name: row["reason"] for row in csv.DictReader(file)}
    assert found.pop("dangling.jpg").endswith("dangling.jpg; No such file or directory")
    assert set(found) == set(files) == set(REASONS)
    for name, reason in found.items():
        assert REASONS[name] in reason, name
        assert len(reason) < 100 and "node" not in reason and "File" not in reason


def test_names_need_not_be_utf_8(tmp_path):
    files = {b"caf\xe9.png": corpus.png(0), b"na\xefve.png": b"broken", b"z.png": corpus.png(1)}
    corpus.write(tmp_path / "train" / "a", {os.fsdecode(name): file for name, file in files.items()})
    missing = tmp_path / "train" / "a" / os.fsdecode(b"y\xef.png")
    missing.symlink_to("nowhere.png")
    dataset = open_dataset(str(tmp_path))
    log = SkipLog(limit=0.5)
    view = TrainView("center", 8)
    (images, _), *_ = pipeline.training_batches(
        dataset, "train", view, batch_size=4, seed=0, skip_log=log
    ).take(1)
    assert images.shape[0] == 4
    assert {os.fsencode(name).rsplit(b"/", 1)[1] for name in log.names} == {b"na\xefve.png", b"y\xef.png"}
    assert len(write_samples(dataset, "train", tmp_path / "samples", 4)) == 2
    with pytest.raises(UserError, match=r"cannot pack .*y\ufffd\.png; No such file"):
        packing.pack(dataset, tmp_path / "nowhere", shards=1)
    missing.unlink()
    dataset = open_dataset(str(tmp_path))
    log.write(tmp_path / "skipped.csv")
    again = SkipLog()
    again.read(tmp_path / "skipped.csv")
    assert again.names == log.names
    assert b"na\xefve.png" in (tmp_path / "skipped.csv").read_bytes()
    packing.pack(dataset, tmp_path / "packed", shards=1)
    packed = open_dataset(str(tmp_path / "packed"))
    assert len(list(pipeline.evaluation_images(packed, "train", skip_log=log))) == 2


def test_each_split_has_a_limit_of_its_own():
    log = SkipLog()
    log.expect("train", 1000)
    log.expect("val", 5)
    log.add("train", "1.jpg")
    log.check()
    log.add("val", "2.jpg", "no image")
    with pytest.raises(UserError, match=r"1 of 5 images of split 'val'.*2\.jpg: no image.*--skip-limit"):
        log.check()


def test_images_that_were_mended_do_not_stop_a_run_that_goes_on(tmp_path):
    before = SkipLog()
    before.expect("train", 10)
    for name in ("1.jpg", "2.jpg"):
        before.add("train", name, "no image")
    before.write(tmp_path / "skipped.csv")
    log = SkipLog()
    log.expect("train", 10)
    log.read(tmp_path / "skipped.csv")
    log.check()
    assert log.names == ("1.jpg", "2.jpg")
    log.add("train", "2.jpg", "no image")
    with pytest.raises(
        UserError, match=r"1 of 10 images of split 'train' are unreadable \(first: 2\.jpg: no image"
    ):
        log.check()


@pytest.mark.parametrize(("limit", "told"), [(0.05, "5%"), (0.005, "0.5%"), (0, "0%")])
def test_the_limit_is_told_as_it_is(limit, told):
    log = SkipLog(limit)
    log.expect("train", 10)
    log.add("train", "1.jpg")
    with pytest.raises(UserError, match=f"more than the accepted {told}: fix"):
        log.check()


def test_too_many_stop_the_run_with_one_line(odd, monkeypatch):
    view = PAD_CROP
    with pytest.raises(
        UserError, match=r"136 of 286 images of split 'train' are unreadable.*than the accepted 5%"
    ):
        pipeline.training_batches(odd, "train", view, batch_size=8, seed=0)
    odd.memory.clear()
    monkeypatch.setattr("keras_resnet.data.memory.LIMIT_BYTES", 0)
    log = SkipLog()
    batches = pipeline.training_batches(odd, "train", view, batch_size=8, seed=0, skip_log=log)
    with pytest.raises(UserError, match="more than the accepted 5%"), log.watch():
        list(batches.take(40))
    assert 15 <= len(log.names) < 40  # hardly more than it takes: two steps are in flight


def test_nothing_readable_at_all(tmp_path, monkeypatch):
    for name in ("a", "b"):
        corpus.write(tmp_path / "train" / name, {"1.jpg": b"no", "2.jpg": b"", "3.png": b"x"})
    dataset = open_dataset(str(tmp_path))
    log = SkipLog(limit=1.0)
    with pytest.raises(UserError, match="none of the 6 images"):
        pipeline.training_batches(dataset, "train", PAD_CROP, batch_size=2, seed=0, skip_log=log)
    monkeypatch.setattr("keras_resnet.data.memory.LIMIT_BYTES", 0)
    log = SkipLog()
    batches = pipeline.training_batches(dataset, "train", PAD_CROP, batch_size=2, seed=0, skip_log=log)
    with pytest.raises(UserError, match="unreadable"), log.watch():
        list(batches.take(1))
    view = EvalView("10-crop", 24, 24)
    assert list(pipeline.evaluation_batches(dataset, "train", view, batch_size=4, skip_log=log)) == []


def test_the_log_names_each_once(tmp_path):
    log = SkipLog(limit=0.5)
    log.expect("train", 4)
    for name in ("b.jpg", "a,b.jpg", "b.jpg"):
        log.add("train", name)
    log.check()
    log.write(tmp_path / "skipped.csv")
    with (tmp_path / "skipped.csv").open(encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["split", "name", "reason"],
            ["train", "b.jpg", "unreadable"],
            ["train", "a,b.jpg", "unreadable"],
        ]
    log.add("train", "c.jpg")
    with pytest.raises(UserError, match="3 of 4 images"):
        log.check()

"""Training and validating on slices: which images they are, what is recorded, what makes no sense."""

from __future__ import annotations

import json
import shutil
import zlib
from dataclasses import replace

import numpy as np
import pytest
from shallow import SHALLOW
from small_runs import DIGITS, ONE_STEP, grey_folder, settings

from keras_resnet.data import packing, records
from keras_resnet.data.digits import digits_arrays
from keras_resnet.data.sources import hold_out, open_dataset
from keras_resnet.data.statistics import compute_statistics
from keras_resnet.errors import UsageError, UserError
from keras_resnet.training.announcement import announcement
from keras_resnet.training.checks import check_data, check_held_out, check_splits, data_facts
from keras_resnet.training.devices import make_strategy
from keras_resnet.training.inputs import Inputs
from keras_resnet.training.run import train
from keras_resnet.training.schedules import Schedule
from keras_resnet.training.settings import check_same, make_settings


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return grey_folder(tmp_path_factory.mktemp("grey"))


def inputs(dataset, **slices) -> Inputs:
    overrides = {"batch_size": 4, "view": "center", "flip": False}
    chosen = make_settings(
        SHALLOW["resnet20"], dataset, overrides=overrides, recipe="cifar-fast", image_size=16, **slices
    )
    check_splits(chosen, dataset)
    return Inputs.prepare(chosen, dataset, make_strategy("cpu:1"))


def levels(batches) -> set[int]:
    return {int(level) for images, *_ in batches for level in images[:, 0, 0, 0]}


def test_nothing_is_held_out_of_a_stream_and_nothing_written_then(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MEMORY_BYTES", 0)
    stream = open_dataset(
        str(packing.pack(open_dataset(str(folder)), tmp_path / "packed", shards=2)), held_out=4
    )
    chosen = settings(data=stream, overrides=ONE_STEP, recipe="cifar-fast", hold_out=4)
    with pytest.raises(UsageError, match="too large to hold out images class by class"):
        train(chosen, stream, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_run_is_tested_on_nothing_that_it_was_trained_on(folder, tmp_path):
    """Which images are held out follows from their number and from all names."""
    copy = tmp_path / "photos"
    shutil.copytree(folder, copy)
    data = open_dataset(str(copy), held_out=4)
    chosen = settings(data=data, overrides=ONE_STEP, recipe="cifar-fast", hold_out=4)
    train(chosen, data, tmp_path / "run", quiet=True)
    check_held_out(tmp_path / "run", data)
    check_held_out(tmp_path / "run" / "model.keras", open_dataset(f"{copy}/", held_out=4))
    check_held_out(tmp_path / "run", open_dataset(str(folder), held_out=8))  # other data
    check_held_out(tmp_path / "nowhere", data)
    with pytest.raises(UsageError, match="trained with --hold-out 4: with 8 it would be tested on images"):
        check_held_out(tmp_path / "run", open_dataset(str(copy), held_out=8))
    (copy / "train" / "a" / "0.png").rename(copy / "train" / "b" / "new.png")
    moved = open_dataset(str(copy), held_out=4)
    with pytest.raises(UserError, match=r"files of .* have changed since .* others would be held out now"):
        check_held_out(tmp_path / "run", moved)
    (tmp_path / "run" / "model.keras").unlink()
    with pytest.raises(UserError, match="have been renamed, moved or exchanged since the run"):
        train(chosen, moved, tmp_path / "run", quiet=True)


def test_what_an_epoch_of_a_stream_has_shown_is_told_to_be_read_over(folder, tmp_path, monkeypatch):
    data = open_dataset(str(packing.pack(open_dataset(str(folder)), tmp_path / "packed", shards=2)))
    assert not inputs(data, val_split="train[75%:]", split="train[:75%]").reads_over(1)
    monkeypatch.setattr(records, "MEMORY_BYTES", 0)
    stream = inputs(data, val_split="train[75%:]", split="train[:75%]")
    assert [stream.reads_over(step) for step in (0, 1, 5, 6)] == [False, True, True, False]


@pytest.mark.parametrize("kind", ["folder", "shards", "stream"])
def test_an_epoch_and_a_validation_show_the_images_of_their_slices(folder, kind, tmp_path, monkeypatch):
    dataset = open_dataset(str(folder))
    if kind != "folder":
        dataset = open_dataset(str(packing.pack(dataset, tmp_path / "packed", shards=2)))
    if kind == "stream":
        monkeypatch.setattr(records, "MEMORY_BYTES", 0)
    fed = inputs(dataset, split="train[:75%]", val_split="train[75%:]")
    trained = levels(fed.training_share(0).take(fed.steps_per_epoch))
    validated = levels(fed.validation())
    assert fed.steps_per_epoch == 6 and len(trained) == 24 and len(validated) == 8
    assert trained.isdisjoint(validated)
    if kind == "folder":
        assert trained == set(range(24))
    assert fed.statistics.mean[0] == pytest.approx(np.mean(list(trained)))


def test_slices_of_a_folder_that_lack_classes_are_pointed_out(folder, tmp_path):
    fed = inputs(open_dataset(str(folder)), split="train[:70%]", val_split="train[75%:]")
    schedule = Schedule(fed.settings.recipe, total_steps=10, steps_per_epoch=5, depth=20)
    lines = list(announcement(fed, schedule, tmp_path))
    assert "22 images (train[:70%]) of 4 classes" in lines[0]
    assert lines[0].endswith("validation error on 8 (train[75%:])")
    notes = [line for line in lines if line.startswith("note: ")]
    assert [line.split(";")[0] for line in notes] == [
        "note: train[:70%] has images of only 3 of the 4 classes",
        "note: train[75%:] has images of only 1 of the 4 classes",
    ]


def test_slices_are_recorded_and_others_are_refused(tmp_path):
    sliced = settings(overrides=ONE_STEP, split="train[:600]", val_split="train[600:700]")
    train(sliced, DIGITS, tmp_path, quiet=True)
    record = json.loads((tmp_path / "run.json").read_text())
    assert (record["settings"]["split"], record["settings"]["val_split"]) == ("train[:600]", "train[600:700]")
    assert record["data"] == {
        "classes": 10,
        "names": zlib.crc32(b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9"),
        "training_images": 600,
        "split_images": 1197,
        "val_split": "train[600:700]",
        "validation_images": 100,
    }
    train(sliced, DIGITS, tmp_path, quiet=True)
    other = settings(overrides=ONE_STEP, split="train[:500]", val_split="train[600:700]")
    with pytest.raises(UserError, match=r"\(split: train\[:600\] there, train\[:500\] now\)"):
        train(other, DIGITS, tmp_path, quiet=True)


def test_a_slice_of_what_was_held_out_is_left(folder):
    dataset = hold_out(open_dataset(str(folder)), images=4)
    fed = inputs(dataset, hold_out=4, split="train[:50%]")
    validated = levels(fed.validation())
    left = sorted(set(range(32)) - validated)
    assert fed.val_split == "val" and len(validated) == 4
    assert levels(fed.training_share(0).take(20 * fed.steps_per_epoch)) == set(left[:14])


def test_a_run_that_was_begun_before_there_were_slices_goes_on():
    now = settings().to_json()
    before = {name: value for name, value in now.items() if name not in ("split", "val_split")}
    check_same(before, now, "run")
    with pytest.raises(UserError, match=r"split: train there, train\[:9\] now"):
        check_same(before, now | {"split": "train[:9]"}, "run")


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        ({"split": "train[:800]", "val_split": "train[700:]"}, r"share 100 of the images of digits"),
        ({"split": "val"}, "train on val and validate on val, which share 300"),
        ({"val_split": "train"}, "--val-split"),
        ({"val_split": "dev"}, "no split 'dev'"),
        ({"val_split": "test[300:]"}, "selects none"),
        ({"hold_out": 100, "val_split": "test"}, r"--hold-out 100 .* not train and test"),
        ({"hold_out": 100, "split": "test"}, "not test and val"),
    ],
)
def test_splits_that_make_no_sense(slices, message):
    data = DIGITS
    if "hold_out" in slices:
        without_val = {name: count for name, count in DIGITS.splits.items() if name != "val"}
        data = hold_out(replace(DIGITS, splits=without_val), images=slices["hold_out"])
    chosen = make_settings(SHALLOW["resnet20"], data, image_size=16, **slices)
    with pytest.raises(UsageError, match=message):
        check_splits(chosen, data)


@pytest.mark.parametrize("split", ["dev", "train[5:5]", "train[one]"])
def test_slices_that_cannot_be_read_are_told_at_once(split):
    with pytest.raises(UsageError, match="split"):
        settings(split=split)


def test_a_folder_that_grew_is_noticed_behind_a_slice_too(tmp_path):
    sliced = settings(split="train[:100]")
    before = data_facts(sliced, DIGITS)
    more = replace(DIGITS, splits={**DIGITS.splits, "train": 2000})
    with pytest.raises(
        UserError, match=r"100 training images \(of 1,197\) of 10 classes, .* then, 100 .*2,000"
    ):
        check_data("digits", data_facts(sliced, more), before, tmp_path)
    check_data("digits", data_facts(sliced, DIGITS), before, tmp_path)


def test_other_validation_images_are_noticed(tmp_path):
    before = data_facts(settings(), DIGITS)
    told = rf" {before['validation_images']} to validate on \(val\) then, .* 7 to validate on \(val\) now"
    with pytest.raises(UserError, match=told):
        check_data(
            "digits",
            data_facts(settings(), replace(DIGITS, splits={**DIGITS.splits, "val": 7})),
            before,
            tmp_path,
        )
    begun_earlier = {key: before[key] for key in ("classes", "training_images")}
    check_data(
        "digits",
        data_facts(settings(), replace(DIGITS, splits={**DIGITS.splits, "val": 7})),
        begun_earlier,
        tmp_path,
    )


def test_the_mean_is_that_of_the_slice():
    fed = inputs(DIGITS, split="train[:50]")
    pixels, _ = digits_arrays("train")
    np.testing.assert_allclose(fed.mean, pixels[:50].mean((0, 1, 2)), rtol=1e-4)
    whole = compute_statistics(DIGITS).mean
    assert abs(fed.statistics.mean[0] - whole[0]) > 0.01

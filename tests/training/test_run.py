"""Whole runs on the digits: what they leave behind."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from saved_networks import tiny
from shallow import SHALLOW
from small_runs import DIGITS, ONE_STEP, assert_same_weights, settings

import keras_resnet
from keras_resnet.cli import main
from keras_resnet.data.skips import SkipLog
from keras_resnet.data.sources import open_dataset
from keras_resnet.training import run
from keras_resnet.training.checkpoints import best_checkpoint
from keras_resnet.training.engine import Engine
from keras_resnet.training.epochs import Habits
from keras_resnet.training.progress import COLUMNS, read_history
from keras_resnet.training.run import train
from keras_resnet.training.settings import make_settings
from keras_resnet.weights.state import get_state


def test_a_run_leaves_what_the_contract_says(finished):
    record = json.loads((finished / "run.json").read_text())
    assert record["status"] == "finished" and record["results"]["steps"] == record["total_steps"] == 11
    with (finished / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 1
    assert read_history(finished)[0]["val_error"] == pytest.approx(record["results"]["val_error"], rel=1e-4)
    model = keras_resnet.load(finished)
    probabilities = model(np.zeros((2, 16, 16, 3), "uint8")).numpy()
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, rtol=1e-5)


def test_a_vgg_is_trained_at_the_size_of_its_images(tmp_path):
    vgg = make_settings(
        tiny("vgg16"), DIGITS, image_size=32, overrides={"steps": 1, "batch_size": 8, "learning_rate": 0.01}
    )
    result = train(vgg, DIGITS, tmp_path, quiet=True)
    assert keras_resnet.load(result.model).input_shape == (None, 32, 32, 3)


def test_recalibration_takes_the_parts_that_training_took(tmp_path, monkeypatch):
    shapes = []

    def look(model, batches):
        shapes.extend(len(images) for images, _ in batches)

    monkeypatch.setattr(run, "recalibrate", look)
    averaged = settings(overrides={**ONE_STEP, "batch_size": 64, "ema": 0.9}, accumulate=4)
    train(averaged, DIGITS, tmp_path, quiet=True)
    assert set(shapes) == {16} and sum(shapes) > 1000


def test_fine_tuning_keeps_the_trunk_freezes_its_start_and_has_a_new_classifier(finished, tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 2)):
        for name in ("one", "two"):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 255, (16, 16, 3), "uint8")
                Image.fromarray(pixels).save(tmp_path / split / name / f"{index}.png")
    data = open_dataset(str(tmp_path))
    tuned = make_settings(
        SHALLOW["resnet20"],
        data,
        recipe="finetune",
        overrides={"steps": 2, "batch_size": 4, "freeze": "conv2"},
        initial_weights=str(finished),
    )
    train(tuned, data, tmp_path / "run", quiet=True)
    before, after = (get_state(keras_resnet.load(folder)) for folder in (finished, tmp_path / "run"))
    same = {name for name in before if np.array_equal(before[name], after[name])}
    assert {"normalization/mean", "conv1_conv/kernel", "conv2_block1_bn2/moving_mean"} <= same
    assert "conv4_block1_conv2/kernel" not in same
    assert after["predictions/kernel"].shape == (64, 2)


def test_extras_of_the_run_folder(tmp_path):
    habits = Habits(tensorboard=True, checkpoint_steps=3)
    train(settings(), DIGITS, tmp_path, habits=habits, quiet=True)
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_profile_changes_nothing_else(finished, tmp_path):
    # Its eleven steps are all of this run: the epoch's end must not be lost.
    train(settings(), DIGITS, tmp_path, habits=Habits(profile=True), quiet=True)
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    assert len(read_history(tmp_path)) == 1
    assert_same_weights(finished, tmp_path)


def test_mixed_precision_is_for_the_run_only(tmp_path):
    train(
        settings(precision="mixed_bfloat16", overrides={"epochs": None, "steps": 1}),
        DIGITS,
        tmp_path,
        quiet=True,
    )
    assert keras.config.dtype_policy().name == "float32"
    assert keras_resnet.load(tmp_path).get_layer("conv1_conv").compute_dtype == "bfloat16"


def test_skipped_images_are_remembered_over_a_resume(tmp_path):
    log = SkipLog()
    log.add("train", "a,b.jpg", "truncated")
    log.write(tmp_path / "skipped.csv")
    later = SkipLog()
    later.read(tmp_path / "skipped.csv")
    later.read(tmp_path / "nothing.csv")
    assert later.names == ("a,b.jpg",)


def test_a_run_over_unreadable_images_names_them(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 6)):
        for name in ("one", "two"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 255, (20, 24, 3), "uint8")
                Image.fromarray(pixels).save(tmp_path / "data" / split / name / f"{index:02d}.png")
    broken = {
        tmp_path / "data" / "train" / "one" / "03.png": "not a JPEG, PNG, BMP or GIF image",
        tmp_path / "data" / "train" / "two" / "11.png": "Invalid PNG data",
        tmp_path / "data" / "val" / "two" / "05.png": "not a JPEG, PNG, BMP or GIF image",
    }
    for path, reason in broken.items():
        path.write_bytes(b"<html>" if reason.startswith("not") else path.read_bytes()[:200])
    workdir, runner = tmp_path / "run", CliRunner()
    arguments = ["train", "--depth", "20", "--image-size", "16", "--dataset", str(tmp_path / "data")]
    arguments += ["--batch-size", "8", "--epochs", "1", "--workdir", str(workdir), "--recipe", "cifar-paper"]
    refused = runner.invoke(main, arguments)
    assert refused.exit_code == 1 and refused.output.splitlines()[-1].startswith("Error: 1 of 12 images of")
    assert "--skip-limit" in refused.output
    done = runner.invoke(main, [*arguments, "--skip-limit", "0.1"])
    assert done.exit_code == 0, done.output
    told = f", 3 unreadable images ({workdir / 'skipped.csv'})"
    epoch, last = (line for line in done.output.splitlines() if told in line)
    assert epoch.startswith("epoch 1 of 1") and "; model: " in last
    with (workdir / "skipped.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {Path(row["name"]) for row in rows} == set(broken)
    assert {row["split"] for row in rows} == {"train", "val"}
    for row in rows:
        assert row["reason"].startswith(broken[Path(row["name"])])
    assert json.loads((workdir / "run.json").read_text())["results"]["skipped"] == 3
    tested = runner.invoke(main, ["evaluate", str(workdir), "--skip-limit", "0.1"])
    assert "11 images of" in tested.output and f"  unreadable: {list(broken)[-1]}" in tested.output


def test_a_checkpoint_comes_with_the_list_of_unreadable_images(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(SkipLog, "write", lambda log, path: written.append(path))
    train(settings(overrides=ONE_STEP), DIGITS, tmp_path, quiet=True)
    assert written == [tmp_path / "skipped.csv"] * 2  # with the epoch's checkpoint, and at the end


def test_a_mean_image_gives_way_to_its_colour_at_another_size(tmp_path):
    mean_image = settings(overrides=ONE_STEP, recipe="cifar-paper", image_size=32)
    train(mean_image, DIGITS, tmp_path / "first", quiet=True)
    first = get_state(keras_resnet.load(tmp_path / "first"))
    assert first["normalization/mean"].ndim == 3
    smaller = settings(overrides=ONE_STEP, initial_weights=str(tmp_path / "first"))
    train(smaller, DIGITS, tmp_path / "second", quiet=True)
    second = get_state(keras_resnet.load(tmp_path / "second"))
    np.testing.assert_allclose(
        np.broadcast_to(second["normalization/mean"], (3,)),
        first["normalization/mean"].mean((0, 1)),
        rtol=1e-5,
    )


def test_keep_best_ends_with_the_best_epoch(tmp_path, monkeypatch):
    errors = iter([20.0, 10.0, 30.0])
    monkeypatch.setattr(Engine, "evaluate", lambda self, batches: next(errors))
    result = train(settings(overrides={"epochs": 3, "keep_best": True}), DIGITS, tmp_path, quiet=True)
    best = best_checkpoint(tmp_path)
    assert (result.val_error, best.step, result.steps) == (10.0, 22, 33)
    for variable in keras_resnet.load(tmp_path).trainable_variables:
        np.testing.assert_array_equal(variable.numpy(), best.arrays[variable.path])

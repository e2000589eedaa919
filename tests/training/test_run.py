"""Whole runs on the digits, as a user starts them: resume, signals, kills, refusals."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import keras_resnet
from keras_resnet.architectures import ARCHITECTURES
from keras_resnet.cli import main
from keras_resnet.data.skips import SkipLog
from keras_resnet.data.sources import open_dataset
from keras_resnet.errors import UsageError, UserError
from keras_resnet.training.checkpoints import FOLDER, best_checkpoint, latest_checkpoint
from keras_resnet.training.engine import Engine
from keras_resnet.training.epochs import Habits
from keras_resnet.training.interrupts import Interrupted
from keras_resnet.training.progress import COLUMNS, read_history
from keras_resnet.training.recalibration import recalibrate_file
from keras_resnet.training.run import train
from keras_resnet.training.settings import make_settings
from keras_resnet.weights.state import get_state

DIGITS = open_dataset("digits")
# Tests kill a run this often; 20 for the full proof (docs/training.md has the result).
KILLS = int(os.environ.get("KERAS_RESNET_KILLS", "2"))
ONE_STEP = {"epochs": None, "steps": 1, "batch_size": 8}


def settings(**changes):
    overrides = {"epochs": 1, "batch_size": 100, **changes.pop("overrides", {})}
    return make_settings(
        changes.pop("architecture", ARCHITECTURES["resnet20"]),
        DIGITS,
        overrides=overrides,
        image_size=changes.pop("image_size", 16),
        **changes,
    )


def command(workdir: Path, *more: str) -> list[str]:
    arguments = ["train", "--depth", "20", "--image-size", "16", "--epochs", "4", "--workdir", str(workdir)]
    return [sys.executable, "-c", "from keras_resnet.cli import main; main()", *arguments, *more]


def assert_same_weights(first: Path, second: Path) -> None:
    a, b = latest_checkpoint(first), latest_checkpoint(second)
    assert a is not None and b is not None and a.step == b.step
    for name, array in a.arrays.items():
        np.testing.assert_array_equal(array, b.arrays[name], err_msg=name)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("finished")
    train(settings(), DIGITS, workdir, quiet=True)
    return workdir


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


def test_a_finished_run_is_not_trained_again(finished):
    before = (finished / "history.csv").read_bytes()
    result = train(settings(), DIGITS, finished, quiet=True)
    assert result.steps == 11 and (finished / "history.csv").read_bytes() == before


def test_other_settings_are_refused_by_name(finished):
    other = settings(overrides={"learning_rate": 0.05})
    with pytest.raises(UserError, match=r"learning_rate: 0\.1 there, 0\.05 now"):
        train(other, DIGITS, finished, quiet=True)
    network = settings(architecture=ARCHITECTURES["plain20"])
    with pytest.raises(UserError, match="network: resnet20 there, plain20 now"):
        train(network, DIGITS, finished, quiet=True)


def test_fresh_starts_over_and_forgets_what_was_measured(tmp_path):
    (tmp_path / "run.json").write_text('{"settings": {"network": "vgg16"}}')
    (tmp_path / "evaluation-single.json").write_text("{}")
    assert train(settings(), DIGITS, tmp_path, fresh=True, quiet=True).steps == 11
    assert not (tmp_path / "evaluation-single.json").exists()


def test_somebody_elses_run_json_is_refused(tmp_path):
    (tmp_path / "run.json").write_text('{"name": "mine"}')
    with pytest.raises(UserError, match="is of no run"):
        train(settings(), DIGITS, tmp_path, quiet=True)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"batch_size": 2000}, "2000"),
        ({"batch_size": 0}, "batch size"),
        ({"learning_rate": -1.0}, "learning rate"),
        ({"epochs": 1, "steps": 3}, "not both"),
    ],
)
def test_impossible_recipes_are_refused(overrides, message, tmp_path):
    with pytest.raises(UserError, match=message):
        train(settings(overrides=overrides), DIGITS, tmp_path, quiet=True)


def test_too_small_an_image_is_refused():
    with pytest.raises(UsageError, match="at least 32 pixels"):
        settings(architecture=ARCHITECTURES["resnet50"], image_size=16)


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
        ARCHITECTURES["resnet20"],
        data,
        recipe="finetune",
        overrides={"steps": 2, "batch_size": 4, "freeze": "conv2"},
        initial_weights=str(finished),
    )
    train(tuned, data, tmp_path / "run", quiet=True)
    before, after = (get_state(keras_resnet.load(folder)) for folder in (finished, tmp_path / "run"))
    same = {name for name in before if np.array_equal(before[name], after[name])}
    assert {"normalization/mean", "conv1_conv/kernel", "conv2_block3_bn2/moving_mean"} <= same
    assert "conv4_block3_conv2/kernel" not in same
    assert after["predictions/kernel"].shape == (64, 2)


def test_a_diverging_run_says_where_and_what_to_do(tmp_path):
    wild = settings(overrides={"learning_rate": 1e30, "gradient_clip": None, "epochs": 2})
    wild = replace(wild, recipe=replace(wild.recipe, schedule="drops", drops=()))
    with pytest.raises(UserError, match=r"not a finite number at step \d+.*--learning-rate"):
        train(wild, DIGITS, tmp_path, quiet=True)


def test_an_unwritable_folder_is_one_line(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UserError, match="cannot write"):
        train(settings(), DIGITS, blocked / "run", quiet=True)


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
    assert refused.exit_code == 1 and refused.output.splitlines()[-1].startswith("Error: 2 of 24 images of")
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


def test_recalibration_in_place_forgets_what_was_measured(finished, tmp_path):
    for name in ("run.json", "model.keras"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    (tmp_path / "evaluation-single.json").write_text("{}")
    recalibrate_file(str(tmp_path), batches=2, batch_size=64)
    assert not (tmp_path / "evaluation-single.json").exists()
    before, after = (get_state(keras_resnet.load(folder)) for folder in (finished, tmp_path))
    assert not np.array_equal(before["conv1_bn/moving_mean"], after["conv1_bn/moving_mean"])
    np.testing.assert_array_equal(before["conv1_conv/kernel"], after["conv1_conv/kernel"])


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


def saved_step(workdir: Path) -> int:
    names = [path.stem for path in (workdir / FOLDER).glob("step-*.safetensors")]
    return max((int(name.removeprefix("step-")) for name in names), default=0)


def kill_on_the_way(process: subprocess.Popen, workdir: Path, step: int, saving: bool) -> None:
    """SIGKILL after the checkpoint of `step`; `saving`: while the next one is being written."""
    while saved_step(workdir) < step or (saving and not list((workdir / FOLDER).glob(".*.tmp"))):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_killed_runs_end_with_the_weights_of_an_uninterrupted_one(tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    subprocess.run(command(straight, "--ema", "0.9"), check=True, capture_output=True)
    steps = json.loads((straight / "run.json").read_text())["total_steps"]
    again = command(killed, "--ema", "0.9", "--checkpoint-steps", "3")
    rng = random.Random(1)
    for kill in range(KILLS):
        process = subprocess.Popen(again, stderr=subprocess.PIPE, text=True)
        share = (steps - saved_step(killed)) / (KILLS - kill + 1)
        step = saved_step(killed) + round(rng.uniform(1, max(1.0, share)))
        kill_on_the_way(process, killed, step, saving=kill % 2 == 1)
    subprocess.run(again, check=True, capture_output=True)
    assert_same_weights(straight, killed)
    keep = [name for name in COLUMNS if name not in ("images_per_second", "waiting")]
    histories = [[[row[c] for c in keep] for row in read_history(run)] for run in (straight, killed)]
    assert histories[0] == histories[1]
    assert not list((killed / FOLDER).glob(".*.tmp"))


def test_a_signal_during_the_validation_stops_it_and_the_epoch_is_validated_later(tmp_path, monkeypatch):
    evaluate = Engine.evaluate
    seen = []

    def interrupted(self, batches):
        seen.append(True)
        if len(seen) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(self, batches)

    monkeypatch.setattr(Engine, "evaluate", interrupted)
    with pytest.raises(Interrupted, match="step 11 of 22"):
        train(settings(overrides={"epochs": 2}), DIGITS, tmp_path, quiet=True)
    assert not (tmp_path / "history.csv").exists()
    train(settings(overrides={"epochs": 2}), DIGITS, tmp_path, quiet=True)
    assert [row["step"] for row in read_history(tmp_path)] == [11, 22]


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    diverging = settings(overrides={**ONE_STEP, "learning_rate": 3e38, "weight_decay": 1e38})
    with pytest.raises(UserError, match=r"not a finite number at step 1; no checkpoint yet"):
        train(diverging, DIGITS, tmp_path, quiet=True)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["status"] == "failed" and "not a finite number" in record["error"]
    assert latest_checkpoint(tmp_path) is None and not (tmp_path / "model.keras").exists()


def test_a_finished_run_is_left_alone(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.name != ".lock"}
    result = train(settings(), DIGITS, finished, quiet=True)
    assert result.steps == 11 and result.model == finished / "model.keras"
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_fresh_removes_nothing_where_the_new_run_is_refused(finished):
    with pytest.raises(UserError, match="takes 5000 images"):
        train(settings(overrides={"batch_size": 5000}), DIGITS, finished, fresh=True, quiet=True)
    assert (finished / "model.keras").exists() and latest_checkpoint(finished) is not None


def test_changed_data_is_noticed(tmp_path):
    unfinished = settings(overrides=ONE_STEP)
    train(unfinished, DIGITS, tmp_path, quiet=True)
    (tmp_path / "model.keras").unlink()
    fewer = replace(DIGITS, splits={**DIGITS.splits, "train": 1000})
    with pytest.raises(UserError, match=r"1,197 training images of 10 classes then, 1,000 of 10 now"):
        train(unfinished, fewer, tmp_path, quiet=True)


def test_sigterm_saves_says_how_to_go_on_and_exits_with_143(tmp_path):
    process = subprocess.Popen(
        command(tmp_path, "--epochs", "200"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 1 "):
            break
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert time.monotonic() - began < 20
    assert "run the same command again to go on" in stderr and "Traceback" not in stderr
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "interrupted"
    assert latest_checkpoint(tmp_path) is not None


def test_keep_best_ends_with_the_best_epoch(tmp_path, monkeypatch):
    errors = iter([20.0, 10.0, 30.0])
    monkeypatch.setattr(Engine, "evaluate", lambda self, batches: next(errors))
    result = train(settings(overrides={"epochs": 3, "keep_best": True}), DIGITS, tmp_path, quiet=True)
    best = best_checkpoint(tmp_path)
    assert (result.val_error, best.step, result.steps) == (10.0, 22, 33)
    for variable in keras_resnet.load(tmp_path).trainable_variables:
        np.testing.assert_array_equal(variable.numpy(), best.arrays[variable.path])


def test_a_lost_best_epoch_is_said(tmp_path):
    with pytest.raises(UserError, match="best epoch cannot be read"):
        best_checkpoint(tmp_path)

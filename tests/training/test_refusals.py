"""What a run refuses, and what it leaves alone then."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tensorflow as tf
from shallow import SHALLOW
from small_runs import DIGITS, ONE_STEP, grey_folder, settings

from keras_resnet.data.sources import open_dataset, same_data
from keras_resnet.errors import UsageError, UserError
from keras_resnet.training import run
from keras_resnet.training.checkpoints import best_checkpoint, latest_checkpoint
from keras_resnet.training.epochs import Habits
from keras_resnet.training.run import train


def test_a_finished_run_is_left_alone(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.name != ".lock"}
    result = train(settings(), DIGITS, finished, quiet=True)
    assert result.steps == 11 and result.model == finished / "model.keras"
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_other_settings_are_refused_by_name(finished):
    other = settings(overrides={"learning_rate": 0.05})
    with pytest.raises(UserError, match=r"learning_rate: 0\.1 there, 0\.05 now"):
        train(other, DIGITS, finished, quiet=True)
    network = settings(architecture=SHALLOW["plain20"])
    with pytest.raises(UserError, match="network: resnet20 there, plain20 now"):
        train(network, DIGITS, finished, quiet=True)


def test_fresh_starts_over_and_forgets_what_was_measured(tmp_path):
    (tmp_path / "run.json").write_text("{cut sho")
    (tmp_path / "evaluation-single.json").write_text("{}")
    assert train(settings(), DIGITS, tmp_path, fresh=True, quiet=True).steps == 11
    assert not (tmp_path / "evaluation-single.json").exists()


def test_fresh_removes_nothing_where_the_new_run_is_refused(finished):
    with pytest.raises(UserError, match="takes 5000 images"):
        train(settings(overrides={"batch_size": 5000}), DIGITS, finished, fresh=True, quiet=True)
    assert (finished / "model.keras").exists() and latest_checkpoint(finished) is not None


def test_fresh_removes_nothing_where_an_extra_is_not_installed(finished, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="--tensorboard needs"):
        train(settings(), DIGITS, finished, fresh=True, habits=Habits(tensorboard=True), quiet=True)
    assert (finished / "model.keras").exists()


def test_fresh_removes_nothing_where_the_workers_disagree(finished, monkeypatch):
    def disagree(*_):
        raise UserError("give all of them the same command")

    monkeypatch.setattr(run, "check_agreement", disagree)
    with pytest.raises(UserError, match="the same command"):
        train(settings(), DIGITS, finished, fresh=True, quiet=True)
    assert (finished / "model.keras").exists() and latest_checkpoint(finished) is not None


def test_fresh_removes_nothing_where_too_many_images_are_unreadable(tmp_path):
    folder = grey_folder(tmp_path / "data")
    data = open_dataset(str(folder))
    chosen = settings(
        data=data,
        overrides=ONE_STEP,
        recipe="cifar-fast",
        val_split="train[28:]",
        split="train[:28]",
    )
    result = train(chosen, data, tmp_path / "run", quiet=True)
    for image in sorted((folder / "train").rglob("*.png"))[:4]:
        image.write_bytes(b"broken")
    with pytest.raises(UserError, match=r"4 of 28 images of split .* are unreadable"):
        train(chosen, open_dataset(str(folder)), tmp_path / "run", fresh=True, quiet=True)
    assert result.model.exists() and latest_checkpoint(tmp_path / "run") is not None


@pytest.mark.parametrize(
    ("place", "error", "told"),
    [
        ("EpochLoop.run", tf.errors.ResourceExhaustedError(None, None, "OOM"), "a device ran out of memory"),
        (
            "EpochLoop.run",
            tf.errors.ResourceExhaustedError(None, None, "/full/events; No space left on device"),
            "cannot write or read a file: /full/events; No space left on device",
        ),
        ("EpochLoop.run", ZeroDivisionError("surprise\nat line 3"), "surprise"),
        ("_Run._finish", UserError("no room for model.keras"), "no room for model.keras"),
    ],
)
def test_the_record_says_why_a_run_failed(tmp_path, monkeypatch, place, error, told):
    def end(*_):
        raise error

    monkeypatch.setattr(run.EpochLoop, "run", lambda *_: None)
    monkeypatch.setattr(f"keras_resnet.training.run.{place}", end)
    with pytest.raises((UserError, ZeroDivisionError), match=told):
        train(settings(), DIGITS, tmp_path, quiet=True)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["status"] == "failed" and record["error"].startswith(told)
    assert "\n" not in record["error"]


def test_ctrl_c_while_the_model_is_saved_is_an_interruption(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "save_model", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(settings(overrides=ONE_STEP), DIGITS, tmp_path, quiet=True)
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "interrupted"
    monkeypatch.undo()
    assert train(settings(overrides=ONE_STEP), DIGITS, tmp_path, quiet=True).model.exists()


@pytest.mark.parametrize("fresh", [False, True])
def test_somebody_elses_run_json_is_refused(fresh, tmp_path):
    (tmp_path / "run.json").write_text('{"name": "mine"}')
    with pytest.raises(UserError, match="does not belong to a run"):
        train(settings(), DIGITS, tmp_path, fresh=fresh, quiet=True)
    assert (tmp_path / "run.json").read_text() == '{"name": "mine"}'


def test_fresh_removes_nothing_that_is_not_a_runs(tmp_path):
    for name in ("checkpoints/mine.ckpt", "tensorboard/mine", "profile/mine"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "checkpoints" / "step-000000001.safetensors").touch()
    train(settings(overrides=ONE_STEP), DIGITS, tmp_path, fresh=True, quiet=True)
    kept = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("mine*")}
    assert kept == {"checkpoints/mine.ckpt", "tensorboard/mine", "profile/mine"}


@pytest.mark.parametrize("name", ["", "model.keras"])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_run_does_not_replace_the_weights_it_starts_from(name, fresh, finished):
    other = settings(initial_weights=str(finished / name), recipe="finetune")
    with pytest.raises(UsageError, match="will replace: name another --workdir"):
        train(other, DIGITS, finished, fresh=fresh, quiet=True)
    assert (finished / "model.keras").exists()


def test_a_folder_with_a_slash_is_the_same_data(tmp_path):
    folder = str(grey_folder(tmp_path / "data"))
    slices = {"recipe": "cifar-fast", "val_split": "train[28:]", "split": "train[:28]"}
    for name in (folder, f"{folder}/"):
        data = open_dataset(name)
        chosen = settings(data=data, overrides=ONE_STEP, **slices)
        assert train(chosen, data, tmp_path / "run", quiet=True).steps == 1
    assert not same_data("digits", str(Path("digits").resolve()))


def test_images_too_large_to_save_a_model_of_are_refused(tmp_path):
    with pytest.raises(UsageError, match="--image-size is 3584 pixels at most, not 3600"):
        settings(image_size=3600)


def test_changed_data_is_noticed(tmp_path):
    unfinished = settings(overrides=ONE_STEP)
    train(unfinished, DIGITS, tmp_path, quiet=True)
    (tmp_path / "model.keras").unlink()
    fewer = replace(DIGITS, splits={**DIGITS.splits, "train": 1000})
    with pytest.raises(
        UserError, match=r"1,197 training images of 10 classes, .* then, 1,000 training images"
    ):
        train(unfinished, fewer, tmp_path, quiet=True)
    renamed = replace(DIGITS, label_names=("zero", *DIGITS.label_names[1:]))
    with pytest.raises(UserError, match="classes or files of digits have been renamed, moved or exchanged"):
        train(unfinished, renamed, tmp_path, quiet=True)


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
        settings(architecture=SHALLOW["resnet50"], image_size=16)


def test_a_diverging_run_says_where_and_what_to_do(tmp_path):
    wild = settings(overrides={"learning_rate": 1e30, "gradient_clip": None, "epochs": 2})
    wild = replace(wild, recipe=replace(wild.recipe, schedule="drops", drops=()))
    with pytest.raises(UserError, match=r"not a finite number at step \d+.*--learning-rate"):
        train(wild, DIGITS, tmp_path, quiet=True)


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    diverging = settings(overrides={**ONE_STEP, "learning_rate": 3e38, "weight_decay": 1e38})
    with pytest.raises(UserError, match=r"not a finite number at step 1; no checkpoint yet"):
        train(diverging, DIGITS, tmp_path, quiet=True)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["status"] == "failed" and "not a finite number" in record["error"]
    assert latest_checkpoint(tmp_path) is None and not (tmp_path / "model.keras").exists()


def test_an_unwritable_folder_is_one_line(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UserError, match="cannot write"):
        train(settings(), DIGITS, blocked / "run", quiet=True)


def test_a_lost_best_epoch_is_said(tmp_path):
    with pytest.raises(UserError, match="best epoch cannot be read"):
        best_checkpoint(tmp_path)

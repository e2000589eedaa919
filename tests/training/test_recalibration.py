"""`recalibrate` on files and run folders."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from small_runs import DIGITS, ONE_STEP, grey_folder, settings

import keras_resnet
from keras_resnet.data.sources import hold_out, open_dataset
from keras_resnet.errors import UserError
from keras_resnet.saving import load_model
from keras_resnet.training import recalibration
from keras_resnet.training.recalibration import recalibrate_file
from keras_resnet.training.run import train
from keras_resnet.weights.state import get_state


def test_recalibration_in_place_forgets_what_was_measured(finished, tmp_path, capsys):
    for name in ("run.json", "model.keras"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    (tmp_path / "evaluation-single.json").write_text("{}")
    recalibrate_file(str(tmp_path), batches=2, batch_size=64)
    assert not (tmp_path / "evaluation-single.json").exists()
    assert "top1_error" in load_model(finished).info.results
    assert load_model(tmp_path).info.results == {}
    before, after = (get_state(keras_resnet.load(folder)) for folder in (finished, tmp_path))
    assert not np.array_equal(before["conv1_bn/moving_mean"], after["conv1_bn/moving_mean"])
    np.testing.assert_array_equal(before["conv1_conv/kernel"], after["conv1_conv/kernel"])
    train(settings(), DIGITS, tmp_path)
    assert "is already trained (its errors are those before it was recalibrated" in capsys.readouterr().err


def test_a_run_is_recalibrated_with_the_images_that_it_trained_on(tmp_path, monkeypatch):
    data = hold_out(open_dataset(str(grey_folder(tmp_path / "data"))), images=4)
    chosen = settings(
        data=data,
        overrides=ONE_STEP,
        recipe="cifar-fast",
        hold_out=4,
        split="train[:50%]",
    )
    train(chosen, data, tmp_path / "run", quiet=True)
    seen: set[int] = set()

    def look(model, batches):
        seen.update(int(level) for images, _ in batches for level in images[:, 0, 0, 0])

    monkeypatch.setattr(recalibration, "recalibrate", look)
    recalibrate_file(str(tmp_path / "run"), batch_size=2)
    assert len(seen) == 14 and max(seen) < 16  # of the 28 that were not held out, in order
    seen.clear()
    recalibrate_file(str(tmp_path / "run" / "model.keras"), batch_size=2)
    assert len(seen) == 14  # that file is the run
    seen.clear()
    (tmp_path / "run" / "model.keras").rename(tmp_path / "other.keras")
    recalibrate_file(str(tmp_path / "other.keras"), batch_size=2)
    assert len(seen) == 32


def test_unreadable_images_have_a_limit(finished, tmp_path):
    data = grey_folder(tmp_path / "data")
    images = sorted((data / "train").rglob("*.png"))
    for image in images[::4]:
        image.write_bytes(b"broken")
    arguments = {"dataset": str(data), "output": str(tmp_path / "m.keras"), "batch_size": 8}
    with pytest.raises(UserError, match=r"8 of 32 images of split 'train' are unreadable.*--skip-limit"):
        recalibrate_file(str(finished), **arguments)
    assert not (tmp_path / "m.keras").exists()
    assert recalibrate_file(str(finished), skip_limit=0.3, **arguments).exists()


def test_a_model_without_batch_normalisation_is_refused(monkeypatch):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    monkeypatch.setattr(recalibration, "load_model", lambda path: SimpleNamespace(model=model))
    with pytest.raises(UserError, match="no batch normalisation"):
        recalibrate_file("vgg16.keras")

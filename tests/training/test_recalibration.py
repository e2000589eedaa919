"""`recalibrate` on files and run folders."""

from __future__ import annotations

import numpy as np

import keras_resnet
from keras_resnet.training.recalibration import recalibrate_file
from keras_resnet.weights.state import get_state


def test_recalibration_in_place_forgets_what_was_measured(finished, tmp_path):
    for name in ("run.json", "model.keras"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    (tmp_path / "evaluation-single.json").write_text("{}")
    recalibrate_file(str(tmp_path), batches=2, batch_size=64)
    assert not (tmp_path / "evaluation-single.json").exists()
    before, after = (get_state(keras_resnet.load(folder)) for folder in (finished, tmp_path))
    assert not np.array_equal(before["conv1_bn/moving_mean"], after["conv1_bn/moving_mean"])
    np.testing.assert_array_equal(before["conv1_conv/kernel"], after["conv1_conv/kernel"])

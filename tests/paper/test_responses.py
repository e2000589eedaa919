"""Figure 7: responses measured inside the network against the same computed by hand."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image
from saved_networks import random_model, tiny

from keras_resnet.errors import UserError
from keras_resnet.layers import BN_EPSILON
from keras_resnet.paper import answers, figures
from keras_resnet.paper.responses import measure_responses, responses_of
from keras_resnet.saving import ModelInfo, load_model, save_model
from keras_resnet.weights.state import get_state, set_state


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(3).integers(0, 256, (6, 16, 16, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", ["resnet20", "plain20"])
def test_the_response_is_after_batch_norm_and_before_relu_and_addition(name, images):
    model = random_model(tiny(name, blocks=1), input_shape=(16, 16, 3))
    found = measure_responses(model, [images[:4], images[4:]])
    assert found.images == 6
    assert found.layers == (
        "conv1_conv",
        *(f"conv{stage}_block1_conv{j}" for stage in (2, 3, 4) for j in (1, 2)),
    )
    inside = keras.Model(model.input, [model.get_layer(layer).output for layer in found.layers])
    for layer, std, x in zip(found.layers, found.stds, inside(images, training=False), strict=True):
        norm = "conv1_bn" if layer == "conv1_conv" else "bn".join(layer.rsplit("conv", 1))
        gamma, beta, mean, variance = (np.array(w) for w in model.get_layer(norm).get_weights())
        by_hand = (np.array(x) - mean) / np.sqrt(variance + BN_EPSILON) * gamma + beta
        assert std == pytest.approx(float(by_hand.std()), rel=1e-4)


@pytest.mark.parametrize("name", ["resnet20", "plain20"])
def test_scanned_stages_are_measured_block_by_block(name, images):
    unrolled = random_model(tiny(name, blocks=3), input_shape=(16, 16, 3))
    scanned = random_model(tiny(name, blocks=3), input_shape=(16, 16, 3), scanned=True)
    set_state(scanned, get_state(unrolled))
    one, other = (measure_responses(model, [images]) for model in (unrolled, scanned))
    assert one.layers == other.layers
    np.testing.assert_allclose(one.stds, other.stds, rtol=1e-4)


def test_only_3x3_layers_of_bottlenecks(images):
    model = random_model(tiny("resnet50", blocks=1), input_shape=(32, 32, 3))
    found = measure_responses(model, [np.repeat(np.repeat(images, 2, 1), 2, 2)])
    assert found.layers == tuple(f"conv{stage}_block1_conv2" for stage in (2, 3, 4, 5))


@pytest.fixture
def run(tmp_path):
    """A run folder of a narrow network for three classes, trained on digits, as its description says."""
    architecture = tiny("resnet20", blocks=1)
    info = ModelInfo(architecture, ("cat", "dog", "émeu"), 16, 16, dataset="digits")
    save_model(random_model(architecture, input_shape=(16, 16, 3)), info, tmp_path / "run" / "model.keras")
    return tmp_path / "run"


def test_only_responses_on_a_runs_own_data_are_kept_in_its_folder(run, tmp_path):
    """A report shows them beside the run's errors, without a word on other data."""
    for name in ("a", "b"):
        (tmp_path / "others" / "test" / name).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (16, 16), (100 * i, 50, 20)).save(
                tmp_path / "others" / "test" / name / f"{i}.png"
            )
    [(_, found)] = responses_of([str(run)], str(tmp_path / "others"))
    assert (found.images, len(found.stds)) == (4, 7)
    assert not (run / "responses.json").exists()
    responses_of([str(run)])
    assert json.loads((run / "responses.json").read_text())["dataset"] == "digits"


def test_a_run_is_measured_on_what_it_held_out(run, tmp_path):
    for i in range(12):
        folder = tmp_path / "photos" / "train" / ("cat", "dog", "émeu")[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (20 * i, 50, 20)).save(folder / f"{i}.png")
    photos = str(tmp_path / "photos")
    with pytest.raises(UserError, match="nothing to validate on"):
        responses_of([str(run)], photos)
    assert responses_of([str(run)], photos, held_out=6)[0][1].images == 6
    saved = load_model(run)
    save_model(saved.model, replace(saved.info, dataset=photos), run / "model.keras")
    (run / "run.json").write_text(json.dumps({"settings": {"hold_out": 3}}))
    assert responses_of([str(run)])[0][1].images == 3


def test_without_matplotlib_responses_are_told_without_a_plot(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    found = answers.responses_of_models([str(run)], None, None, workdir=tmp_path)
    assert len(found.data["responses"][0]["std"]) == 7
    assert found.data["plot"] is None
    assert "not drawn: plots need matplotlib" in found.notes[0]
    (run / "responses.json").unlink()
    with pytest.raises(UserError, match="plots need matplotlib"):  # asked for, and told before measuring
        answers.responses_of_models([str(run)], None, None, workdir=tmp_path, output=tmp_path / "a.png")
    assert not (run / "responses.json").exists()


def test_networks_without_such_layers_are_refused(images):
    image = keras.Input((16, 16, 3))
    with pytest.raises(UserError, match="no 3×3 layers"):
        measure_responses(keras.Model(image, keras.layers.ReLU()(image)), [images])


def test_the_plot_holds_all_responses():
    figure = figures.responses([("plain-20", [1.0, 6.3]), ("ResNet-20", [1.1, 0.9])])
    for ax in figure.axes:
        low, high = ax.get_ylim()
        assert low == 0 and high > 6.3

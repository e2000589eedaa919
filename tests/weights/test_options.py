"""Options that no tensor's shape shows: our own files name them, others are warned of."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file
from saved_networks import random_model, tiny

from keras_resnet import ResNet20, weights
from keras_resnet.architectures import get_architecture
from keras_resnet.errors import UserError
from keras_resnet.saving import ModelInfo, load_model, save_model
from keras_resnet.weights import export_weights, import_weights, load_into
from keras_resnet.weights.initial import initial_state
from keras_resnet.weights.safetensors_files import read_metadata
from keras_resnet.weights.state import get_state
from keras_resnet.weights.torch_names import to_torch

from .networks import random_state
from .torch_pickles import write_checkpoint

LABELS = ("a", "b", "c")


@pytest.fixture
def narrow(monkeypatch):
    """`import_weights` knows a ResNet-50 of one narrow block a stage."""

    def get(name, shortcut=None, downsample=None):
        get_architecture(name, shortcut, downsample)
        return tiny(name, shortcut, downsample, blocks=1)

    monkeypatch.setattr(weights, "get_architecture", get)


@pytest.mark.parametrize(
    ("kind", "shortcut", "downsample"), [("safetensors", "B", "1x1"), ("keras", "C", "3x3")]
)
def test_files_of_ours_keep_their_options(narrow, monkeypatch, tmp_path, kind, shortcut, downsample):
    architecture = tiny("resnet50", shortcut, downsample, blocks=1)
    model = random_model(architecture)
    file = save_model(model, ModelInfo(architecture, LABELS, 64, 64), tmp_path / "m.keras")
    if kind == "safetensors":
        saved = load_model(file)
        object.__setattr__(saved.info, "architecture", architecture)  # a description names no narrow blocks
        monkeypatch.setattr("keras_resnet.saving.load_model", lambda path: saved)
        file = export_weights(file, output=tmp_path / "m.safetensors")
    output = import_weights(file, "resnet50", output=tmp_path / "again.keras")
    monkeypatch.undo()
    again = load_model(output)
    assert (again.info.architecture.shortcut, again.info.architecture.downsample) == (shortcut, downsample)
    state = get_state(model)
    for name, array in get_state(again.model).items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)


def test_what_is_named_goes_before_what_the_file_tells(narrow, tmp_path):
    architecture = tiny("resnet50", blocks=1)
    info = ModelInfo(architecture, LABELS, 64, 64)
    file = save_model(random_model(architecture), info, tmp_path / "m.keras")
    output = import_weights(file, "resnet50", downsample="3x3", output=tmp_path / "again.keras")
    assert load_model(output).info.architecture.downsample == "3x3"


@pytest.mark.parametrize(("downsample", "warned"), [("1x1", True), ("3x3", False)])
def test_strides_elsewhere_are_warned_of_where_nothing_else_shows_them(tmp_path, caplog, downsample, warned):
    architecture = tiny("resnet50", downsample=downsample, blocks=1)
    model = random_model(architecture)
    path = write_checkpoint(tmp_path / "torchvision.pth", to_torch(get_state(model), architecture))
    for load in (
        lambda: load_into(model, path, architecture),
        lambda: initial_state(str(path), architecture),
    ):
        caplog.clear()
        load()
        assert ("build it with downsample='3x3'" in caplog.text) == warned


def test_a_keras_file_with_its_strides_elsewhere_is_warned_of(tmp_path, caplog):
    theirs, ours = (tiny("resnet50", downsample=where, blocks=1) for where in ("3x3", "1x1"))
    model = random_model(theirs)
    path = save_model(model, ModelInfo(theirs, LABELS, 64, 64), tmp_path / "m.keras")
    load_into(model, path, theirs)
    assert caplog.text == ""
    load_into(random_model(ours), path, ours)
    assert "strides in the 3x3 convolutions, this resnet50 has them in the 1x1 ones" in caplog.text


@pytest.fixture
def mean_image_file(tmp_path):
    architecture = get_architecture("resnet20")
    image = np.random.default_rng(0).uniform(100, 150, (24, 24, 3)).astype("float32")
    model = random_model(architecture, mean=image, std=(1, 1, 1), input_shape=(24, 24, 3))
    return save_model(model, ModelInfo(architecture, LABELS, 24, 24), tmp_path / "m.keras")


def test_a_mean_image_is_not_left_out_without_a_word(mean_image_file, tmp_path, caplog):
    path = export_weights(mean_image_file, output=tmp_path / "m.safetensors")
    assert "mean" not in read_metadata(path)
    assert "subtracts a mean image" in caplog.text


def test_a_mean_image_says_which_images_its_network_takes(mean_image_file, tmp_path):
    again = load_model(import_weights(mean_image_file, "resnet20", output=tmp_path / "again.keras"))
    assert (again.info.image_size, again.model.input_shape) == (24, (None, 24, 24, 3))


def test_weights_with_a_mean_image_fill_a_network_of_its_size_or_of_another(mean_image_file):
    own = load_model(mean_image_file).model
    model = ResNet20(weights=mean_image_file, classes=3)
    images = np.random.default_rng(1).uniform(0, 255, (2, 24, 24, 3)).astype("float32")
    assert model.input_shape == (None, 24, 24, 3)
    np.testing.assert_allclose(model(images), own(images), atol=1e-6)
    larger = ResNet20(weights=mean_image_file, classes=3, input_shape=(32, 32, 3))
    mean = own.get_layer("normalization").mean
    np.testing.assert_allclose(larger.get_layer("normalization").mean, np.mean(mean, (0, 1)), rtol=1e-6)
    assert ResNet20(weights=mean_image_file, include_top=False).output_shape == (None, 6, 6, 64)


def test_what_a_keras_file_says_of_its_model_is_kept(tmp_path):
    architecture = get_architecture("resnet18")
    info = ModelInfo(architecture, LABELS, 64, 80, "pets", "finetune", {"top1_error": 12.5})
    file = save_model(random_model(architecture), info, tmp_path / "m.keras")
    again = import_weights(file, "resnet18", output=tmp_path / "again.keras")
    assert load_model(again).info == info
    grey = import_weights(file, "resnet18", mean=(128,) * 3, std=(64,) * 3, output=tmp_path / "grey.keras")
    assert load_model(grey).info == replace(info, results={})  # those of another function


def test_a_classifier_without_bias_gets_one_of_zeros(tmp_path):
    architecture = get_architecture("resnet20")
    body = random_model(architecture, include_top=False, pooling="avg")
    logits = keras.layers.Dense(3, use_bias=False, name="predictions")(body.output)
    keras.Model(body.input, logits).save(tmp_path / "m.keras")
    path = export_weights(tmp_path / "m.keras", output=tmp_path / "m.safetensors")
    again = ResNet20(weights=path, classes=3, classifier_activation=None)
    images = np.random.default_rng(1).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(again(images), keras.Model(body.input, logits)(images), atol=1e-5)


def test_a_network_without_classifier_is_not_exported(tmp_path):
    random_model(get_architecture("resnet20"), include_top=False).save(tmp_path / "m.keras")
    with pytest.raises(UserError, match=r"m\.keras has no classifier: only whole networks are exported"):
        export_weights(tmp_path / "m.keras", output=tmp_path / "m.safetensors")
    assert not (tmp_path / "m.safetensors").exists()


def test_means_may_be_arrays_and_one_alone_leaves_the_other_neutral(tmp_path):
    architecture = get_architecture("resnet20")
    tensors = to_torch(get_state(random_model(architecture)), architecture)
    path = write_checkpoint(tmp_path / "r20.pth", tensors)
    mean = np.array([0.0, 1, 2])
    output = import_weights(path, "resnet20", mean=mean, output=tmp_path / "m.keras")
    state = get_state(load_model(output).model)
    np.testing.assert_array_equal(state["normalization/mean"], mean)
    np.testing.assert_array_equal(state["normalization/std"], [1, 1, 1])


def test_a_file_that_does_not_fit_is_named(tmp_path):
    architecture = tiny("resnet20", blocks=1)
    model = random_model(architecture)
    path = write_checkpoint(tmp_path / "other.pth", to_torch(get_state(model), architecture))
    with pytest.raises(UserError, match=r"other\.pth: this is not a resnet20 .*; missing"):
        load_into(model, path, get_architecture("resnet20"))


def test_a_file_that_cannot_be_written_is_named_and_nothing_is_left(mean_image_file, tmp_path, monkeypatch):
    (tmp_path / "taken.safetensors").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*taken\.safetensors"):
        export_weights(mean_image_file, output=tmp_path / "taken.safetensors")

    def full(path, data):
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(UserError, match=r"cannot write .*m\.safetensors: No space left on device"):
        export_weights(mean_image_file, output=tmp_path / "m.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.keras", "taken.safetensors"]


@pytest.mark.parametrize(
    ("mean", "std"), [("abc", "1,1,1"), ("1,2", "1,1,1"), ("1,2,nan", "1,1,1"), ("1,2,3", "1,0,1")]
)
def test_notes_that_are_no_numbers_are_named(tmp_path, mean, std):
    architecture = get_architecture("resnet20")
    tensors = to_torch(random_state(architecture, 10), architecture)
    save_file(tensors, tmp_path / "x.safetensors", metadata={"mean": mean, "std": std})
    with pytest.raises(UserError, match=r"x\.safetensors: its note of the (mean|std) is not three numbers"):
        import_weights(tmp_path / "x.safetensors", "resnet20", output=tmp_path / "m.keras")

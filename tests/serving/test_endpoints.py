from __future__ import annotations

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from saved_networks import picture, pixels, random_model, saved_network, tiny

from keras_resnet.builders import build_model
from keras_resnet.errors import UsageError, UserError
from keras_resnet.export import export_model
from keras_resnet.saving import ModelInfo, save_model
from keras_resnet.serving import endpoints
from keras_resnet.serving.endpoints import load_served
from keras_resnet.serving.page import look_at

pytestmark = pytest.mark.usefixtures("shallow_networks")
FILES = np.array([picture("PNG", 1), picture("JPEG", 2)], object)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("home")
    saved_network(home / "run" / "model.keras", classes=7)
    (home / "run" / "run.json").write_text("{}")
    for _ in range(2):
        export_model(str(home / "run"), str(home / "pets"))
    return home


@pytest.fixture(scope="module")
def exported(home):
    return load_served(str(home / "pets"))


def test_a_folder_of_versions_is_served_by_its_newest(home, exported):
    assert (exported.name, exported.version) == ("pets", 2)
    assert (load_served(str(home / "pets" / "1")).name, load_served(str(home / "pets" / "1")).version) == (
        "pets",
        1,
    )
    assert load_served(str(home / "run")).name == "run"
    assert load_served(str(home / "run"), "other").name == "other"
    with pytest.raises(UsageError, match="a name in the URL cannot have a slash: 'a/b'"):
        load_served(str(home / "run"), "a/b")


def test_a_run_is_served_under_the_name_of_its_folder(home, tmp_path):
    shutil.copytree(home / "run", tmp_path / "digits-lr0.1")
    assert load_served(tmp_path / "digits-lr0.1").name == "digits-lr0.1"
    assert load_served(tmp_path / "digits-lr0.1" / "model.keras").name == "digits-lr0.1"


def test_every_form_has_the_same_endpoints_and_answers(home, exported):
    run = load_served(str(home / "run"))
    assert sorted(run.endpoints) == sorted(exported.endpoints)
    images = {"images": np.stack([pixels(seed, 32, 32) for seed in range(2)]).astype(np.float32)}
    for name, endpoint in run.endpoints.items():
        assert (endpoint.inputs, endpoint.outputs) == (
            exported.endpoints[name].inputs,
            exported.endpoints[name].outputs,
        )
        arrays = {"image_bytes": FILES} if name == "classify_bytes" else images
        ours, theirs = endpoint.run(arrays), exported.endpoints[name].run(arrays)
        assert sorted(ours) == sorted(theirs) == sorted(endpoint.outputs)
        for key in ours:
            if key == "top_labels":
                assert ours[key].tolist() == theirs[key].tolist()
            else:
                scale = max(1, float(np.abs(theirs[key]).max()))  # of the maps
                np.testing.assert_allclose(ours[key], theirs[key], rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize(
    ("name", "activation"), [("vgg16", "softmax"), ("plain20", "sigmoid"), ("resnet20", None)]
)
def test_networks_of_every_kind_have_features_and_a_heat_map(name, activation, tmp_path):
    architecture = tiny(name, blocks=1)
    small = random_model(architecture, input_shape=(32, 32, 3), classifier_activation=activation)
    info = ModelInfo(architecture, ("a", "b", "c"), 32, 32)
    served = load_served(save_model(small, info, tmp_path / "m.keras"))
    images = {"images": np.stack([pixels(seed, 32, 32) for seed in range(2)]).astype(np.float32)}
    found = served.endpoints["features"].run(images)
    head = small.get_layer("predictions")
    np.testing.assert_allclose(head(found["features"]), small(images["images"]), rtol=0, atol=1e-5)
    assert found["C4"].shape == ((2, 4, 4, 128) if name == "vgg16" else (2, 8, 8, 64))
    explained = served.endpoints["explain"].run(images)
    assert explained["heatmap"].shape[0] == 2 and explained["heatmap"].max() == 1
    classified = served.endpoints["serving_default"].run(images)["probabilities"]
    np.testing.assert_allclose(explained["probabilities"], classified, rtol=0, atol=1e-6)
    assert look_at(picture("PNG", 1), served)["overlay"] is not None


def test_a_classifier_without_bias_is_explained(tmp_path):
    body = random_model(tiny("resnet20", blocks=1), input_shape=(32, 32, 3), include_top=False, pooling="avg")
    logits = keras.layers.Dense(3, "softmax", use_bias=False, name="predictions")(body.output)
    keras.Model(body.input, logits, name="resnet20").save(tmp_path / "m.keras")
    served = load_served(tmp_path / "m.keras")
    images = {"images": pixels(1, 32, 32)[None].astype(np.float32)}
    explained, classified = (served.endpoints[name].run(images) for name in ("explain", "serving_default"))
    np.testing.assert_allclose(explained["probabilities"], classified["probabilities"], atol=1e-6)


def test_a_network_of_oblong_images_is_named(tmp_path):
    random_model(tiny("resnet20", blocks=1), input_shape=(32, 48, 3)).save(tmp_path / "m.keras")
    with pytest.raises(UserError, match=r"m\.keras takes images of 32 × 48 pixels; only squares"):
        load_served(tmp_path / "m.keras")


def test_a_network_with_a_head_of_its_own_is_explained(tmp_path):
    body = random_model(tiny("resnet20", blocks=1), input_shape=(32, 32, 3), include_top=False)
    maps = keras.layers.Flatten()(body.output)
    keras.Model(body.input, keras.layers.Dense(3, "sigmoid")(maps)).save(tmp_path / "m.keras")
    served = load_served(tmp_path / "m.keras")
    shown = look_at(picture("PNG", 1), served)
    assert len(shown["top"]) == 3 and shown["overlay"] is not None


def test_the_model_behind_heat_maps_is_built_once(home, monkeypatch):
    built = []
    of = endpoints.look_inside
    monkeypatch.setattr(endpoints, "look_inside", lambda model: built.append(model) or of(model))
    served = load_served(str(home / "run"))
    run = served.endpoints["explain"].run
    views = [{"images": pixels(seed, 32, 32)[None].astype(np.float32)} for seed in (1, 2, 1)]
    first, second, again = (run(view)["heatmap"] for view in views)
    assert len(built) == 1
    assert np.abs(first - second).max() > 0.01
    np.testing.assert_array_equal(first, again)


def test_a_network_without_classifier_is_named(tmp_path):
    architecture = tiny("resnet20", blocks=1)
    model = build_model(architecture, include_top=False, pooling="avg")
    path = tmp_path / "m.keras"
    model.save(path)
    with pytest.raises(UserError, match=r"m\.keras has no classifier: it ends in"):
        load_served(path)


def test_keras_on_another_backend_is_named(home, monkeypatch):
    monkeypatch.setattr("keras_resnet.layers.on_tensorflow", lambda: False)
    with pytest.raises(UserError, match="serving needs Keras on TensorFlow"):
        load_served(home / "run")


@pytest.mark.parametrize("form", ["run", "pets"])
def test_bytes_that_are_no_image_are_an_error_of_the_call(home, form):
    endpoint = load_served(str(home / form)).endpoints["classify_bytes"]
    with pytest.raises(tf.errors.InvalidArgumentError):
        endpoint.run({"image_bytes": np.array([b"hello"], object)})
    assert endpoint.run({"image_bytes": FILES})["top_labels"].shape == (2, 5)


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no model at .*nowhere"):
        load_served(str(tmp_path / "nowhere"))

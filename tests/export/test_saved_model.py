"""What an operator does with an exported SavedModel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from saved_networks import bomb, picture, random_model, saved_network, tiny

from keras_resnet.data.views import EvalView, image_to_view
from keras_resnet.evaluation.explain import look_inside
from keras_resnet.export import export_model
from keras_resnet.export.folding import fold
from keras_resnet.export.saved_model import Exported, write
from keras_resnet.saving import ModelInfo, load_model
from keras_resnet.weights.state import get_state

FILES = [picture("PNG", 1), picture("JPEG", 2), picture("BMP", 3), picture("GIF", 4, height=64, width=33)]


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory) -> Path:
    return saved_network(tmp_path_factory.mktemp("models") / "pets.keras", classes=7)


@pytest.fixture(scope="module")
def folder(keras_file) -> Path:
    return Path(export_model(str(keras_file), str(keras_file.parent / "export"), ten_crop=True).path)


@pytest.fixture(scope="module")
def exported(folder):
    return tf.saved_model.load(str(folder))


@pytest.fixture(scope="module")
def model(keras_file):
    return load_model(keras_file).model


def view(contents, name="single"):
    return image_to_view(tf.constant(contents), EvalView(name, 32, 36))


def test_images_of_any_number_give_the_models_probabilities(exported, model):
    for count in (1, 3):
        images = tf.stack([view(contents) for contents in FILES[:count]])
        answer = exported.signatures["serving_default"](images=tf.cast(images, tf.float32))
        np.testing.assert_allclose(answer["probabilities"], model(images), rtol=0, atol=1e-6)


def test_files_of_every_format_give_probabilities_and_the_best_labels(exported, model):
    answer = exported.signatures["classify_bytes"](image_bytes=tf.constant(FILES))
    expected = model(tf.stack([view(contents) for contents in FILES])).numpy()
    np.testing.assert_allclose(answer["probabilities"], expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(answer["top_probabilities"], -np.sort(-expected)[:, :5], rtol=0, atol=1e-6)
    labels = ["cat", "dog", "émeu", "class 0", "class 1", "class 2", "class 3"]
    assert answer["top_labels"].shape == (4, 5)
    assert [row[0].decode() for row in answer["top_labels"].numpy()] == [
        labels[best] for best in expected.argmax(1)
    ]


def test_ten_crops_are_averaged(exported, model):
    answer = exported.signatures["classify_10_crop"](image_bytes=tf.constant(FILES[:2]))
    expected = [model(view(contents, "10-crop")).numpy().mean(0) for contents in FILES[:2]]
    np.testing.assert_allclose(answer["probabilities"], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "contents",
    [b"", b"hello", FILES[1][:-200], FILES[0][:60], bomb(), picture("TIFF")],
    ids=["empty", "text", "cut JPEG", "cut PNG", "bomb", "TIFF"],
)
def test_bad_bytes_are_an_error_of_their_request_only(exported, contents):
    classify = exported.signatures["classify_bytes"]
    with pytest.raises(tf.errors.InvalidArgumentError):
        classify(image_bytes=tf.constant([FILES[0], contents]))
    assert classify(image_bytes=tf.constant(FILES[:1]))["probabilities"].shape == (1, 7)


def test_features_are_those_that_the_classifier_sees(exported, model):
    images = tf.cast(tf.stack([view(contents) for contents in FILES]), tf.float32)
    answer = exported.signatures["features"](images=images)
    assert sorted(answer) == ["C2", "C3", "C4", "features"]
    np.testing.assert_allclose(answer["features"], tf.reduce_mean(answer["C4"], [1, 2]), rtol=0, atol=1e-5)
    head = model.get_layer("predictions")
    np.testing.assert_allclose(head(answer["features"]), model(images), rtol=0, atol=1e-6)


def test_the_heat_map_is_grad_cam(exported, model):
    images = tf.stack([view(contents) for contents in FILES])
    answer = exported.signatures["explain"](images=tf.cast(images, tf.float32))
    expected = look_inside(model)(images)["heatmap"]
    np.testing.assert_allclose(answer["heatmap"], expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(answer["probabilities"], model(images), rtol=0, atol=1e-6)


def test_the_constants_are_stored_once(folder, model):
    assert (folder / "saved_model.pb").stat().st_size < 2 * 4 * model.count_params()


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("bfloat16", 0.02)])
def test_vggs_connected_layers_are_variables_which_load_without_copies(tmp_path, precision, tolerance):
    architecture = tiny("vgg16", blocks=1)
    network = random_model(architecture, input_shape=(32, 32, 3))
    info = ModelInfo(architecture, ("a", "b", "c"), 32, 32)
    write(fold(architecture, get_state(network)), info, precision, (32, 32), False, tmp_path)
    images = tf.stack([view(contents) for contents in FILES])
    np.testing.assert_allclose(Exported(tmp_path)(images.numpy()), network(images), rtol=0, atol=tolerance)
    item = 4 if precision == "float32" else 2
    kernels = item * 4096 * (256 + 4096)  # of fc1 and fc2
    assert kernels <= sum(file.stat().st_size for file in (tmp_path / "variables").iterdir()) < 1.01 * kernels
    assert (tmp_path / "saved_model.pb").stat().st_size < kernels / 10


def test_a_process_with_nothing_but_tensorflow_classifies(folder, exported, tmp_path):
    image = tmp_path / "image.png"
    image.write_bytes(FILES[0])
    program = f"""
import importlib.machinery, json, sys
find = importlib.machinery.PathFinder.find_spec
hidden = ("keras", "keras_resnet", "tf_keras")
importlib.machinery.PathFinder.find_spec = staticmethod(
    lambda name, *place: None if name.split(".")[0] in hidden else find(name, *place)
)
import tensorflow as tf
model = tf.saved_model.load({str(folder)!r})
answer = model.signatures["classify_bytes"](image_bytes=tf.constant([open({str(image)!r}, "rb").read()]))
label = answer["top_labels"][0, 0].numpy().decode()
ours = [name for name in hidden if name in sys.modules]
print(json.dumps([label, float(answer["top_probabilities"][0, 0]), ours]))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    label, probability, ours = json.loads(run.stdout)
    here = exported.signatures["classify_bytes"](image_bytes=tf.constant(FILES[:1]))
    assert label == here["top_labels"][0, 0].numpy().decode()
    assert probability == pytest.approx(float(here["top_probabilities"][0, 0]), abs=1e-6)
    assert ours == []


def test_keras_reads_it_as_a_layer(folder, model):
    import keras

    layer = keras.layers.TFSMLayer(str(folder), call_endpoint="serving_default")
    images = tf.cast(tf.stack([view(FILES[0])]), tf.float32)
    np.testing.assert_allclose(layer(images)["probabilities"], model(images), rtol=0, atol=1e-6)

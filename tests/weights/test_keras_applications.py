"""keras.applications' networks, with random weights and statistics, against ours: the same logits."""

from __future__ import annotations

import os

import keras
import numpy as np
import pytest

import keras_resnet
from keras_resnet.architectures import ARCHITECTURES
from keras_resnet.errors import UserError
from keras_resnet.weights import import_weights, load_into
from keras_resnet.weights.files import read_weights
from keras_resnet.weights.keras_applications import from_keras_applications
from keras_resnet.weights.keras_files import read_h5

from .networks import assert_equal_logits, pixels, random_array

h5py = pytest.importorskip("h5py")


def their_network(name: str, **arguments) -> keras.Model:
    function = getattr(keras.applications, name)
    model = function(weights=None, classifier_activation=None, **arguments)
    generator = np.random.default_rng(0)
    for layer in model.layers:
        for variable in layer.weights:
            variable.assign(random_array(f"{layer.name}/{variable.name}", tuple(variable.shape), generator))
    return model


def caffe(images: np.ndarray) -> np.ndarray:
    return keras.applications.imagenet_utils.preprocess_input(images.astype("float32"), mode="caffe")


@pytest.fixture(scope="module")
def resnet50():
    return their_network("ResNet50", classes=12, input_shape=(64, 64, 3))


def legacy_h5(model: keras.Model, path) -> None:
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)


def published_h5(model: keras.Model, path) -> None:
    """With the names of the files that keras.applications downloads, which Keras reads by order."""
    legacy_h5(model, path)
    with h5py.File(path, "r+") as file:
        layers = [os.fsdecode(name) for name in file.attrs["layer_names"]]  # bytes, or texts
        if "predictions" in layers and "fc1" not in layers:
            file.move("predictions", "probs")
            file.attrs["layer_names"] = [name.replace("predictions", "probs") for name in layers]
        elif "block1_conv1" in layers:
            for layer in layers:
                group, names = file[layer], []
                for old, new in zip(group.attrs["weight_names"], ("W", "b"), strict=False):
                    names.append(f"{layer}_{new}_1:0")
                    group.move(old, names[-1])
                group.attrs["weight_names"] = names


@pytest.mark.parametrize("include_top", [True, False])
@pytest.mark.parametrize("name", ["ResNet50", "VGG16"])
def test_files_as_keras_applications_publishes_them(name, include_top, tmp_path):
    arguments = {"input_shape": (32, 32, 3), "include_top": include_top}
    arguments |= {"classes": 12} if include_top else {}
    theirs = their_network(name, **arguments)
    published_h5(theirs, tmp_path / "published.h5")
    images = pixels(2, 32)
    again = getattr(keras.applications, name)(weights=None, classifier_activation=None, **arguments)
    again.load_weights(tmp_path / "published.h5")  # Keras reads these names too
    np.testing.assert_array_equal(again(caffe(images)), theirs(caffe(images)))
    ours = keras_resnet.build(
        name.lower(), weights=tmp_path / "published.h5", classifier_activation=None, **arguments
    )
    assert_equal_logits(ours(images), theirs(caffe(images)))


def test_a_keras_file_of_theirs_is_not_taken_for_ours(tmp_path):
    """VGG's layers have the same names and shapes, but its pixels are BGR."""
    theirs = their_network("VGG16", classes=12, input_shape=(32, 32, 3))
    theirs.save(tmp_path / "theirs.keras")
    ours = keras_resnet.VGG16(
        weights=tmp_path / "theirs.keras", classes=12, input_shape=(32, 32, 3), classifier_activation=None
    )
    images = pixels(2, 32)
    assert_equal_logits(ours(images), theirs(caffe(images)))


@pytest.mark.parametrize("kind", ["weights.h5", "h5"])
def test_resnet50_from_a_file(resnet50, kind, tmp_path):
    path = tmp_path / f"model.{kind}"
    resnet50.save_weights(path) if kind == "weights.h5" else legacy_h5(resnet50, path)
    images = pixels(2, 64)
    ours = keras_resnet.ResNet50(weights=path, classes=12, classifier_activation=None)
    assert_equal_logits(ours(images), resnet50(caffe(images)))
    if kind == "h5":
        return
    imported = keras_resnet.load(import_weights(path, "resnet50", output=tmp_path / "model.keras"))
    np.testing.assert_allclose(imported(images), keras.ops.softmax(ours(images)), rtol=1e-4, atol=1e-6)
    # Without the classifier, the same feature map.
    headless = keras_resnet.ResNet50(weights=path, include_top=False)
    theirs = keras.Model(resnet50.input, resnet50.get_layer("conv5_block3_out").output)
    assert_equal_logits(headless(images), theirs(caffe(images)))


def test_a_file_without_classifier(tmp_path):
    theirs = their_network("ResNet50", include_top=False)
    theirs.save_weights(tmp_path / "notop.weights.h5")
    images = pixels(2, 64)
    ours = keras_resnet.ResNet50(weights=tmp_path / "notop.weights.h5", include_top=False)
    assert_equal_logits(ours(images), theirs(caffe(images)))
    with pytest.raises(UserError, match="has no classifier"):
        import_weights(tmp_path / "notop.weights.h5", "resnet50", output=tmp_path / "m.keras")
    with pytest.raises(UserError, match="missing: predictions/kernel, predictions/bias"):
        keras_resnet.ResNet50(weights=tmp_path / "notop.weights.h5")


@pytest.mark.peers
@pytest.mark.parametrize("name", ["ResNet101", "ResNet152", "VGG19"])
def test_deeper_networks_live(name):
    check_live(name)


def test_vgg16_live():
    check_live("VGG16")


def check_live(name: str) -> None:
    side = 32 if name.startswith("VGG") else 64
    theirs = their_network(name, classes=9, input_shape=(side, side, 3))
    tensors = {f"{layer.name}/{v.name}": v.numpy() for layer in theirs.layers for v in layer.weights}
    architecture = ARCHITECTURES[name.lower()]
    state = from_keras_applications(tensors, architecture)
    ours = keras_resnet.build(
        name.lower(), weights=None, classes=9, classifier_activation=None, input_shape=(side, side, 3)
    )
    from keras_resnet.weights.state import set_state

    set_state(ours, state)
    images = pixels(2, side)
    assert_equal_logits(ours(images), theirs(caffe(images)))


def test_a_network_that_was_fed_otherwise(resnet50, tmp_path):
    """`mean` and `std` say that RGB went in, so nothing is turned around."""
    resnet50.save_weights(tmp_path / "model.weights.h5")
    path = import_weights(
        tmp_path / "model.weights.h5",
        "resnet50",
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
        label_names=[f"class {i}" for i in range(12)],
        output=tmp_path / "model.keras",
    )
    images = pixels(2, 64)
    theirs = keras.ops.softmax(resnet50(images.astype("float32") / 127.5 - 1))
    np.testing.assert_allclose(keras_resnet.load(path)(images), theirs, rtol=1e-3, atol=1e-6)


def test_the_wrong_depth_is_named(resnet50, tmp_path):
    resnet50.save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(
        UserError, match=r"not keras.applications' resnet101; missing: conv4_block7_1_conv/kernel"
    ):
        read_weights(tmp_path / "model.weights.h5").state(ARCHITECTURES["resnet101"])
    with pytest.raises(UserError, match=r"keras\.applications has no resnet18"):
        read_weights(tmp_path / "model.weights.h5").state(ARCHITECTURES["resnet18"])


def test_our_own_weight_files(tmp_path):
    from dataclasses import replace

    from keras_resnet.builders import build_model
    from keras_resnet.weights.state import get_state

    for name, shortcut in (("resnet20", "A"), ("resnet20", "C"), ("resnet50", "B")):
        architecture = keras_resnet.architectures.get_architecture(name, shortcut)
        stages = tuple(replace(stage, blocks=3) for stage in architecture.stages)
        architecture = replace(architecture, stages=stages)
        mean = np.random.default_rng(0).uniform(0, 255, (32, 32, 3))
        scanned = build_model(architecture, classes=4, scanned=True, mean=mean, input_shape=(32, 32, 3))
        scanned.save_weights(tmp_path / "model.weights.h5")
        scanned.save(tmp_path / "model.keras")
        unrolled = build_model(architecture, classes=4, scanned=False, mean=mean * 0, input_shape=(32, 32, 3))
        load_into(unrolled, tmp_path / "model.weights.h5", architecture)
        state = get_state(scanned)
        for key, array in get_state(unrolled).items():
            np.testing.assert_array_equal(array, state[key], err_msg=key)


@pytest.mark.parametrize("kind", ["link", "external", "virtual", "claim"])
def test_weights_that_lie_in_other_files_are_not_read(kind, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.arange(4.0)
    (tmp_path / "secret").write_bytes(bytes(32))
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as file:
        if kind == "link":
            file["layers/a"] = h5py.ExternalLink("other.h5", "/")
        elif kind == "external":
            file.create_dataset("layers/a", (4,), "f8", external=[(str(tmp_path / "secret"), 0, 32)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout((4,), "f8")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "secret", (4,))
            file.create_virtual_dataset("layers/a", layout)
        else:
            file.create_dataset("layers/a", (10**12,), "f8", chunks=(1000,))
    message = "has fewer numbers than it claims" if kind == "claim" else "lies in another file"
    with pytest.raises(UserError, match=rf"model\.h5: layers/a {message}"):
        read_weights(path)


def test_an_array_of_many_names_is_in_memory_once(tmp_path):
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file["array"] = np.ones((3, 3), "f4")
        for index in range(3):
            variables = file.create_group(f"layers/{index}/vars")
            variables.attrs["name"] = f"layer{index}"
            variables["0"] = file["array"] if index < 2 else h5py.SoftLink("/array")
    first, second, third = read_h5(tmp_path / "model.h5").values()
    assert np.shares_memory(first, second) and np.shares_memory(first, third)


def test_texts_are_no_weights(tmp_path):
    """(Each of a million texts could be the same megabyte.)"""
    with h5py.File(tmp_path / "model.h5", "w") as file:
        variables = file.create_group("layers/a/vars")
        variables.attrs["name"] = "a"
        variables["0"] = ["a", "b"]
    with pytest.raises(UserError, match=r"model\.h5: /layers/a/vars/0 holds no numbers"):
        read_h5(tmp_path / "model.h5")


@pytest.mark.parametrize("kind", ["layers", "layer", "stack", "names", "scalar"])
def test_files_that_are_built_otherwise_are_one_line(kind, tmp_path):
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as file:
        if kind == "layers":
            file["layers"] = np.ones(3)
        elif kind == "layer":
            file["layers/a"] = np.ones(3)
        elif kind == "names":
            file.attrs["layer_names"] = 5
        else:
            variables = file.create_group("layers/a/vars")
            variables.attrs["name"] = "conv2_blocks" if kind == "stack" else "predictions"
            variables["0"] = np.ones((1, 3, 3, 2, 2) if kind == "stack" else ())
            if kind == "scalar":
                variables["1"] = np.ones(())
    with pytest.raises(UserError, match=r"model\.h5.*") as caught:
        import_weights(path, "resnet20", output=tmp_path / "m.keras")
    assert "\n" not in str(caught.value)


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "model.h5").touch()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(UserError, match=r"cannot read .*model\.h5: Permission denied"):
        read_weights(tmp_path / "model.h5")


def test_layers_that_the_network_is_built_upon_keep_their_weights(tmp_path):
    model = keras_resnet.ResNet20(classes=5)
    model.save(tmp_path / "model.keras")
    grey = keras.Input((32, 32, 1))
    colour = keras.layers.Conv2D(3, 1, kernel_initializer="ones", name="colour")(grey)
    again = keras_resnet.ResNet20(weights=tmp_path / "model.keras", input_tensor=colour, classes=5)
    images = pixels(2, 32)[..., :1]
    expected = model(images.repeat(3, axis=-1))
    np.testing.assert_allclose(again(images), expected, rtol=1e-5, atol=1e-7)


def test_a_keras_file_as_weights(tmp_path):
    model = keras_resnet.ResNet20(classes=5)
    model.save(tmp_path / "model.keras")
    again = keras_resnet.ResNet20(weights=tmp_path / "model.keras", classes=5)
    images = pixels(2, 32)
    np.testing.assert_array_equal(again(images), model(images))
    with pytest.raises(UserError, match="predictions/kernel 64×5 instead of 64×7"):
        keras_resnet.ResNet20(weights=tmp_path / "model.keras", classes=7)
    backbone = keras_resnet.ResNet20(weights=tmp_path / "model.keras", include_top=False)
    assert backbone.output_shape[-1] == 64

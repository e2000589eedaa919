from __future__ import annotations

import warnings

import numpy as np
import pytest

import keras_resnet
from keras_resnet.backbone import stage_of


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("resnet18", {"C2": 24, "C3": 12, "C4": 6, "C5": 3}),
        ("resnet50", {"C2": 24, "C3": 12, "C4": 6, "C5": 3}),
        ("resnet20", {"C2": 96, "C3": 48, "C4": 24}),
        ("vgg16", {"C1": 96, "C2": 48, "C3": 24, "C4": 12, "C5": 6}),
    ],
)
def test_feature_maps_by_name(name, sides):
    model = keras_resnet.build(name, weights=None, include_top=False, input_shape=(96, 96, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        maps = keras_resnet.features(model)(np.zeros((1, 96, 96, 3), "uint8"))
    assert {key: value.shape[1] for key, value in maps.items()} == sides
    if name == "resnet50":
        assert [value.shape[-1] for value in maps.values()] == [256, 512, 1024, 2048]
        last = model(np.zeros((1, 96, 96, 3), "uint8"))
        np.testing.assert_array_equal(maps["C5"], last)


def test_feature_maps_of_scanned_stages():
    model = keras_resnet.ResNet1202(include_top=False)
    maps = keras_resnet.features(model)(np.zeros((1, 32, 32, 3), "uint8"))
    assert {key: value.shape[1] for key, value in maps.items()} == {"C2": 32, "C3": 16, "C4": 8}


def test_the_function_stays_a_function_whatever_is_imported():
    import keras_resnet.backbone
    import keras_resnet.loading
    import keras_resnet.saving

    assert callable(keras_resnet.features) and callable(keras_resnet.load)


def test_freezing_by_stage():
    model = keras_resnet.ResNet18(weights=None, input_shape=(64, 64, 3))
    keras_resnet.freeze(model, "conv3")
    trainable = {layer.name: layer.trainable for layer in model.layers}
    assert not trainable["conv1_conv"] and not trainable["conv2_block1_bn1"]
    assert not trainable["conv3_block1_shortcut_conv"]
    assert trainable["conv4_block1_conv1"] and trainable["predictions"]
    before = np.asarray(model.get_layer("conv3_block1_bn1").moving_mean)
    moving = np.asarray(model.get_layer("conv4_block1_bn1").moving_mean)
    model(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype("uint8"), training=True)
    np.testing.assert_array_equal(model.get_layer("conv3_block1_bn1").moving_mean, before)
    assert np.any(np.asarray(model.get_layer("conv4_block1_bn1").moving_mean) != moving)
    with pytest.raises(ValueError, match="no stage 'conv6'; choose one of conv1, conv2, conv3, conv4, conv5"):
        keras_resnet.freeze(model, "conv6")


def test_foreign_models_are_refused():
    import keras

    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    for function in (keras_resnet.features, lambda model: keras_resnet.freeze(model, "conv2")):
        with pytest.raises(ValueError, match=r"no stages .* not a model around one"):
            function(model)


def test_stage_names():
    names = {"conv3_block1_conv2": 3, "conv2_blocks": 2, "block4_pool": 4, "pool1_pool": 1}
    assert {name: stage_of(name) for name in names} == names
    assert [stage_of(name) for name in ("avg_pool", "predictions", "normalization", "image")] == [None] * 4

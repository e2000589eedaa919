"""The graph of constants against the Keras model that it was folded from, for every kind of network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from saved_networks import random_model, tiny

from keras_resnet.backbone import features
from keras_resnet.export.folding import fold
from keras_resnet.export.graph import Forward
from keras_resnet.weights.state import get_state

NETWORKS = [
    *(("resnet20", option, None, (32, 32)) for option in "ABC"),
    *(("resnet18", option, None, (64, 64)) for option in "ABC"),
    *(("resnet50", option, None, (64, 64)) for option in "ABC"),
    ("resnet50", "B", "3x3", (64, 64)),
    ("resnet18", "A", None, (45, 67)),
    ("resnet50", "B", None, (45, 67)),
    ("plain20", None, None, (32, 32)),
    ("plain18", None, None, (64, 64)),
    ("vgg16", None, None, (32, 32)),
]


def images(size, count=2, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def small(name, shortcut, downsample):
    architecture = tiny(name, shortcut, downsample)
    return replace(architecture, stages=architecture.stages[:3]) if name == "resnet50" else architecture


@pytest.mark.parametrize(("name", "shortcut", "downsample", "size"), NETWORKS)
def test_forward_equals_the_keras_model(name, shortcut, downsample, size):
    architecture = small(name, shortcut, downsample)
    shape = (*size, 3) if name == "vgg16" else None
    model = random_model(architecture, classes=4, input_shape=shape)
    batch = images(size)
    network, expected = fold(architecture, get_state(model)), model(batch)
    forward = Forward(network)
    outputs = forward(tf.constant(batch))
    for other in (outputs, forward(tf.constant(batch), maps=False), Forward(network, fused=False)(batch)):
        np.testing.assert_allclose(other.probabilities, expected, rtol=0, atol=2e-6)
    maps = features(model)(batch)
    assert sorted(outputs.maps) == sorted(maps)
    for map_name, expected in maps.items():
        scale = float(np.abs(expected).max())
        np.testing.assert_allclose(outputs.maps[map_name], expected, rtol=0, atol=1e-5 * scale)
    if name != "vgg16":
        np.testing.assert_allclose(
            outputs.features, np.mean(maps[max(maps)], axis=(1, 2)), rtol=0, atol=1e-5 * scale
        )


def operations(function, size):
    graph = tf.function(function).get_concrete_function(tf.TensorSpec([1, *size, 3])).graph
    return [node for node in graph.get_operations() if node.type == "Conv2D"]


@pytest.mark.parametrize(("downsample", "fewer"), [("1x1", True), ("3x3", False)])
def test_without_maps_no_position_is_computed_that_nothing_reads(downsample, fewer):
    architecture = small("resnet50", "B", downsample)
    forward = Forward(fold(architecture, get_state(random_model(architecture))))

    def work(maps):
        convs = operations(lambda images: Forward(forward.network)(images, maps=maps).probabilities, (64, 64))
        return sum(int(np.prod(node.outputs[0].shape)) * int(node.inputs[1].shape[2]) for node in convs)

    assert (work(False) < 0.9 * work(True)) == fewer


@pytest.mark.parametrize("std", [(58.395, 57.12, 57.375), "per pixel"])
def test_a_mean_image_is_subtracted_pixel_by_pixel(std):
    random = np.random.default_rng(0)
    mean = random.uniform(90, 150, (32, 32, 3)).astype(np.float32)
    std = random.uniform(40, 60, (32, 32, 3)).astype(np.float32) if std == "per pixel" else std
    architecture = tiny("resnet20", blocks=1)
    model = random_model(architecture, mean=mean, std=std, input_shape=(32, 32, 3))
    outputs = Forward(fold(architecture, get_state(model)))(tf.constant(images((32, 32))))
    np.testing.assert_allclose(outputs.probabilities, model(images((32, 32))), rtol=0, atol=2e-6)


def test_a_model_without_preprocessing_takes_its_input_as_it_is():
    architecture = tiny("resnet20", blocks=1)
    model = random_model(architecture, mean=None, std=None)
    batch = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    outputs = Forward(fold(architecture, get_state(model)))(tf.constant(batch))
    np.testing.assert_allclose(outputs.probabilities, model(batch), rtol=0, atol=2e-6)


def test_scanned_stages_are_unrolled():
    architecture = tiny("resnet20", blocks=4)
    model = random_model(architecture, scanned=True)
    outputs = Forward(fold(architecture, get_state(model)))(tf.constant(images((32, 32))))
    np.testing.assert_allclose(outputs.probabilities, model(images((32, 32))), rtol=0, atol=2e-6)


def test_bfloat16_is_near_and_gives_float32():
    architecture = tiny("resnet18")
    model = random_model(architecture)
    outputs = Forward(fold(architecture, get_state(model)), "bfloat16")(tf.constant(images((64, 64))))
    assert {outputs.probabilities.dtype, outputs.features.dtype, outputs.maps["C3"].dtype} == {tf.float32}
    difference = np.abs(outputs.probabilities - model(images((64, 64)))).max()
    assert 0 < difference < 0.02  # 0 would mean that nothing ran in bfloat16


@pytest.mark.parametrize("shortcut", "ABC")
def test_stages_of_equal_width_keep_their_shortcuts(shortcut):
    """The stride alone asks for a projection, also where the stage before has taken it."""
    architecture = small("resnet50", shortcut, "1x1")
    architecture = replace(architecture, stages=tuple(replace(s, filters=16) for s in architecture.stages))
    model = random_model(architecture)
    batch = images((64, 64))
    forward = Forward(fold(architecture, get_state(model)))
    for outputs in (forward(tf.constant(batch)), forward(tf.constant(batch), maps=False)):
        np.testing.assert_allclose(outputs.probabilities, model(batch), rtol=0, atol=2e-6)

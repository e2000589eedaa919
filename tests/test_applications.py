from __future__ import annotations

import inspect
import warnings

import keras
import numpy as np
import pytest

import keras_resnet
from keras_resnet.applications import IMAGENET_MEAN, IMAGENET_STD
from keras_resnet.architectures import ARCHITECTURES, get_architecture
from keras_resnet.arguments import check_arguments
from keras_resnet.imagenet import IMAGENET_CLASSES

NETWORKS = [name for name in keras_resnet.__all__ if name[:3] in ("Res", "Pla", "VGG")]


def test_every_network_is_public():
    assert {name.lower() for name in NETWORKS} == set(ARCHITECTURES)
    for name in keras_resnet.__all__:
        assert getattr(keras_resnet, name) is not None
    with pytest.raises(AttributeError, match="ResNet51"):
        _ = keras_resnet.ResNet51


@pytest.mark.parametrize("name", NETWORKS)
def test_signatures_begin_like_those_of_keras_applications(name):
    signature = inspect.signature(getattr(keras_resnet, name))
    reference = inspect.signature(keras.applications.ResNet50)
    parameters = list(signature.parameters)
    assert parameters[: len(reference.parameters)] == list(reference.parameters)
    assert all(
        signature.parameters[extra].kind is inspect.Parameter.KEYWORD_ONLY
        for extra in parameters[len(reference.parameters) :]
    )
    architecture = ARCHITECTURES[name.lower()]
    assert signature.parameters["classes"].default == architecture.default_classes
    assert signature.parameters["name"].default == architecture.name
    assert ("shortcut" in parameters) == name.startswith("ResNet")
    assert ("downsample" in parameters) == (architecture.block == "bottleneck")
    official = architecture.family == "imagenet" and not name.startswith("Plain")
    assert signature.parameters["weights"].default == ("imagenet" if official else None)
    assert name in getattr(keras_resnet, name).__doc__


def test_raw_pixels_go_in_and_probabilities_come_out():
    model = keras_resnet.ResNet20(weights=None, classes=4)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("uint8")
    probabilities = np.asarray(model(pixels))
    assert probabilities.shape == (2, 4)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(probabilities, model(pixels.astype("float32")))
    np.testing.assert_array_equal(keras_resnet.preprocess_input(pixels), pixels)
    # The same network without its first layer wants normalised input.
    bare = keras_resnet.ResNet20(weights=None, classes=4, include_preprocessing=False)
    bare.set_weights(model.get_weights()[2:])
    normalised = ((pixels - np.array(IMAGENET_MEAN)) / IMAGENET_STD).astype("float32")
    np.testing.assert_allclose(bare(normalised), probabilities, rtol=1e-3, atol=1e-5)


def test_build_takes_the_same_arguments_by_name():
    model = keras_resnet.build("resnet20", weights=None, classes=3, shortcut="B", model_name="mine")
    assert model.name == "mine"
    assert model.output_shape == (None, 3)
    assert any(layer.name == "conv3_block1_shortcut_conv" for layer in model.layers)
    assert keras_resnet.ResNet20(name="other").name == "other"


def test_the_number_of_classes_may_be_numpys(tmp_path):
    model = keras_resnet.ResNet20(classes=np.int64(3))
    model.save(tmp_path / "model.keras")  # its description is JSON
    assert model.output_shape == (None, 3)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("resnet50", {"weights": "imagenet", "classes": 10}, ["`classes` must be 1000", "include_top=False"]),
        ("resnet50", {"weights": "no/such.h5"}, ["`weights` must be", "no/such.h5"]),
        ("resnet50", {"weights": 3}, ["`weights` must be", "3"]),
        ("plain34", {"weights": "imagenet"}, ["no official ImageNet weights for plain34", "resnet18"]),
        ("resnet20", {"pooling": "mean"}, ["`pooling` must be", "'mean'"]),
        ("resnet20", {"classes": 0}, ["`classes` must be", "0"]),
        ("resnet50", {"weights": None, "input_shape": (31, 224, 3)}, ["at least 32x32", "31x224"]),
        ("resnet50", {"weights": None, "input_shape": (224, 224, 1)}, ["(height, width, 3)"]),
        ("resnet50", {"weights": None, "input_shape": (224, 224)}, ["(height, width, 3)"]),
        ("vgg16", {"weights": None, "input_shape": (None, None, 3)}, ["fixed `input_shape`"]),
        ("resnet50", {"classifier_activation": "relu"}, ["classifier_activation", "'relu'"]),
        ("resnet99", {}, ["unknown network 'resnet99'"]),
    ],
)
def test_wrong_arguments_are_explained(name, arguments, words):
    with pytest.raises(ValueError) as caught:
        keras_resnet.build(name, **arguments)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_channels_are_free_without_weights_and_normalisation():
    arguments = {"include_preprocessing": False, "input_shape": (64, 64, 1), "classes": 2}
    model = keras_resnet.ResNet18(weights=None, **arguments)
    assert model(np.zeros((1, 64, 64, 1), "float32")).shape == (1, 2)


def test_a_layer_of_the_same_name_before_the_network_is_named():
    image = keras.Input((32, 32, 3))
    colours = keras.layers.Normalization(mean=0.0, variance=1.0, name="normalization")(image)
    with pytest.raises(ValueError, match='called "normalization", as our first one is'):
        keras_resnet.ResNet20(input_tensor=colours)
    assert keras_resnet.ResNet20(input_tensor=colours, include_preprocessing=False).output_shape == (None, 10)


@pytest.mark.parametrize("activation", ["linear", None, keras.activations.softmax])
def test_official_weights_come_with_softmax_or_logits_however_named(activation):
    check_arguments(get_architecture("resnet50"), True, None, 1000, activation, "imagenet")


def test_options_that_a_network_does_not_have_are_no_arguments():
    with pytest.raises(TypeError):
        keras_resnet.Plain34(shortcut="A")
    with pytest.raises(TypeError):
        keras_resnet.ResNet18(downsample="3x3")


def test_decode_predictions():
    assert len(IMAGENET_CLASSES) == 1000
    assert [wnid for wnid, _ in IMAGENET_CLASSES] == sorted({wnid for wnid, _ in IMAGENET_CLASSES})
    assert len({label for _, label in IMAGENET_CLASSES}) == 1000
    scores = np.zeros((2, 1000), "float32")
    scores[0, [281, 282]] = 0.7, 0.2
    scores[1, 0] = 1.0
    decoded = keras_resnet.decode_predictions(scores, top=2)
    assert decoded[0] == [
        ("n02123045", "tabby", pytest.approx(0.7)),
        ("n02123159", "tiger cat", pytest.approx(0.2)),
    ]
    assert decoded[1][0][:2] == ("n01440764", "tench")
    assert keras_resnet.decode_predictions([[0.1, 0.9]], label_names=["cat", "dog"])[0] == [
        ("dog", "dog", 0.9),
        ("cat", "cat", 0.1),
    ]
    with pytest.raises(ValueError, match=r"\[N, 1000\]"):
        keras_resnet.decode_predictions(np.zeros((2, 10)))
    with pytest.raises(ValueError, match="2 label names"):
        keras_resnet.decode_predictions(np.zeros((2, 3)), label_names=["cat", "dog"])


def test_building_says_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keras_resnet.ResNet20(weights=None)

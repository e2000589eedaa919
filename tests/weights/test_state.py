from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from keras_resnet.architectures import ARCHITECTURES, get_architecture
from keras_resnet.builders import build_model
from keras_resnet.errors import UserError
from keras_resnet.weights.shapes import expected_shapes, vgg_image_size
from keras_resnet.weights.state import get_state, set_state

from .networks import random_state

KINDS = [("resnet20", "A"), ("resnet20", "C"), ("plain20", None), ("resnet50", "B")]


def small(name: str, shortcut: str | None = None):
    architecture = get_architecture(name, shortcut)
    return replace(architecture, stages=tuple(replace(stage, blocks=3) for stage in architecture.stages[:2]))


@pytest.mark.parametrize(("name", "shortcut"), KINDS)
def test_scanned_and_unrolled_networks_convert_exactly(name, shortcut):
    architecture = small(name, shortcut)
    scanned, unrolled = (build_model(architecture, classes=4, scanned=flag) for flag in (True, False))
    assert len(scanned.weights) < len(unrolled.weights)
    state = random_state(architecture, 4)
    set_state(unrolled, state)
    set_state(scanned, get_state(unrolled))
    back = get_state(scanned)
    assert back.keys() == state.keys()
    for key, array in state.items():
        np.testing.assert_array_equal(back[key], array, err_msg=key)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "plain34", "vgg16", "resnet20", "resnet1202"])
def test_shapes_are_known_without_a_model(name):
    architecture = ARCHITECTURES[name]
    size = 32 if name == "vgg16" else None
    model = build_model(architecture, classes=3, input_shape=(size, size, 3))
    built = {key: array.shape for key, array in get_state(model).items()}
    assert built == expected_shapes(architecture, 3, size)


def test_all_that_does_not_fit_is_listed_and_nothing_assigned():
    architecture = small("resnet20")
    model = build_model(architecture, classes=4)
    before = get_state(model)
    state = random_state(architecture, 4)
    del state["conv2_block2_bn1/beta"]
    state["conv9_block1_conv1/kernel"] = np.zeros(3, "float32")
    state["predictions/bias"] = np.zeros(5, "float32")
    with pytest.raises(UserError) as caught:
        set_state(model, state)
    message = str(caught.value)
    assert "missing: conv2_block2_bn1/beta" in message
    assert "surplus: conv9_block1_conv1/kernel" in message
    assert "of another shape: predictions/bias 5 instead of 4" in message
    for key, array in get_state(model).items():
        np.testing.assert_array_equal(array, before[key])


def test_a_long_list_is_cut():
    with pytest.raises(UserError, match=r"and \d+ more"):
        set_state(build_model(small("resnet20")), {})


def test_without_strictness_a_part_is_assigned():
    model = build_model(small("resnet20"), classes=4, scanned=True)
    before = get_state(model)
    kernel = np.ones((3, 3, 16, 16), "float32")
    set_state(model, {"conv2_block3_conv1/kernel": kernel, "other/kernel": kernel}, strict=False)
    after = get_state(model)
    np.testing.assert_array_equal(after["conv2_block3_conv1/kernel"], kernel)
    for key in before.keys() - {"conv2_block3_conv1/kernel"}:
        np.testing.assert_array_equal(after[key], before[key])


def test_the_image_size_of_a_vgg():
    vgg = ARCHITECTURES["vgg16"]
    assert vgg_image_size(vgg, 25088) == 224
    assert vgg_image_size(vgg, 512) == 32
    assert vgg_image_size(ARCHITECTURES["resnet18"], 7) is None
    with pytest.raises(UserError, match="25000"):
        vgg_image_size(vgg, 25000)

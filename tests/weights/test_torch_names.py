from __future__ import annotations

import numpy as np
import pytest

from keras_resnet.architectures import ARCHITECTURES, get_architecture
from keras_resnet.builders import build_model
from keras_resnet.errors import UsageError, UserError
from keras_resnet.saving import load_model, save_model
from keras_resnet.weights import export_weights, import_weights
from keras_resnet.weights.safetensors_files import read_metadata
from keras_resnet.weights.shapes import norm_of
from keras_resnet.weights.state import get_state, set_state
from keras_resnet.weights.torch_files import read_tensors
from keras_resnet.weights.torch_names import classes_in, from_torch, to_torch, torch_names

from .networks import pixels, random_state
from .torch_pickles import write_checkpoint

tf = pytest.importorskip("tensorflow")


def test_names():
    names = torch_names(ARCHITECTURES["resnet50"])
    assert len(names) == 53 * 5 + 2  # 53 convolutions with batch normalisation, and the classifier
    assert names["conv1_bn/moving_variance"] == "bn1.running_var"
    assert names["conv4_block6_conv3/kernel"] == "layer3.5.conv3.weight"
    assert names["conv3_block1_shortcut_bn/gamma"] == "layer2.0.downsample.1.weight"
    assert torch_names(ARCHITECTURES["vgg19"])["block5_conv4/bias"] == "features.34.bias"
    assert torch_names(ARCHITECTURES["vgg16"])["predictions/kernel"] == "classifier.6.weight"


@pytest.mark.parametrize(
    ("conv", "norm"),
    [
        ("conv1_conv", "conv1_bn"),
        ("conv2_block1_conv2", "conv2_block1_bn2"),
        ("conv3_block1_shortcut_conv", "conv3_block1_shortcut_bn"),
    ],
)
def test_name_of_the_batch_norm_behind_a_convolution(conv, norm):
    assert norm_of(conv) == norm


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "plain18", "resnet20", "vgg16"])
def test_there_and_back_is_bit_equal(name):
    architecture = ARCHITECTURES[name]
    state = random_state(architecture, 10, 32)
    back = from_torch(to_torch(state, architecture), architecture)
    assert back.keys() == state.keys()
    for key, array in state.items():
        np.testing.assert_array_equal(back[key], array)


@pytest.mark.parametrize("prefix", ["module._orig_mod.", "model.module.", "_orig_mod.model."])
def test_wrappers_prefixes_are_taken_off(prefix):
    architecture = ARCHITECTURES["resnet20"]
    state = random_state(architecture)
    tensors = {f"{prefix}{name}": array for name, array in to_torch(state, architecture).items()}
    assert from_torch(tensors, architecture).keys() == state.keys()


class BothSides(tf.keras.layers.Layer if hasattr(tf, "keras") else object):
    """akamaster's option A: as many zero channels before as after."""

    def __init__(self, filters: int, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def call(self, x):
        side = (self.filters - x.shape[-1]) // 2
        return tf.pad(x[:, ::2, ::2], [[0, 0], [0, 0], [0, 0], [side, side]])


def test_zero_channels_on_both_sides_are_a_permutation(monkeypatch):
    """A network that really pads on both sides, against ours with the channels renamed: the same logits."""
    from keras_resnet import builders

    architecture = get_architecture("resnet20", "A")
    state = random_state(architecture, 10)
    arguments = {"classifier_activation": None, "input_shape": (32, 32, 3)}
    ours = build_model(architecture, **arguments)
    monkeypatch.setattr(
        builders, "ZeroPaddingShortcut", lambda filters, stride, name: BothSides(filters, name=name)
    )
    theirs = build_model(architecture, **arguments)
    set_state(theirs, state)
    tensors = {name.replace("fc.", "linear."): a for name, a in to_torch(state, architecture).items()}
    set_state(ours, from_torch(tensors, architecture))
    images = pixels(2, 32).astype("float32") / 255
    reference = np.asarray(theirs(images))
    np.testing.assert_allclose(ours(images), reference, atol=1e-5 * np.abs(reference).max())
    # And the permutation is needed.
    set_state(ours, from_torch(tensors, architecture, padding="end"))
    assert np.abs(np.asarray(ours(images)) - reference).max() > 1e-2 * np.abs(reference).max()


def test_timms_vgg_has_other_names_for_its_last_layers():
    """Two of them are convolutions of the whole map there (timm/models/vgg.py)."""
    architecture = get_architecture("vgg16")
    state = random_state(architecture, classes=7, image_size=32)
    tensors = to_torch(state, architecture)
    for theirs, ours, side in (("pre_logits.fc1", 0, 1), ("pre_logits.fc2", 3, 1), ("head.fc", 6, 0)):
        weight = tensors.pop(f"classifier.{ours}.weight")
        shape = (len(weight), -1, side, side) if side else weight.shape
        tensors[f"{theirs}.weight"] = weight.reshape(shape)
        tensors[f"{theirs}.bias"] = tensors.pop(f"classifier.{ours}.bias")
    assert classes_in(tensors) == 7
    again = from_torch(tensors, architecture)
    for name, array in state.items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)


def test_all_that_does_not_fit_is_listed(tmp_path):
    architecture = ARCHITECTURES["resnet20"]
    tensors = to_torch(random_state(architecture), architecture)
    tensors["layer1.0.conv1.weight"] = np.zeros((16, 16, 5, 5), "f4")
    tensors["layer9.weight"] = np.zeros(1, "f4")
    del tensors["layer3.2.bn2.running_var"]
    path = write_checkpoint(tmp_path / "broken.pth", tensors)
    with pytest.raises(UserError) as caught:
        import_weights(path, "resnet20", mean=(0, 0, 0), std=(1, 1, 1), output=tmp_path / "m.keras")
    message = str(caught.value)
    assert "broken.pth" in message and "\n" not in message
    assert "missing: layer3.2.bn2.running_var" in message
    assert "surplus: layer9.weight" in message
    assert "of another shape: layer1.0.conv1.weight 16×16×5×5 instead of 16×16×3×3" in message
    assert not (tmp_path / "m.keras").exists()


def test_the_wrong_depth_lists_tensors(tmp_path):
    architecture = ARCHITECTURES["resnet20"]
    path = write_checkpoint(tmp_path / "r20.pth", to_torch(random_state(architecture), architecture))
    with pytest.raises(
        UserError, match=r"not a resnet32 with shortcut option A.*missing: layer1\.3\.conv1\.weight"
    ):
        import_weights(path, "resnet32", output=tmp_path / "m.keras")
    with pytest.raises(UserError, match=r"surplus: layer1\.2\."):
        import_weights(path, "resnet18", output=tmp_path / "m.keras")


def test_an_exported_file_is_read_back_whole(tmp_path):
    """The file carries the normalisation and the options, so nothing need be said."""
    from keras_resnet.saving import ModelInfo

    architecture = get_architecture("resnet20", "B")
    model = build_model(architecture, classes=3, mean=(100.5, 110.25, 120), std=(50, 60, 70))
    set_state(model, random_state(architecture, 3), strict=False)
    save_model(model, ModelInfo(architecture, ("a", "b", "c"), 32, 32), tmp_path / "model.keras")
    path = export_weights(tmp_path / "model.keras", output=tmp_path / "out" / "weights.safetensors")
    assert read_metadata(path)["shortcut"] == "B"
    assert path.stat().st_mode & 0o777 == (tmp_path / "model.keras").stat().st_mode & 0o777
    again = import_weights(path, "resnet20", label_names=("a", "b", "c"), output=tmp_path / "again.keras")
    loaded = load_model(again)
    assert loaded.info.label_names == ("a", "b", "c")
    state = get_state(model)
    for key, array in get_state(loaded.model).items():
        np.testing.assert_array_equal(array, state[key], err_msg=key)
    assert read_tensors(path)["bn1.num_batches_tracked"].dtype == np.int64


def test_strides_elsewhere_are_warned_of(tmp_path, caplog):
    from keras_resnet.saving import ModelInfo

    architecture = get_architecture("resnet50")
    save_model(
        build_model(architecture, classes=2),
        ModelInfo(architecture, ("a", "b"), 224, 256),
        tmp_path / "m.keras",
    )
    export_weights(tmp_path / "m.keras", output=tmp_path / "m.safetensors")
    assert "strides in the 1x1 convolutions" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "does not say how its network's input is normalised"),
        ({"mean": (1, 2)}, "mean must be three numbers"),
        ({"mean": (1, 2, 3), "std": (1, 0, 1)}, "std must be positive"),
        ({"mean": (1, float("nan"), 3)}, "mean must be finite"),
        ({"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}, "multiply both by 255"),
        ({"mean": (1, 2, 3), "classes": 7}, "a network of 10 classes, not 7"),
        ({"mean": (1, 2, 3), "label_names": ["a"]}, "1 label names for 10 classes"),
        ({"padding": "left"}, "padding must be"),
        ({"output": "model.h5"}, "must be a .keras file"),
    ],
)
def test_arguments_that_make_no_sense(tmp_path, arguments, words):
    architecture = ARCHITECTURES["resnet20"]
    path = write_checkpoint(tmp_path / "r20.pth", to_torch(random_state(architecture), architecture))
    with pytest.raises(UserError, match=words):
        import_weights(path, "resnet20", **{"output": tmp_path / "m.keras", **arguments})
    with pytest.raises(UserError, match="no file"):
        import_weights(tmp_path / "none.pth", "resnet20", output=tmp_path / "m.keras")
    with pytest.raises(UsageError, match="\"torch\", not 'onnx'"):
        export_weights(tmp_path / "m.keras", "onnx", tmp_path / "m.onnx")

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import replace

import keras
import numpy as np
import pytest
from saved_networks import MEAN, STD, tiny

import keras_resnet
from keras_resnet import architectures
from keras_resnet.architectures import get_architecture
from keras_resnet.builders import build_model
from keras_resnet.errors import UsageError, UserError
from keras_resnet.recognition import recognised
from keras_resnet.saving import ModelInfo, default_name, load_model, save_model

tf = pytest.importorskip("tensorflow")

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("uint8")


@pytest.fixture(scope="module")
def model():
    model = keras_resnet.ResNet20(weights=None, classes=3, input_shape=(32, 32, 3))
    kernel = model.get_layer("predictions").kernel
    kernel.assign(kernel * 0.01)  # probabilities that are neither 0 nor 1
    return model


@pytest.fixture(scope="module")
def info():
    return ModelInfo(
        get_architecture("resnet20", "A"),
        ("cat", "dog", "Ωmega"),
        32,
        36,
        "some/data",
        "cifar",
        {"error": 8.5},
    )


def test_a_saved_model_comes_back_with_all_it_knew(model, info, tmp_path):
    path = save_model(model, info, tmp_path / "new" / "model.keras")
    loaded = load_model(path)
    assert loaded.info == info
    np.testing.assert_array_equal(loaded.model(PIXELS), model(PIXELS))
    assert [child.name for child in path.parent.iterdir()] == ["model.keras"]
    np.testing.assert_array_equal(keras_resnet.load(path)(PIXELS), model(PIXELS))


def test_every_variant_survives_json():
    for name, shortcut, downsample in (
        ("resnet50", "C", "3x3"),
        ("plain20", None, None),
        ("vgg16", None, None),
    ):
        info = ModelInfo(get_architecture(name, shortcut, downsample), ("a",), 224, 256)
        assert ModelInfo.from_json(json.loads(json.dumps(info.to_json()))) == info


def test_keras_itself_loads_the_file_once_the_package_is_imported(model, info, tmp_path):
    """Even if Keras is imported after the package, and nothing else of the package is used."""
    path = save_model(model, info, tmp_path / "model.keras")
    scanned = replace(info.architecture, stages=tuple(replace(s, blocks=3) for s in info.architecture.stages))
    build_model(scanned, scanned=True, input_shape=(32, 32, 3)).save(tmp_path / "scanned.keras")
    code = (
        "import importlib.util, keras_resnet\n"
        "importlib.util.find_spec('keras')\n"  # as many packages ask; it must not undo the registration
        "import keras, sys\n"
        "import numpy as np\n"
        "keras.saving.load_model(sys.argv[2])\n"
        "print(float(keras.saving.load_model(sys.argv[1])(np.zeros((1, 32, 32, 3), 'uint8'))[0, 0]))"
    )
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "scanned.keras")]
    output = subprocess.run(command, capture_output=True, text=True, check=False)
    assert output.returncode == 0, output.stderr[-2000:]
    expected = float(model(np.zeros((1, 32, 32, 3), "uint8"))[0, 0])
    assert float(output.stdout) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["resnet20", "flowers"])
def test_a_file_that_keras_wrote_has_its_description_derived(name, model, tmp_path):
    renamed = keras.Model(model.input, model.output, name=name)
    renamed.save(tmp_path / "plain.keras")
    info = load_model(tmp_path / "plain.keras").info
    assert info.architecture == get_architecture("resnet20")
    assert (info.label_names, info.image_size, info.resize) == (("0", "1", "2"), 32, 32)


def test_every_network_is_recognised_by_its_layers():
    """Whatever its name, also without its classifier, and with others' layers around it."""
    for name, option, scanned in (
        ("resnet20", "A", False),
        ("resnet20", "B", False),
        ("resnet32", "C", True),
        ("resnet110", "A", True),
        ("plain20", None, False),
        ("plain32", None, True),
        ("resnet18", "B", False),
        ("resnet34", "B", False),
    ):
        architecture = get_architecture(name, option)
        model = build_model(architecture, scanned=scanned, include_top=False, pooling="avg", name="mine")
        assert recognised(model) == architecture
        head = keras.layers.Dense(3)(keras.layers.Dense(8)(model.output))
        assert recognised(keras.Model(model.input, head)) == architecture
    for downsample in ("1x1", "3x3"):
        architecture = get_architecture("resnet50", None, downsample)
        assert recognised(build_model(architecture, name="mine")) == architecture
    assert recognised(keras.applications.ResNet50(weights=None)) is None


def test_a_network_of_somebody_else_is_loaded_but_not_described(model, tmp_path):
    images = keras.Input((32, 32, 3))
    keras.Model(images, keras.layers.Dense(2)(keras.layers.Flatten()(images))).save(tmp_path / "m.keras")
    assert keras_resnet.load(tmp_path / "m.keras").output_shape == (None, 2)
    with pytest.raises(UserError, match="not one of keras-resnet's networks"):
        load_model(tmp_path / "m.keras")


def test_a_vgg_of_ours_that_keras_wrote_is_ours(tmp_path, monkeypatch):
    small = tiny("vgg16")
    monkeypatch.setattr(architectures, "ARCHITECTURES", {"vgg16": small})
    build_model(small, classes=3, input_shape=(32, 32, 3), mean=MEAN, std=STD).save(tmp_path / "m.keras")
    assert load_model(tmp_path / "m.keras").info.architecture == small


def test_a_file_in_no_folder_is_named_by_itself():
    assert default_name("/model.keras") == "model"
    assert default_name("/run/model.keras") == "run"


def test_networks_beyond_the_table_are_described_in_full():
    small = get_architecture("resnet20")
    others = (
        replace(small, stages=tuple(replace(stage, blocks=5) for stage in small.stages)),
        replace(get_architecture("resnet34"), name="resnet26", depth=26),
        replace(get_architecture("resnet34"), shortcut=None),
    )
    for architecture in others:
        described = json.loads(json.dumps(ModelInfo(architecture, ("a",), 32, 32).to_json()))
        assert ModelInfo.from_json(described).architecture == architecture
    assert "architecture" not in ModelInfo(small, ("a",), 32, 32).to_json()


def test_a_run_folder(model, info, tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match=r"no model\.keras yet"):
        keras_resnet.load(tmp_path)
    save_model(model, info, tmp_path / "model.keras")
    np.testing.assert_array_equal(keras_resnet.load(tmp_path)(PIXELS), model(PIXELS))


@pytest.mark.parametrize("layout", ["model", "model/1"])
def test_an_exported_saved_model(model, tmp_path, layout):
    module = tf.Module()
    module.model = model

    @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 3), tf.uint8, "images")])
    def serve(images):
        return {"probabilities": module.model(images)}

    tf.saved_model.save(module, str(tmp_path / layout), signatures={"serving_default": serve})
    loaded = keras_resnet.load(tmp_path / "model")
    assert isinstance(loaded, keras.Model) and loaded.name == "model"
    assert loaded.input_shape == (None, 32, 32, 3) and loaded.output_shape == (None, 3)
    assert loaded.trainable_variables == []
    np.testing.assert_allclose(loaded(PIXELS), model(PIXELS), rtol=1e-4)
    np.testing.assert_allclose(loaded.predict(PIXELS, verbose=0), model(PIXELS), rtol=1e-4)


def test_the_newest_version_is_loaded(tmp_path):
    from keras_resnet.loading import saved_model_folder

    for version in ("9", "10", "notes"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").touch()
    (tmp_path / "11").mkdir()
    assert saved_model_folder(tmp_path) == tmp_path / "10"
    with pytest.raises(UserError, match="as a SavedModel"):
        keras_resnet.load(tmp_path)


def test_what_cannot_be_loaded_is_explained(tmp_path):
    (tmp_path / "torch.pth").write_bytes(b"\x80\x02nothing")
    with zipfile.ZipFile(tmp_path / "new.pth", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02nothing")
    (tmp_path / "served" / "1").mkdir(parents=True)
    (tmp_path / "served" / "1" / "saved_model.pb").touch()
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("a.txt", "b")
    foreign = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="mlp")
    foreign.save(tmp_path / "foreign.keras")
    own = keras.Sequential(
        [keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(2)], name="resnet50"
    )
    own.save(tmp_path / "own.keras")
    (tmp_path / "run" / "model.keras").mkdir(parents=True)
    keras.applications.VGG16(weights=None, classes=2, input_shape=(32, 32, 3)).save(tmp_path / "vgg16.keras")
    for name, words in (
        ("missing.keras", "no model at"),
        ("torch.pth", "import-weights"),
        ("new.pth", "import-weights"),
        ("served", "is an exported SavedModel"),
        ("other.keras", "cannot read"),
        ("own.keras", "'resnet50', which is not one of keras-resnet's networks"),
        ("run", "cannot read .*run/model.keras: Is a directory"),
        ("foreign.keras", "not one of keras-resnet's"),
        ("vgg16.keras", "not one of keras-resnet's"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            load_model(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("description", ["{", "[]", "{}", '{"name": "resnet20", "shortcut": "A"}'])
def test_a_damaged_description_is_named(model, description, tmp_path):
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras", "a") as archive:
        archive.writestr("keras_resnet.json", description)
    with pytest.raises(UserError, match=r"m\.keras: its description keras_resnet\.json is damaged"):
        load_model(tmp_path / "m.keras")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image_size": "abc"}, "image_size must be a number of pixels"),
        ({"image_size": 10**7, "resize": 10**7}, "image_size must be a number of pixels, 1 to 4096"),
        ({"image_size": -1}, "image_size must be a number of pixels"),
        ({"resize": 16}, "a view of 32 pixels is larger than its image, 16"),
        ({"label_names": ["cat", "dog", 3]}, "label_names must be a tuple of strings"),
        ({"image_size": 28}, "an image_size of 28 for a model that takes 32 × 32 pixels"),
        ({"label_names": ["cat"]}, "1 label names for a model of 3 outputs"),
    ],
)
def test_a_wrong_description_is_named(model, info, tmp_path, change, reason):
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras", "a") as archive:
        archive.writestr("keras_resnet.json", json.dumps({**info.to_json(), **change}))
    with pytest.raises(UserError, match=rf"m\.keras: its description keras_resnet\.json is wrong: {reason}"):
        load_model(tmp_path / "m.keras")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image_size": 48, "resize": 48}, "an image_size of 48 for a model that takes 32 × 32 pixels"),
        ({"label_names": ("cat", "dog")}, "2 label names for a model of 3 outputs"),
        (
            {"architecture": get_architecture("resnet50")},
            "not a resnet50: it has no layer",
        ),
        ({"architecture": get_architecture("resnet32")}, "not a resnet32: it has no layer conv2_block4_add"),
        ({"architecture": get_architecture("plain20")}, "not a plain20: it has a layer conv2_block1_add"),
        ({"architecture": get_architecture("resnet20", "B")}, "it has no layer conv3_block1_shortcut_conv"),
    ],
)
def test_a_model_is_not_saved_as_another(model, info, tmp_path, change, reason):
    with pytest.raises(UsageError, match=reason):
        save_model(model, replace(info, **change), tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())


def test_a_model_is_saved_as_a_keras_file(model, info, tmp_path):
    with pytest.raises(UsageError, match=r"saved as a \.keras file"):
        save_model(model, info, tmp_path / "model.h5")
    assert not list(tmp_path.iterdir())


def test_a_failed_save_leaves_the_old_file(model, info, tmp_path, monkeypatch):
    path = save_model(model, info, tmp_path / "model.keras")
    before = path.read_bytes()

    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", full)
    with pytest.raises(UserError, match="No space left on device"):
        save_model(model, info, path)
    assert path.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == ["model.keras"]

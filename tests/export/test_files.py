"""ONNX and LiteRT files: the same answers from onnxruntime and the LiteRT interpreter."""

from __future__ import annotations

import builtins
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from saved_networks import picture, random_model, saved_network, tiny

from keras_resnet.cli import main
from keras_resnet.errors import UsageError, UserError
from keras_resnet.export import export_model
from keras_resnet.saving import ModelInfo, load_model, save_model
from keras_resnet.serving import predict
from keras_resnet.serving.forms import open_form

EXPORTS = [
    ("onnx", "float32", 1e-6),
    ("litert", "float32", 1e-6),
    ("litert", "float16", 3e-3),
    ("litert", "int8", 0.2),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """pets.keras, and images/{cat,dog,émeu}/*.png"""
    home = tmp_path_factory.mktemp("home")
    saved_network(home / "pets.keras")
    for number, label in enumerate(["cat", "dog", "émeu"] * 4):
        (home / "images" / label).mkdir(parents=True, exist_ok=True)
        (home / "images" / label / f"{number}.png").write_bytes(picture("PNG", number))
    return home


def export(home, folder, format, precision):
    images = [str(home / "images")]
    return export_model(
        str(home / "pets.keras"), str(folder), format=format, precision=precision, images=images
    )


@pytest.mark.peers
@pytest.mark.parametrize(("format", "precision", "tolerance"), EXPORTS)
def test_an_exported_file_gives_the_models_answers(format, precision, tolerance, home, tmp_path):
    pytest.importorskip({"onnx": "tf2onnx", "litert": "ai_edge_litert"}[format])
    images = [str(home / "images")]
    result = export(home, tmp_path, format, precision)
    path = Path(result.path)
    assert path.name == {"onnx": "pets.onnx", "litert": f"pets-{precision}.tflite"}[format]
    assert result.bytes == path.stat().st_size
    assert result.images == 12
    assert result.max_difference <= tolerance
    assert result.model_error is not None  # the folders are named as the labels
    assert abs(result.export_error - result.model_error) <= (0 if precision == "float32" else 100 / 12)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [path.name, f"{path.name}.README.md", f"{path.name}.keras_resnet.json"]
    )
    classifier = open_form(str(path))
    assert classifier.info.label_names == ("cat", "dog", "émeu")
    batch = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    expected = load_model(home / "pets.keras").model(batch)
    np.testing.assert_allclose(classifier.predict(batch), expected, rtol=0, atol=max(tolerance, 1e-5))
    graph = tf.function(classifier.predict, input_signature=[tf.TensorSpec([None, 32, 32, 3], tf.uint8)])
    np.testing.assert_allclose(graph(batch), classifier.predict(batch), rtol=0, atol=1e-6)
    answers, expected = predict(str(path), images), predict(str(home / "pets.keras"), images)
    same = [a["top"][0]["label"] == b["top"][0]["label"] for a, b in zip(answers, expected, strict=True)]
    assert np.mean(same) >= (0.9 if precision == "int8" else 1)


@pytest.mark.peers
@pytest.mark.parametrize("side", [None, 32])
def test_an_onnx_file_says_which_images_it_takes(side, tmp_path):
    pytest.importorskip("tf2onnx")
    architecture = tiny("resnet20", blocks=1)
    model = random_model(architecture, input_shape=(side, side, 3))
    file = save_model(model, ModelInfo(architecture, ("a", "b", "c"), 32, 32), tmp_path / "m.keras")
    path = export_model(file, str(tmp_path / "out"), format="onnx").path
    assert open_form(path).image_shape == (side, side)


@pytest.mark.peers
def test_evaluate_takes_them(home, tmp_path):
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("tf2onnx")
    models = [export(home, tmp_path, format, "float32").path for format in ("onnx", "litert")]
    arguments = ["evaluate", "--dataset", str(home / "images"), "--json"]
    run = CliRunner().invoke(main, [*arguments, *models])
    expected = CliRunner().invoke(main, [*arguments, str(home / "pets.keras")])
    assert json.loads(run.stdout)["top1_error"] == json.loads(expected.stdout)["top1_error"]
    assert json.loads(run.stdout)["models"] == models


@pytest.mark.peers
def test_smaller_precisions_are_smaller_files(home, tmp_path):
    pytest.importorskip("ai_edge_litert")
    sizes = {
        precision: export(home, tmp_path, "litert", precision).bytes
        for precision in ("float32", "float16", "int8")
    }
    assert sizes["float16"] < 0.6 * sizes["float32"]
    assert sizes["int8"] < 0.4 * sizes["float32"]
    with zipfile.ZipFile(tmp_path / "pets-int8.tflite") as archive:
        assert archive.read("labels.txt").decode() == "cat\ndog\némeu\n"
    assert (
        json.loads((tmp_path / "pets-int8.tflite.keras_resnet.json").read_text())["export"]["precision"]
        == "int8"
    )


@pytest.mark.peers
def test_files_that_others_wrote_have_no_card(tmp_path):
    pytest.importorskip("onnxruntime")
    for name in ("a.onnx", "a.tflite"):
        (tmp_path / name).write_bytes(b"no model")
    with pytest.raises(UserError, match=r"cannot read .*a\.onnx as an ONNX file"):
        open_form(str(tmp_path / "a.onnx"))
    with pytest.raises(UserError, match=r"cannot read .*a\.tflite as a LiteRT file"):
        open_form(str(tmp_path / "a.tflite"))
    with pytest.raises(UserError, match=r"no model at .*none\.onnx"):
        open_form(str(tmp_path / "none.onnx"))


@pytest.mark.parametrize(("format", "package"), [("onnx", "tf2onnx"), ("litert", "ai_edge_litert")])
def test_a_missing_package_is_named_with_its_extra(format, package, home, tmp_path, monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.interpreter", None)
    with pytest.raises(UserError, match=r"needs the package .*pip install 'keras-resnet\[convert\]'$"):
        export_model(str(home / "pets.keras"), str(tmp_path / "export"), format=format)
    assert not (tmp_path / "export").exists()


def test_options_that_exclude_one_another(home):
    with pytest.raises(UsageError, match="int8 needs images to calibrate with"):
        export_model(str(home / "pets.keras"), format="litert", precision="int8")
    with pytest.raises(UsageError, match="only SavedModels have the 10-crop endpoint, not onnx"):
        export_model(str(home / "pets.keras"), format="onnx", ten_crop=True)
    with pytest.raises(UsageError, match="onnx has no precision 'bfloat16'; choose float32"):
        export_model(str(home / "pets.keras"), format="onnx", precision="bfloat16")

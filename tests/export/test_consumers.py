"""Programs that nobody here wrote read an export and agree with the Keras model."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from saved_networks import pixels, saved_network

from keras_resnet.export import export_model
from keras_resnet.saving import load_model

IMAGES = np.stack([pixels(seed, 64, 64) for seed in range(3)]).astype(np.float32)


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory) -> Path:
    return saved_network(tmp_path_factory.mktemp("models") / "m.keras", "resnet50", classes=5, size=64)


@pytest.fixture(scope="module")
def export(keras_file) -> str:
    return export_model(str(keras_file), str(keras_file.parent / "export")).path


@pytest.fixture(scope="module")
def expected(keras_file):
    return load_model(keras_file).model(IMAGES).numpy()


@pytest.mark.peers
def test_openvino_reads_the_folder(export, expected):
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    model = core.compile_model(core.read_model(export), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(model(IMAGES)[0], expected, rtol=0, atol=1e-5)


@pytest.mark.peers
def test_onnxruntime_reads_the_onnx_file(keras_file, expected, tmp_path):
    pytest.importorskip("tf2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    result = export_model(str(keras_file), str(tmp_path), format="onnx")
    session = onnxruntime.InferenceSession(result.path)
    (answer,) = session.run(["probabilities"], {"images": IMAGES})
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5)
    assert session.get_inputs()[0].shape[0] == "N"


@pytest.mark.peers
def test_the_litert_interpreter_runs_the_signature(keras_file, expected, tmp_path):
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    result = export_model(str(keras_file), str(tmp_path), format="litert")
    run = interpreters.Interpreter(result.path).get_signature_runner("serving_default")
    answers = [run(images=image[np.newaxis])["probabilities"][0] for image in IMAGES]
    np.testing.assert_allclose(answers, expected, rtol=0, atol=1e-5)


def saved_model_cli(*arguments: str) -> str:
    program = "from tensorflow.python.tools.saved_model_cli import main; main()"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.peers  # for its time, not for a package: two more starts of TensorFlow
def test_saved_model_cli_shows_and_runs_it(export, expected, tmp_path):
    shown = saved_model_cli("show", "--dir", export, "--all")
    for endpoint in ("serving_default", "classify_bytes", "features", "explain"):
        assert f"signature_def['{endpoint}']" in shown
    assert re.search(r"inputs\['images'\][^\]]*dtype: DT_FLOAT\s+shape: \(-1, -1, -1, 3\)", shown)
    np.save(tmp_path / "images.npy", IMAGES)
    saved_model_cli(
        *("run", "--dir", export, "--tag_set", "serve", "--signature_def", "serving_default"),
        *("--inputs", f"images={tmp_path / 'images.npy'}", "--outdir", str(tmp_path), "--overwrite"),
    )
    np.testing.assert_allclose(np.load(tmp_path / "probabilities.npy"), expected, rtol=0, atol=1e-5)

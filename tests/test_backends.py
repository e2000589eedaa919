"""The builders on Keras' other backends, each in a process of its own, against TensorFlow's numbers."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.peers

# Run with KERAS_BACKEND set: `python -c SCRIPT FOLDER`. It reads state.npz and writes BACKEND.npz.
SCRIPT = """
import sys
from dataclasses import replace
import keras, numpy as np
from keras_resnet.architectures import get_architecture
from keras_resnet.builders import build_model
from keras_resnet.errors import UserError
from keras_resnet.layers import require_tensorflow
from keras_resnet.weights.state import get_state, set_state

folder = sys.argv[1]
given = dict(np.load(f"{folder}/state.npz"))
images, labels = given.pop("images"), given.pop("labels")
backend = keras.backend.backend()
results = {}

def small(name, shortcut, downsample=None):
    architecture = get_architecture(name, shortcut, downsample)
    return replace(architecture, stages=tuple(replace(s, blocks=3) for s in architecture.stages[:2]))

def training_step(model):
    if backend == "tensorflow":
        import tensorflow as tf
        with tf.GradientTape() as tape:
            loss = loss_of(model(images, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        state = get_state(model)
    else:
        import jax
        def compute(trainable, fixed):
            outputs, fixed = model.stateless_call(trainable, fixed, images, training=True)
            return loss_of(outputs), fixed
        trainable = [v.value for v in model.trainable_variables]
        fixed = [v.value for v in model.non_trainable_variables]
        step = jax.jit(jax.value_and_grad(compute, has_aux=True))
        (loss, fixed), gradients = step(trainable, fixed)
        for variable, value in zip(model.non_trainable_variables, fixed):
            variable.assign(value)
        state = get_state(model)
    paths = [v.path for v in model.trainable_variables]
    named = get_state(model, {p: np.asarray(g) for p, g in zip(paths, gradients)})
    return float(loss), named, state

def loss_of(logits):
    return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))

for name, shortcut, scanned, remat in (
    ("resnet20", "A", False, False),
    ("resnet20", "A", True, True),
    ("resnet20", "C", True, False),
    ("plain20", None, True, False),
    ("resnet50", "B", True, False),
):
    model = build_model(small(name, shortcut), classes=5, scanned=scanned, remat=remat, mean=(100, 110, 120),
                        std=(50, 60, 70), classifier_activation=None, input_shape=(32, 32, 3))
    prefix = f"{name}-{shortcut}/"
    state = {k.removeprefix(prefix): v for k, v in given.items() if k.startswith(prefix)}
    set_state(model, state, strict=False)
    case = f"{prefix}{scanned}/{remat}"
    results[f"{case}/inference"] = model.predict_on_batch(images)
    if backend == "torch":
        results[f"{case}/training"] = keras.ops.convert_to_numpy(model(images, training=True))
        continue
    loss, gradients, state = training_step(model)
    results[f"{case}/loss"] = loss
    results |= {f"{case}/gradient/{k}": v for k, v in gradients.items()}
    results |= {f"{case}/state/{k}": v for k, v in state.items() if "moving" in k}

from keras_resnet import ResNet50, VGG16, features
for function, size in ((ResNet50, None), (VGG16, 32)):
    model = function(weights=None, classes=3, input_shape=(size, size, 3))
    maps = features(model).predict_on_batch(np.zeros((1, 32, 32, 3), "uint8"))
    assert sorted(maps)[-1] == "C5" and model.output_shape == (None, 3)
try:
    require_tensorflow("training")
    assert backend == "tensorflow"
except UserError as error:
    assert str(error).startswith(f"training needs Keras on TensorFlow, not on {backend}"), error
    assert backend != "tensorflow"
model.save(f"{folder}/{backend}.keras")
keras.saving.load_model(f"{folder}/{backend}.keras")
np.savez(f"{folder}/{backend}.npz", **results)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """state.npz with weights for the networks of the script, tensorflow.npz with TensorFlow's results."""
    from dataclasses import replace

    from keras_resnet.architectures import get_architecture
    from keras_resnet.weights.shapes import expected_shapes

    folder = tmp_path_factory.mktemp("backends")
    generator = np.random.default_rng(0)
    arrays = {
        "images": generator.integers(0, 256, (4, 32, 32, 3)).astype("uint8"),
        "labels": np.array([0, 1, 2, 4]),
    }
    for name, shortcut in (("resnet20", "A"), ("resnet20", "C"), ("plain20", None), ("resnet50", "B")):
        architecture = get_architecture(name, shortcut)
        architecture = replace(
            architecture, stages=tuple(replace(stage, blocks=3) for stage in architecture.stages[:2])
        )
        for weight, shape in expected_shapes(architecture, 5).items():
            values = generator.uniform(0.5, 1.5, shape)
            if weight.endswith("kernel"):
                values = generator.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape)
            arrays[f"{name}-{shortcut}/{weight}"] = values.astype("float32")
    np.savez(folder / "state.npz", **arrays)
    run(folder, "tensorflow")
    return folder


def run(folder: Path, backend: str) -> None:
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    output = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert output.returncode == 0, output.stderr[-3000:]


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_same_numbers_as_on_tensorflow(folder, backend):
    """Inference; on JAX also loss, gradients and moving averages of a training step, scanned or not."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"needs {backend}")
    run(folder, backend)
    results, reference = np.load(folder / f"{backend}.npz"), np.load(folder / "tensorflow.npz")
    compared = 0
    for name in results.files:
        if name not in reference.files:
            continue
        expected = reference[name]
        scale = max(float(np.abs(expected).max()), 1e-3)
        tolerance = 2e-3 if "/gradient/" in name else 2e-4
        np.testing.assert_allclose(results[name], expected, atol=tolerance * scale, err_msg=name)
        compared += 1
    assert compared > (300 if backend == "jax" else 4)

"""`keras-resnet export`: load, fold, write, compare, publish; or leave nothing behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_resnet.errors import UsageError, UserError
from keras_resnet.export import card, parity, saved_model
from keras_resnet.export.folding import FoldedNetwork, fold
from keras_resnet.layers import BN_EPSILON
from keras_resnet.saving import RUN_MODEL, SavedModel, load_model
from keras_resnet.scanned import ScannedBlocks
from keras_resnet.weights.state import get_state

PRECISIONS = {
    "saved_model": ("float32", "bfloat16"),
}


@dataclass(frozen=True)
class ExportResult:
    """What was written, and how it compares with the Keras model.

    `path` is the version folder (SavedModel) or the file; `bytes` its size; differences and agreement
    are those of `parity.Parity`; `seconds` is the time that all of it took.
    """

    path: str
    format: str
    precision: str
    images: int
    max_difference: float
    mean_difference: float
    relative_error: float
    top1_agreement: float
    bytes: int
    sha256: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def export_model(
    model_path: str,
    output: str | None = None,
    *,
    format: str = "saved_model",
    precision: str = "float32",
    images: Sequence[str] = (),
    ten_crop: bool = False,
) -> ExportResult:
    """Export the model at `model_path` (a run folder or `.keras` file) and compare it with itself.

    Args:
        model_path: what to export.
        output: folder to export to; `exports/<name of the run or file>` by default.
        format: "saved_model".
        precision: of the convolutions: "float32" or "bfloat16".
        images: image files for the comparison; crops of two photos by default.
        ten_crop: add the endpoint `classify_10_crop`.

    Returns:
        What was written. A SavedModel appears as the next version, `output/<version>/saved_model.pb`.

    Raises:
        UsageError: no such format or precision.
        UserError: the model cannot be read or written, or the export differs from it; then nothing is
            left behind.
    """
    started = time.perf_counter()
    if format not in PRECISIONS:
        raise UsageError(f"unknown format {format!r}; there are {', '.join(PRECISIONS)}")
    if precision not in PRECISIONS[format]:
        raise UsageError(f"{format} has no precision {precision!r}; choose {', '.join(PRECISIONS[format])}")
    saved = load_model(model_path)
    network = folded_network(saved)
    name = default_name(model_path)
    folder = Path(output) if output else Path("exports") / name
    info = saved.info
    examples = parity.parity_images(images, info.image_size, info.resize)

    with saved_model.new_version(folder) as (temporary, publish):
        module = saved_model.ExportModule(network, info, precision, saved.model.input_shape[1:3], ten_crop)
        saved_model.save(module, temporary)
        exported = tf.saved_model.load(str(temporary)).signatures["serving_default"]
        result = parity.check(
            reference_function(saved.model, network),
            lambda batch: exported(images=tf.constant(batch, tf.float32))["probabilities"].numpy(),
            examples,
            precision,
        )
        facts = {
            "name": name,
            "format": format,
            "precision": precision,
            **asdict(result),
            "bytes": size_of(temporary),
            "sha256": card.checksum(temporary),
            **provenance(model_path),
        }
        document = card.build_card(info, facts)
        card.write_card(document, temporary / "assets.extra")
        path = publish()
    card.write_card(document, folder)
    return ExportResult(
        path=str(path),
        format=format,
        precision=precision,
        images=result.images,
        max_difference=result.max_difference,
        mean_difference=result.mean_difference,
        relative_error=result.relative_error,
        top1_agreement=result.top1_agreement,
        bytes=facts["bytes"],
        sha256=facts["sha256"],
        seconds=time.perf_counter() - started,
    )


def default_name(model_path: str) -> str:
    """Name of the run folder, or of the file without its ending; `run` for `run/model.keras`."""
    path = Path(model_path).resolve()
    if path.is_dir():
        return path.name
    return path.parent.name if path.name == RUN_MODEL else path.stem


def folded_network(saved: SavedModel) -> FoldedNetwork:
    """The model's weights, folded.

    Raises:
        UserError: it is not a whole network of ours with as many label names as classes.
    """
    epsilons = {
        layer.epsilon for layer in saved.model.layers if isinstance(layer, keras.layers.BatchNormalization)
    }
    if len(epsilons) > 1:
        raise UserError(f"{saved.model.name} has batch normalisations of different epsilons: {epsilons}")
    network = fold(saved.info.architecture, get_state(saved.model), *(epsilons or {BN_EPSILON}))
    if network.classes != len(saved.info.label_names):
        raise UserError(
            f"{saved.model.name} has {network.classes} classes but {len(saved.info.label_names)} label names"
        )
    return network


def reference_function(model: keras.Model, network: FoldedNetwork) -> Callable[[np.ndarray], np.ndarray]:
    """The Keras model in float32, images → probabilities: what an export is compared with."""
    if any(layer.compute_dtype != "float32" for layer in model.layers):
        model = _in_float32(model, network)
    activation = model.layers[-1].get_config().get("activation")

    def probabilities(images: np.ndarray) -> np.ndarray:
        outputs = model(images, training=False)
        return np.asarray(outputs if activation == "softmax" else keras.ops.softmax(outputs))

    return probabilities


def _in_float32(model: keras.Model, network: FoldedNetwork) -> keras.Model:
    from keras_resnet.builders import build_model

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        clone = build_model(
            network.architecture,
            input_shape=model.input_shape[1:],
            classes=network.classes,
            mean=network.mean,
            std=network.std,
            scanned=any(isinstance(layer, ScannedBlocks) for layer in model.layers),
        )
    finally:
        keras.config.set_dtype_policy(policy)
    clone.set_weights(model.get_weights())
    return clone


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)


def provenance(model_path: str) -> dict[str, str]:
    """Where an export comes from: source, checksum, date and versions."""
    path = Path(model_path)
    file = path / RUN_MODEL if path.is_dir() else path
    return {
        "source": file.name if path.is_file() else f"{path.resolve().name}/{RUN_MODEL}",
        "source_sha256": card.checksum(file),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "keras_resnet": version("keras-resnet"),
        "tensorflow": tf.__version__,
    }

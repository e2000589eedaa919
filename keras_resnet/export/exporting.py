"""`keras-resnet export`: load, fold, write, compare, publish; or leave nothing behind."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from keras_resnet.errors import UsageError, UserError
from keras_resnet.evaluation.protocols import view_of as evaluation_view
from keras_resnet.export import card, parity, saved_model
from keras_resnet.export.folding import FoldedNetwork
from keras_resnet.export.images import parity_images
from keras_resnet.export.publishing import new_file, new_version
from keras_resnet.export.reference import folded_network, reference_function
from keras_resnet.loading import CARD_FOLDER, saved_model_folder
from keras_resnet.saving import LoadedModel, ModelInfo, default_name, load_model

PRECISIONS = {
    "saved_model": ("float32", "bfloat16"),
    "onnx": ("float32",),
    "litert": ("float32", "float16", "int8"),
}
SUFFIXES = {"onnx": ".onnx", "litert": ".tflite"}


@dataclass(frozen=True)
class ExportResult:
    """What was written, and how it compares with the Keras model.

    Attributes:
        path: the version folder (SavedModel) or the file.
        format: "saved_model", "onnx" or "litert".
        precision: "float32", "bfloat16", "float16" or "int8".
        images: how many images it was compared on.
        compared_on: which ones those were.
        max_difference: largest difference of a probability.
        mean_difference: the mean one.
        relative_error: root mean square difference of log-probabilities over their spread.
        top1_agreement: share of images of the same most probable class, 0…1.
        model_error: top-1 error of the Keras model in percent; None where the classes are not known.
        export_error: likewise of the export.
        bytes: size of what was written.
        sha256: of the file; of a folder: of its file `SHA256SUMS`, which `sha256sum -c` reads.
        seconds: the time that all of it took.
    """

    path: str
    format: str
    precision: str
    images: int
    compared_on: str
    max_difference: float
    mean_difference: float
    relative_error: float
    top1_agreement: float
    model_error: float | None
    export_error: float | None
    bytes: int
    sha256: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def export_model(
    model_path: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    format: str = "saved_model",
    precision: str = "float32",
    images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    ten_crop: bool = False,
) -> ExportResult:
    """Export the model at `model_path` (a run folder or `.keras` file) and compare it with itself.

    Args:
        model_path: what to export.
        output: folder to export to; `exports/<name of the run or file>` by default.
        format: "saved_model", "onnx" or "litert".
        precision: SavedModel: "float32" or "bfloat16" convolutions; LiteRT: "float32", "float16", "int8".
        images: one or several image files or folders for the comparison and for int8's calibration; crops
            of two photos by default. Where every image lies in a folder named as its class (or by its
            WordNet id), errors are compared too. Of more than 1,000 images, always the same 1,000 are taken;
            of at least 100, int8 is calibrated on one half and compared on the other.
        ten_crop: add the endpoint `classify_10_crop` to a SavedModel.

    Returns:
        What was written. A SavedModel appears as the next version, `output/<version>/saved_model.pb`; a
        file, `output/<name>.onnx` or `output/<name>-<precision>.tflite`, replaces an older one. The model
        card lies beside it.

    Raises:
        UsageError: no such format or precision, or options that exclude one another.
        UserError: the model cannot be read or written, the folder has a README.md of its own or exports of
            another model, or the export differs from the model; then nothing is left behind.
    """
    started = time.perf_counter()
    images = [images] if isinstance(images, str | os.PathLike) else images
    _check(format, precision, images, ten_crop)
    if saved_model_folder(model_path) or Path(model_path).suffix in SUFFIXES.values():
        raise UserError(f"{model_path} is an export already: export the run or .keras file that it came from")
    saved = load_model(model_path)
    facts: dict[str, Any] = card.provenance(model_path)  # before a resumed training run replaces the file
    network, info, name = folded_network(saved), saved.info, default_name(model_path)
    reference = reference_function(saved)
    folder = Path(output) if output else Path("exports") / name
    if ten_crop:
        evaluation_view(info, "10-crop")  # networks whose ten crops are all the same are refused by name
    if format == "saved_model":
        card.refuse_another_model(info, folder)
        card.refuse_others_readme(folder)
        place = new_version(folder)
    else:
        file_name = _file_name(name, format, precision)
        card.refuse_another_model(info, folder, f"{file_name}.")
        place = new_file(folder, file_name)
    examples = parity_images(images, info, precision)
    with place as (temporary, publish), parity.full_float32():
        run, endpoints = _write(format, precision, saved, network, examples.calibration, ten_crop, temporary)
        result = parity.check(reference, run, examples.compared, precision, examples.classes)
        facts |= {"name": name, "format": format, **asdict(result), "compared_on": examples.described}
        facts |= {"endpoints": endpoints} if endpoints else {}
        facts |= _sealed(format, info, facts, temporary)
        path = publish(lambda target: _write_cards(info, facts, temporary, target))
    wanted = {field.name for field in fields(ExportResult)} - {"path", "seconds"}
    numbers = {key: value for key, value in facts.items() if key in wanted}
    return ExportResult(path=str(path), seconds=time.perf_counter() - started, **numbers)


def _check(format: str, precision: str, images: Sequence[Any], ten_crop: bool) -> None:
    if format not in PRECISIONS:
        raise UsageError(f"unknown format {format!r}; choose one of {', '.join(PRECISIONS)}")
    if precision not in PRECISIONS[format]:
        raise UsageError(f"{format} has no precision {precision!r}; choose {', '.join(PRECISIONS[format])}")
    if precision == "int8" and not images:
        raise UsageError("int8 needs images to calibrate with: name some of the data it will see")
    if ten_crop and format != "saved_model":
        raise UsageError(f"only SavedModels have the 10-crop endpoint, not {format}")


def _file_name(name: str, format: str, precision: str) -> str:
    suffix = SUFFIXES[format]
    return f"{name}-{precision}{suffix}" if len(PRECISIONS[format]) > 1 else f"{name}{suffix}"


def _module(format: str) -> ModuleType:
    return import_module(f"keras_resnet.export.{format}")


def _write(
    format: str,
    precision: str,
    saved: LoadedModel,
    network: FoldedNetwork,
    images: np.ndarray,
    ten_crop: bool,
    path: Path,
) -> tuple[Callable[[np.ndarray], np.ndarray], list[str]]:
    """Write the export to `path` and read it back as a function of images; a SavedModel's endpoints.

    `images` [N, S, S, 3] uint8 are typical ones: they calibrate int8, and every endpoint is asked of them.
    """
    image_shape = saved.model.input_shape[1:3]
    if format == "saved_model":
        endpoints = saved_model.write(network, saved.info, precision, image_shape, ten_crop, path)
        exported = saved_model.Exported(path)
        saved_model.check_endpoints(exported, network, saved.info, precision, images)
        return exported, endpoints
    if format == "onnx":
        _module(format).write(network, image_shape, path)
    else:
        _module(format).write(network, saved.info.image_size, precision, images, path)
    return _module(format).read(path), []


def _sealed(format: str, info: ModelInfo, facts: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Put checksums into a SavedModel, or the card into a file; then its size and its checksum."""
    if format == "saved_model":
        sha256 = card.write_sums(path)
    else:
        _module(format).embed(card.build_card(info, facts), path)
        sha256 = card.checksum(path)
    return {"bytes": card.size_of(path), "sha256": sha256}


def _write_cards(info: ModelInfo, facts: Mapping[str, Any], temporary: Path, target: Path) -> None:
    """The cards of what becomes `target`: beside it, and inside a SavedModel, whose version they name."""
    if temporary.is_dir():
        described = card.build_card(info, {**facts, "version": int(target.name)})
        card.write_card(described, temporary / CARD_FOLDER)
        card.write_card(described, temporary.parent)
    else:
        card.write_card(card.build_card(info, facts), temporary.parent, f"{target.name}.")

"""The model card: what an export is, for people (README.md) and for programs (keras_resnet.json)."""

from __future__ import annotations

import hashlib
import html
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tensorflow as tf

import keras_resnet
from keras_resnet.errors import UserError
from keras_resnet.export.parity import TOLERANCES
from keras_resnet.saving import MEMBER as CARD
from keras_resnet.saving import RUN_MODEL, ModelInfo

README = "README.md"
SUMS = "SHA256SUMS"
# What two versions of one model have in common, by its key in the card.
_IDENTITY = {
    "name": "architecture",
    "shortcut": "shortcuts",
    "downsample": "downsampling",
    "label_names": "labels",
    "image_size": "image size",
    "resize": "resize",
}


def checksum(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal, as `sha256sum` prints it."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_sums(folder: Path) -> str:
    """List the checksums of the folder's files in `SHA256SUMS`, for `sha256sum -c`; that file's own."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{checksum(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    sums = folder / SUMS
    sums.write_text("".join(lines), encoding="utf-8")
    return checksum(sums)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)


def provenance(model_path: str | os.PathLike[str]) -> dict[str, str]:
    """Where an export comes from: source, checksum, date and versions."""
    path = Path(model_path)
    file = path / RUN_MODEL if path.is_dir() else path
    return {
        "source": file.name if path.is_file() else f"{path.resolve().name}/{RUN_MODEL}",
        "source_sha256": checksum(file),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "keras_resnet": keras_resnet.__version__,
        "tensorflow": tf.__version__,
    }


def build_card(info: ModelInfo, export: Mapping[str, Any]) -> dict[str, Any]:
    """The card as plain data; `info.from_json(card["model"])` reads the description back."""
    architecture = info.architecture
    classes = len(info.label_names)
    return {
        "model": info.to_json(),
        "parameters": architecture.parameters(classes, info.image_size),
        "multiply_adds": architecture.multiply_adds(info.image_size, classes),
        "export": dict(export),
    }


def refuse_others_readme(folder: Path) -> None:
    """Raise a UserError where the card would replace a README.md that we did not write."""
    if (folder / README).exists() and not (folder / CARD).exists():
        raise UserError(
            f"{folder} has a {README} of its own, which the model card would replace: export elsewhere"
        )


def refuse_another_model(info: ModelInfo, folder: Path, prefix: str = "") -> None:
    """Raise a UserError where the card in `folder` describes another network, other labels or another view.

    The next version of a model is served in the place of the one before it: clients count on its classes.
    """
    path = folder / f"{prefix}{CARD}"
    if not path.exists():
        return
    try:
        theirs = json.loads(path.read_text(encoding="utf-8"))["model"]
        different = [word for key, word in _IDENTITY.items() if theirs[key] != info.to_json()[key]]
        name = theirs["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a model card: choose another --output, or remove it") from error
    if different:
        raise UserError(
            f"{folder} has exports of another model ({name}; different: {', '.join(different)}): "
            "choose another --output"
        )


def write_card(card: Mapping[str, Any], folder: Path, prefix: str = "") -> None:
    """Write both forms of the card into `folder`; `prefix` goes before their names."""
    folder.mkdir(exist_ok=True)
    for name, text in ((CARD, json.dumps(card, indent=1) + "\n"), (README, readme(card))):
        (folder / f"{prefix}{name}").write_text(text, encoding="utf-8")


def readme(card: Mapping[str, Any]) -> str:
    """The card for people, in Markdown."""
    model, export = card["model"], card["export"]
    labels = model["label_names"]
    shown = ", ".join(html.escape(label, quote=False) for label in labels[:10]) + (
        f", … ({len(labels)} in all)" if len(labels) > 10 else ""
    )
    rows = [
        ("architecture", _architecture(model)),
        ("parameters", f"{card['parameters']:,}"),
        ("multiply-adds per image", f"{card['multiply_adds']:,}"),
        ("trained on", html.escape(model["dataset"] or "not recorded", quote=False)),
        ("recipe", model["recipe"] or "not recorded"),
        (
            "view",
            f"shorter side to {model['resize']} pixels, central {model['image_size']}×"
            f"{model['image_size']}, RGB 0…255; EXIF orientation is ignored",
        ),
        ("classes", shown),
        *_results(model["results"]),
        ("format", f"{export['format']}, {export['precision']}"),
        *((("version", str(export["version"])),) if "version" in export else ()),
        (
            "agreement with the Keras model",
            f"on {export['compared_on']}: same top-1 class on {export['top1_agreement']:.1%}, largest "
            f"difference of a probability {export['max_difference']:.2g}, relative error "
            f"{export['relative_error']:.2g} (allowed {TOLERANCES[export['precision']]:g}){_errors(export)}",
        ),
        _sums(export),
        ("source", f"`{export['source']}` (SHA-256 `{export['source_sha256']}`)"),
        (
            "written",
            f"{export['written']} by keras-resnet {export['keras_resnet']}, TensorFlow "
            f"{export['tensorflow']}",
        ),
    ]
    # Labels are anybody's: neither a line break nor a bar of theirs may end a cell.
    cells = [(name, " ".join(value.split()).replace("|", "\\|")) for name, value in rows]
    table = "\n".join(f"| {name} | {value} |" for name, value in cells)
    return (
        f"# {model['name']}\n\n"
        "A network of “Deep Residual Learning for Image Recognition” (He, Zhang, Ren, Sun 2015), exported\n"
        "for inference by keras-resnet. Programs read the same from `keras_resnet.json`.\n\n"
        f"| | |\n|---|---|\n{table}\n\n{_usage(card)}"
    )


def _errors(export: Mapping[str, Any]) -> str:
    if export["model_error"] is None:
        return ""
    return f"; top-1 error {export['export_error']:.2f} % instead of {export['model_error']:.2f} %"


def _architecture(model: Mapping[str, Any]) -> str:
    shortcut = f", shortcuts of option {model['shortcut']}" if model["shortcut"] else ""
    return f"{model['name']}{shortcut}"


def _results(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """One row per error, in percent, with what it was measured on as far as that is recorded."""
    given = {"split": "{} split", "images": "{:,} images", "views": "{} view"}
    on = ", ".join(text.format(results[key]) for key, text in given.items() if key in results)
    rows = [
        (key.replace("_", " ").replace("top", "top-"), f"{value:.2f} %" + (f" ({on})" if on else ""))
        for key, value in results.items()
        if key.endswith("_error")
    ]
    return rows or [("errors", "not recorded")]


def _sums(export: Mapping[str, Any]) -> tuple[str, str]:
    if export["format"] == "saved_model":
        return f"SHA-256 of `{SUMS}`", f"`{export['sha256']}`; the files by it: `sha256sum -c {SUMS}`"
    return "SHA-256", f"`{export['sha256']}`"


def _usage(card: Mapping[str, Any]) -> str:
    export = card["export"]
    size = card["model"]["image_size"]
    endpoints = "".join(f"- `{name}`: {_ENDPOINTS[name]}\n" for name in export.get("endpoints", ()))
    return _USAGE[export["format"]].format(
        name=export["name"],
        version=export.get("version"),
        precision=export["precision"],
        size=size,
        endpoints=endpoints.format(size=size),
    )


_ENDPOINTS = {
    "serving_default": "images [N, {size}, {size}, 3], 0…255 → probabilities",
    "classify_bytes": "JPEG, PNG, BMP or GIF files [N] → probabilities, top_probabilities, top_labels",
    "classify_10_crop": "the same, averaged over ten crops of each image",
    "features": "images → features, and the last maps of the stages",
    "explain": "images → Grad-CAM of the most probable class",
}


_USAGE = {
    "saved_model": """\
## Use

Classify files; nothing but TensorFlow is needed ({version} is the folder of this version):

```python
import tensorflow as tf
model = tf.saved_model.load("{version}")
answer = model.signatures["classify_bytes"](image_bytes=tf.constant([open("photo.jpg", "rb").read()]))
print(answer["top_labels"][0], answer["top_probabilities"][0])
```

Serve it (REST on port 8501):

```sh
docker run -p 8501:8501 -v "$PWD:/models/{name}" -e MODEL_NAME={name} tensorflow/serving
```

Endpoints:

{endpoints}""",
    "onnx": """\
## Use

Input `images` [N, {size}, {size}, 3] float32, RGB 0…255 (not normalised: the network does that); output
`probabilities`. The labels are in the file's metadata, `keras_resnet`.

```python
import onnxruntime
session = onnxruntime.InferenceSession("{name}.onnx")
(probabilities,) = session.run(["probabilities"], {{"images": images}})
```
""",
    "litert": """\
## Use

Input `images` [1, {size}, {size}, 3] float32, RGB 0…255 (not normalised: the network does that); output
`probabilities`. The labels are inside the file, which is a zip too: `unzip -p FILE labels.txt`.

```python
from ai_edge_litert.interpreter import Interpreter
classify = Interpreter("{name}-{precision}.tflite").get_signature_runner()
probabilities = classify(images=images)["probabilities"]
```
""",
}

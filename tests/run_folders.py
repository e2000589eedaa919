"""Run folders as training leaves them, made up in a moment: for tests that only read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from keras_resnet.data.digits import digits_arrays
from keras_resnet.evaluation.scores import Scores, save_scores
from keras_resnet.recipes import get_recipe

EPOCHS = 8


def write_run(
    folder: Path,
    network: str = "resnet20",
    *,
    final_train: float = 1.0,
    final_val: float = 5.0,
    shortcut: str | None = "A",
    seed: int = 0,
    finished: bool = True,
    tested: bool = True,
    dataset: str = "digits",
    learning_rate: float = 0.1,
    responses: bool = False,
    hold_out: int = 0,
) -> Path:
    """A run of 8 epochs of 10 steps whose rate drops after epochs 4 and 6."""
    shortcut = None if network.startswith("plain") else shortcut
    recipe = get_recipe("cifar-paper").to_json() | {"learning_rate": learning_rate}
    settings = {
        "network": network,
        "shortcut": shortcut,
        "downsample": "1x1",
        "dataset": dataset,
        "image_size": 32,
        "precision": "float32",
        "devices": "all",
        "seed": seed,
        "hold_out": hold_out,
        "accumulate": 1,
        "initial_weights": None,
        "recipe": recipe,
    }
    record = {
        "settings": settings,
        "status": "finished" if finished else "interrupted",
        "total_steps": 10 * EPOCHS,
        "command": "keras-resnet train --depth 20",
        "hardware": {"cpu": "A <CPU>", "cores": 2, "gpus": [], "devices": "1 CPU"},
        "versions": {"tensorflow": "2.21.0"},
        "updated": "2026-01-02T03:04:05+00:00",
    }
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(record))
    lines = ["step,epoch,learning_rate,train_loss,train_error,val_error,images_per_second,waiting"]
    for epoch in range(1, EPOCHS + 1):
        rate = learning_rate * 0.1 ** ((epoch > 4) + (epoch > 6))
        rest = 50.0 * (EPOCHS - epoch)
        lines.append(
            f"{10 * epoch},{epoch},{rate},0.5,{final_train + rest},{final_val + rest},{100 + epoch},0.01"
        )
    (folder / "history.csv").write_text("\n".join(lines) + "\n")
    if tested:
        write_test(folder, errors=int(final_val))
    if responses:
        found = {"network": network, "images": 10, "layers": ["a", "b"], "std": [0.5, 1.5]}
        (folder / "responses.json").write_text(json.dumps(found))
    return folder


def write_test(folder: Path, errors: int, images: int = 100, seed: int = 1) -> None:
    """Scores with that many wrong images of 100, and the file with the errors."""
    random = np.random.default_rng(seed)
    labels = digits_arrays("test")[1][:images]
    probabilities = random.uniform(0.0, 0.05, (images, 10))
    probabilities[np.arange(images), labels] = 0.9
    probabilities[np.arange(errors), labels[:errors]] = 0.0
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    names = tuple(str(label) for label in range(10))
    scores = Scores(
        (folder.name,),
        "digits",
        f"test[:{images}]",
        "single",
        names,
        np.arange(images),
        labels,
        probabilities.astype(np.float32),
    )
    save_scores(scores, folder / "scores-single.npz")
    found: dict[str, Any] = {
        "top1_error": 100.0 * errors / images,
        "top5_error": 0.0,
        "images": images,
        "skipped": 0,
        "views": "single",
        "top1_interval": [0.0, 12.0],
        "dataset": "digits",
        "split": f"test[:{images}]",
    }
    (folder / "evaluation-single.json").write_text(json.dumps(found))

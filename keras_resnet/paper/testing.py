"""Test errors of a run folder, kept in the folder: `evaluation-VIEWS.json` and `scores-VIEWS.npz`."""

from __future__ import annotations

import datetime
import json
import time
from pathlib import Path

from keras_resnet.data.sources import Dataset
from keras_resnet.evaluation import evaluate
from keras_resnet.training.checkpoints import write_atomically

_BULKY = ("confusion", "skipped_files", "label_names")  # all of it can be had again from the scores


def measure_errors(folder: Path, dataset: Dataset, views: str = "single", skip_limit: float = 0.05) -> None:
    """Measure the run's model on the test split and keep errors and scores in its folder.

    Raises:
        UserError: there is no readable model, it was trained on other classes, or more than `skip_limit` of
            the images are unreadable.
    """
    began = time.monotonic()
    result = evaluate(
        str(folder),
        dataset,
        views=views,
        save_scores=folder / f"scores-{views}.npz",
        batch_size=250 if dataset.is_small else 64,
        skip_limit=skip_limit,
    ).to_json()
    found = {name: value for name, value in result.items() if name not in _BULKY}
    found["models"] = [folder.name]
    found["seconds"] = round(time.monotonic() - began, 1)
    found["date"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_atomically(folder / f"evaluation-{views}.json", json.dumps(found, indent=1).encode())

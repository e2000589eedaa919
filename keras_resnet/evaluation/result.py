"""What an evaluation found: all numbers that follow from scores, ready for a person, JSON or a report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_resnet.evaluation import metrics
from keras_resnet.evaluation.metrics import Calibration, McNemar
from keras_resnet.evaluation.scores import Scores, average, load_scores

WHOLE_MATRIX = 20  # classes; of a larger confusion matrix only the cells that are not 0 are told


@dataclass(frozen=True)
class Evaluation:
    """Errors of a model (or ensemble) on a split.

    Attributes:
        scores: what all of this follows from: the probabilities [images, classes] of every image.
        top1_error: percent of the images whose best class is wrong.
        top5_error: percent of the images whose class is not among the five best; of five classes, 0.
        intervals: 95 % intervals of the two errors by their names (Wilson), in percent.
        per_class_error: [classes], top-1 error in percent; NaN for classes without images.
        confusion: [classes, classes], images by (true, predicted).
        calibration: how often the model is right, by its confidence; fractions.
    """

    scores: Scores
    top1_error: float
    top5_error: float
    intervals: dict[str, tuple[float, float]]
    per_class_error: NDArray[np.floating]
    confusion: NDArray[np.integer]
    calibration: Calibration

    @classmethod
    def from_scores(cls, scores: Scores) -> Evaluation:
        """Everything that follows from `scores`."""
        probabilities, labels = scores.probabilities, scores.labels
        ranks, images = metrics.label_ranks(probabilities, labels), len(labels)
        wrong = {"top1_error": int((ranks >= 1).sum()), "top5_error": int((ranks >= 5).sum())}
        classes = len(scores.label_names)
        confusion = metrics.confusion_matrix(labels, probabilities.argmax(axis=1), classes)
        return cls(
            scores,
            metrics.percent(wrong["top1_error"], images),
            metrics.percent(wrong["top5_error"], images),
            {name: metrics.wilson_interval(errors, images) for name, errors in wrong.items()},
            metrics.per_class_error(confusion),
            confusion,
            metrics.calibration(probabilities, labels),
        )

    @property
    def images(self) -> int:
        """How many images were classified."""
        return len(self.scores.labels)

    @property
    def skipped(self) -> int:
        """How many files could not be read."""
        return len(self.scores.skipped)

    @property
    def views(self) -> str:
        """`single`, `10-crop` or `multi-scale`."""
        return self.scores.views

    @property
    def models(self) -> tuple[str, ...]:
        """What was evaluated: one model, or the members of the ensemble."""
        return self.scores.models

    @property
    def errors_shown(self) -> tuple[str, ...]:
        """The errors worth showing: of five classes or fewer, the best five always hold the right one."""
        return ("top1_error", "top5_error") if len(self.scores.label_names) > 5 else ("top1_error",)

    @property
    def ece(self) -> float:
        """Expected calibration error, a fraction."""
        return self.calibration.ece

    def _confusions(self) -> list[list[int]]:
        """The matrix; of many classes only the cells that are not 0, as (true, predicted, images)."""
        if len(self.confusion) <= WHOLE_MATRIX:
            return self.confusion.tolist()
        cells = np.argwhere(self.confusion)
        return np.column_stack([cells, self.confusion[tuple(cells.T)]]).tolist()

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON: all numbers, but not the scores of single images."""
        scores = self.scores
        return {
            "top1_error": self.top1_error,
            "top5_error": self.top5_error,
            "images": self.images,
            "skipped": self.skipped,
            "views": self.views,
            "models": list(self.models),
            "dataset": scores.dataset,
            "split": scores.split,
            "top1_interval": list(self.intervals["top1_error"]),
            "top5_interval": list(self.intervals["top5_error"]),
            "ece": self.ece,
            "label_names": list(scores.label_names),
            "per_class_error": [None if np.isnan(e) else float(e) for e in self.per_class_error],
            "confusion": self._confusions(),
            "calibration": {
                name: [None if np.isnan(v) else float(v) for v in getattr(self.calibration, name)]
                for name in ("confidence", "accuracy", "images")
            },
            "skipped_files": list(scores.skipped),
        }


def combine_scores(files: Sequence[str | os.PathLike[str]]) -> Evaluation:
    """The ensemble of scores saved earlier, without running a model: each model counts once.

    Args:
        files: .npz files of `evaluate(…, save_scores=…)`, about the same images.

    Raises:
        UserError: a file is missing or holds something else, or the files are about other images.
    """
    parts = [load_scores(file) for file in files]
    return Evaluation.from_scores(average(parts, [str(file) for file in files]))


def mcnemar(first: Evaluation, second: Evaluation) -> McNemar:
    """Is one of two evaluations on the same images better than chance explains? McNemar's exact test.

    Args:
        first: one model's evaluation.
        second: another model's, on the same images.

    Returns:
        How many images only the one or only the other gets right, and `p_value`, the probability of so
        uneven a split, were both equally good.

    Raises:
        UserError: the two were made on other images.
    """
    average([first.scores, second.scores])  # raises unless they are comparable
    right = [e.scores.probabilities.argmax(axis=1) == e.scores.labels for e in (first, second)]
    return metrics.mcnemar_test(*right)

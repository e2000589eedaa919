"""Evaluation as the paper evaluates (Sec. 3.4, 4.1, 4.2), and what a user does with errors.

What runs models is imported when it is first asked for: combining saved scores needs no TensorFlow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from keras_resnet.evaluation.metrics import Calibration, McNemar
from keras_resnet.evaluation.result import Evaluation, combine_scores, mcnemar
from keras_resnet.evaluation.scores import Scores, load_scores

if TYPE_CHECKING:
    from keras_resnet.evaluation.classifier import Classifier, open_classifier
    from keras_resnet.evaluation.evaluating import evaluate
    from keras_resnet.evaluation.protocols import VIEWS, evaluation_split

_HOMES = {
    "Classifier": "classifier",
    "open_classifier": "classifier",
    "VIEWS": "protocols",
    "evaluate": "evaluating",
    "evaluation_split": "protocols",
}

__all__ = [
    "VIEWS",
    "Calibration",
    "Classifier",
    "Evaluation",
    "McNemar",
    "Scores",
    "combine_scores",
    "evaluate",
    "evaluation_split",
    "load_scores",
    "mcnemar",
    "open_classifier",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

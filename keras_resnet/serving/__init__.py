"""Answers from saved networks: `predict` for files, `server` for HTTP."""

from __future__ import annotations

from keras_resnet.serving.classifier import Classifier, open_classifier
from keras_resnet.serving.predict import predict

__all__ = ["Classifier", "open_classifier", "predict"]

"""Answers from saved networks: `predict` for image files, `serve` over HTTP."""

from __future__ import annotations

from keras_resnet.serving.predicting import predict

__all__ = ["predict"]

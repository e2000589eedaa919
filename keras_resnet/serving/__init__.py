"""Answers from saved networks: `predict` for image files, `server` for HTTP."""

from __future__ import annotations

from keras_resnet.serving.predict import predict

__all__ = ["predict"]

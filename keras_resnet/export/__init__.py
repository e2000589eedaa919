"""Export: a trained network as a file that other programs run, with the proof that it is the same network."""

from __future__ import annotations

from keras_resnet.export.exporting import ExportResult, export_model

__all__ = ["ExportResult", "export_model"]

"""`run.json`: what was asked for can be asked for again."""

from __future__ import annotations

import json
import shlex

import tensorflow as tf

from keras_resnet.training import record


def test_the_command_can_be_pasted(tmp_path, monkeypatch):
    words = ["keras-resnet", "train", "--depth", "20", "--workdir", "my runs/a$b"]
    monkeypatch.setattr(record.sys, "argv", words)
    monkeypatch.setattr(record, "hardware", lambda strategy: {})
    record.RunRecord(tmp_path, tf.distribute.get_strategy()).update("running")
    assert shlex.split(json.loads((tmp_path / "run.json").read_text())["command"]) == words

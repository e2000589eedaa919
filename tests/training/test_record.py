"""`run.json`: what was asked for can be asked for again."""

from __future__ import annotations

import json
import shlex
from types import SimpleNamespace

import tensorflow as tf

from keras_resnet.training import record
from keras_resnet.training.progress import COLUMNS, History, Reporter, read_history, say


def test_the_command_can_be_pasted(tmp_path, monkeypatch):
    words = ["keras-resnet", "train", "--depth", "20", "--workdir", "my runs/a$b"]
    monkeypatch.setattr(record.sys, "argv", words)
    monkeypatch.setattr(record, "hardware", lambda strategy: {})
    record.RunRecord(tmp_path, tf.distribute.get_strategy()).update("running")
    assert shlex.split(json.loads((tmp_path / "run.json").read_text())["command"]) == words


def test_an_epoch_that_was_logged_and_not_saved_is_logged_once(tmp_path):
    row = dict.fromkeys(COLUMNS, 1.0)
    for step in (10, 20):
        History(tmp_path, 20).add({**row, "step": step})
    History(tmp_path, 20).add({**row, "step": 20, "train_error": 2.0})
    assert [(row["step"], row["train_error"]) for row in read_history(tmp_path)] == [(10, 1), (20, 2)]


def test_a_run_does_not_end_with_the_reader_of_its_output(monkeypatch):
    def gone(*_):
        raise BrokenPipeError

    monkeypatch.setattr(
        "sys.stderr", SimpleNamespace(write=gone, flush=gone, isatty=lambda: False, encoding="utf-8")
    )
    reporter = Reporter(total_steps=10, first_step=0)
    reporter.say("first")
    reporter.say("second")
    say("third")

"""Runs that are killed or asked to stop, and go on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from small_runs import DIGITS, assert_same_weights, command, settings

from keras_resnet.training.checkpoints import FOLDER, latest_checkpoint
from keras_resnet.training.engine import Engine
from keras_resnet.training.interrupts import Interrupted
from keras_resnet.training.progress import COLUMNS, read_history
from keras_resnet.training.run import train

# Tests kill a run this often; 20 for the full proof (docs/training.md has the result).
KILLS = int(os.environ.get("KERAS_RESNET_KILLS", "2"))


def saved_step(workdir: Path) -> int:
    names = [path.stem for path in (workdir / FOLDER).glob("step-*.safetensors")]
    return max((int(name.removeprefix("step-")) for name in names), default=0)


def kill_on_the_way(process: subprocess.Popen, workdir: Path, step: int, saving: bool) -> None:
    """SIGKILL after the checkpoint of `step`; `saving`: while the next one is being written."""
    while saved_step(workdir) < step or (saving and not list((workdir / FOLDER).glob(".*.tmp"))):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_killed_runs_end_with_the_weights_of_an_uninterrupted_one(tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    subprocess.run(command(straight, "--ema", "0.9"), check=True, capture_output=True)
    steps = json.loads((straight / "run.json").read_text())["total_steps"]
    again = command(killed, "--ema", "0.9", "--checkpoint-steps", "3")
    rng = random.Random(1)
    for kill in range(KILLS):
        process = subprocess.Popen(again, stderr=subprocess.PIPE, text=True)
        share = (steps - saved_step(killed)) / (KILLS - kill + 1)
        step = saved_step(killed) + round(rng.uniform(1, max(1.0, share)))
        kill_on_the_way(process, killed, step, saving=kill % 2 == 1)
    subprocess.run(again, check=True, capture_output=True)
    assert_same_weights(straight, killed)
    keep = [name for name in COLUMNS if name not in ("images_per_second", "waiting")]
    histories = [[[row[c] for c in keep] for row in read_history(run)] for run in (straight, killed)]
    assert histories[0] == histories[1]
    assert not list((killed / FOLDER).glob(".*.tmp"))


def test_a_signal_during_the_validation_stops_it_and_the_epoch_is_validated_later(tmp_path, monkeypatch):
    evaluate = Engine.evaluate
    seen = []

    def interrupted(self, batches):
        seen.append(True)
        if len(seen) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(self, batches)

    monkeypatch.setattr(Engine, "evaluate", interrupted)
    with pytest.raises(Interrupted, match="step 11 of 22"):
        train(settings(overrides={"epochs": 2}), DIGITS, tmp_path, quiet=True)
    assert not (tmp_path / "history.csv").exists()
    train(settings(overrides={"epochs": 2}), DIGITS, tmp_path, quiet=True)
    assert [row["step"] for row in read_history(tmp_path)] == [11, 22]


def test_sigterm_saves_says_how_to_go_on_and_exits_with_143(tmp_path):
    process = subprocess.Popen(
        command(tmp_path, "--epochs", "200"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 1 "):
            break
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert time.monotonic() - began < 20
    assert "run the same command again to go on" in stderr and "Traceback" not in stderr
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "interrupted"
    assert latest_checkpoint(tmp_path) is not None

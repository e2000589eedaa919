"""Runs that are killed or asked to stop, and resume."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import shallow
from click.testing import CliRunner
from small_runs import DIGITS, assert_same_weights, command, settings

from keras_resnet.cli import main
from keras_resnet.training import run
from keras_resnet.training.checkpoints import FOLDER, latest_checkpoint
from keras_resnet.training.engine import Engine
from keras_resnet.training.interrupts import Interrupted
from keras_resnet.training.progress import COLUMNS, read_history
from keras_resnet.training.run import train

# Tests kill a run this often; 20 for the full proof (docs/training.md has the result).
KILLS = int(os.environ.get("KERAS_RESNET_KILLS", "2"))


def run_here(arguments: list[str]) -> None:
    """What `command` gives, in this process."""
    result = CliRunner().invoke(main, arguments[2:])
    assert result.exit_code == 0, result.output


def saved_step(workdir: Path) -> int:
    names = [path.stem for path in (workdir / FOLDER).glob("step-*.safetensors")]
    return max((int(name.removeprefix("step-")) for name in names), default=0)


def kill_after(arguments: list[str], workdir: Path, step: int) -> None:
    """SIGKILL from outside, at any moment after the checkpoint of `step`."""
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    while saved_step(workdir) < step:
        assert process.poll() is None, process.communicate()
        time.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    process.communicate()


# `python -c … FOLDER COUNT train …`: killed while it writes a checkpoint to FOLDER, after COUNT whole ones.
KILLED_WHILE_SAVING = """
import os, pathlib, signal, sys
folder, whole = pathlib.Path(sys.argv.pop(1)), int(sys.argv.pop(1))
fsync, seen = os.fsync, []

def killed(descriptor):
    name = os.readlink(f"/proc/self/fd/{descriptor}")
    if name.startswith(f"{folder.resolve()}/") and name.endswith(".tmp"):
        seen.append(descriptor)
        if len(seen) > whole:
            os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)

os.fsync = killed
import shallow
shallow.main()
"""


def test_killed_runs_end_with_the_weights_of_an_uninterrupted_one(tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    options = ("--epochs", "4", "--ema", "0.9")
    run_here(command(straight, *options))
    steps = json.loads((straight / "run.json").read_text())["total_steps"]
    again = command(killed, *options, "--checkpoint-steps", "3")
    rng = random.Random(1)
    for kill in range(KILLS):
        before = saved_step(killed)
        # Some whole checkpoints first, and steps left for the other kills.
        whole = rng.randint(1, max(1, (steps - before) // 3 // (KILLS - kill + 1)))
        if kill % 2:
            program = [sys.executable, "-c", KILLED_WHILE_SAVING, str(killed / FOLDER), str(whole)]
            tests = Path(shallow.__file__).parent
            process = subprocess.run([*program, *again[2:]], capture_output=True, text=True, cwd=tests)
            assert process.returncode == -signal.SIGKILL, process.stderr
            assert list((killed / FOLDER).glob(".*.tmp"))
        else:
            kill_after(again, killed, before + 3 * whole)
        assert saved_step(killed) < steps
    run_here(again)
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


def test_a_run_that_ends_before_its_first_step_can_be_started_again(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(run, "announcement", interrupted)
        train(settings(), DIGITS, tmp_path, quiet=True)
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "interrupted"
    assert train(settings(), DIGITS, tmp_path, quiet=True).steps > 0


def test_sigterm_saves_says_how_to_go_on_and_exits_with_143(tmp_path):
    process = subprocess.Popen(
        command(tmp_path, "--epochs", "200"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 1 "):
            break
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert "run the same command again to resume" in stderr and "Traceback" not in stderr
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "interrupted"
    assert latest_checkpoint(tmp_path) is not None

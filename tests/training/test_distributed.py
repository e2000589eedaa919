"""Several devices and several machines, the latter as processes on this one."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from keras_resnet.errors import UsageError, UserError
from keras_resnet.training.checkpoints import latest_checkpoint
from keras_resnet.training.devices import make_strategy
from keras_resnet.training.progress import read_history


def start(workdir: Path, *more: str) -> subprocess.Popen:
    arguments = ["train", "--depth", "20", "--image-size", "16", "--workdir", str(workdir), *more]
    program = [sys.executable, "-c", "from keras_resnet.cli import main; main()", *arguments]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def start_workers(workdir: Path, *more: str) -> list[subprocess.Popen]:
    sockets = [socket.socket() for _ in range(2)]
    for free in sockets:
        free.bind(("127.0.0.1", 0))
    workers = ",".join(f"127.0.0.1:{free.getsockname()[1]}" for free in sockets)
    for free in sockets:
        free.close()
    options = ("--devices", "cpu:1", "--workers", workers, *more)
    return [start(workdir, *options, "--worker-index", str(index)) for index in range(2)]


def wait(processes: list[subprocess.Popen], timeout: float = 300) -> list[str]:
    errors = []
    for process in processes:
        _, stderr = process.communicate(timeout=timeout)
        assert process.returncode == 0, stderr
        errors.append(stderr)
    return errors


def test_two_workers_train_as_two_devices_do(tmp_path):
    wait([start(tmp_path / "mirrored", "--devices", "cpu:2", "--epochs", "2")])
    stderr = wait(start_workers(tmp_path / "workers", "--epochs", "2"))
    assert "2 workers" in stderr[0] and "epoch" not in stderr[1]  # only the chief speaks and writes
    mirrored, workers = (read_history(tmp_path / name) for name in ("mirrored", "workers"))
    for ours, theirs in zip(workers, mirrored, strict=True):
        for column in ("train_loss", "train_error", "val_error"):
            assert ours[column] == pytest.approx(theirs[column], rel=1e-5), column
    a, b = latest_checkpoint(tmp_path / "mirrored"), latest_checkpoint(tmp_path / "workers")
    for name, array in a.arrays.items():
        np.testing.assert_allclose(array, b.arrays[name], atol=1e-4, err_msg=name)


def test_a_lost_worker_ends_the_other_and_both_resume(tmp_path):
    options = ("--epochs", "40", "--checkpoint-steps", "20")
    chief, other = start_workers(tmp_path, *options)
    for line in chief.stderr:
        if line.startswith("epoch 2 "):
            break
    other.send_signal(signal.SIGKILL)
    other.communicate()
    began = time.monotonic()
    _, stderr = chief.communicate(timeout=90)
    assert time.monotonic() - began < 60
    assert chief.returncode == 1, stderr
    assert "another worker is gone" in stderr.strip().splitlines()[-1]
    step = latest_checkpoint(tmp_path).step
    assert step >= 36
    chief, other = start_workers(tmp_path, *options)
    for line in chief.stderr:
        if line.startswith("resuming"):
            assert f"step {step}" in line
        if line.startswith("epoch"):
            break
    for process in (chief, other):
        process.send_signal(signal.SIGTERM)
    for process in (chief, other):
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM, stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("all", ["a:1", "b:1"], None), "--worker-index"),
        (("all", ["a:1", "b:1"], 2), "--worker-index"),
        (("all", ["a", "b:1"], 0), "'a' is not HOST:PORT"),
        (("cpu:0",), "expected a number"),
        (("some",), "expected a number"),
        (("99",), "this machine has"),
    ],
)
def test_impossible_devices_are_refused(arguments, message):
    with pytest.raises((UsageError, UserError), match=message):
        make_strategy(*arguments)


def test_a_broken_tf_config_is_one_line(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{nonsense")
    with pytest.raises(UserError, match="TF_CONFIG"):
        make_strategy("all")

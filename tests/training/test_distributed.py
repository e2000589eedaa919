"""Several devices and several machines, the latter as processes on this one."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import shallow
import tensorflow as tf

from keras_resnet.errors import UsageError, UserError
from keras_resnet.training.checkpoints import FOLDER, latest_checkpoint
from keras_resnet.training.cluster import cluster_resolver
from keras_resnet.training.devices import _hide_devices, make_strategy, workers_of
from keras_resnet.training.progress import read_history

LENGTH = ("--epochs", "4")  # 72 steps: long enough to lose a worker on the way


def start(workdir: Path, *more: str) -> subprocess.Popen:
    arguments = ["train", "--depth", "20", "--image-size", "16", "--workdir", str(workdir), *more]
    program = [sys.executable, shallow.__file__, *arguments]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def start_workers(workdir: Path, *more: str, others: tuple[str, ...] = ()) -> list[subprocess.Popen]:
    sockets = [socket.socket() for _ in range(2)]
    for free in sockets:
        free.bind(("127.0.0.1", 0))
    workers = ",".join(f"127.0.0.1:{free.getsockname()[1]}" for free in sockets)
    for free in sockets:
        free.close()
    options = ("--devices", "cpu:1", "--workers", workers, *more)
    return [
        start(workdir, *options, *(others if index else ()), "--worker-index", str(index))
        for index in range(2)
    ]


def wait(processes: list[subprocess.Popen], timeout: float = 300) -> list[str]:
    errors = []
    for process in processes:
        _, stderr = process.communicate(timeout=timeout)
        assert process.returncode == 0, stderr
        errors.append(stderr)
    return errors


def latest_step(workdir: Path) -> int:
    """By the names of the files: quicker than the next checkpoint is written."""
    steps = [path.stem.removeprefix("step-") for path in (workdir / FOLDER).glob("step-*.safetensors")]
    return max(map(int, steps), default=0)


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory) -> Path:
    """A run of two workers, never interrupted."""
    workdir = tmp_path_factory.mktemp("workers")
    stderr = wait(start_workers(workdir, *LENGTH))
    assert "2 workers" in stderr[0] and "epoch" not in stderr[1]  # only the chief speaks and writes
    return workdir


def test_two_workers_train_as_two_devices_do(tmp_path, two_workers):
    wait([start(tmp_path, "--devices", "cpu:2", *LENGTH)])
    for ours, theirs in zip(read_history(two_workers), read_history(tmp_path), strict=True):
        for column in ("train_loss", "train_error", "val_error"):
            assert ours[column] == pytest.approx(theirs[column], rel=1e-5), column
    a, b = latest_checkpoint(tmp_path), latest_checkpoint(two_workers)
    for name, array in a.arrays.items():
        np.testing.assert_allclose(array, b.arrays[name], atol=1e-4, err_msg=name)


def test_a_lost_worker_ends_the_other_and_both_resume_exactly(tmp_path, two_workers):
    options = (*LENGTH, "--checkpoint-steps", "6")
    stopped = 0
    for lost in (0, 1):  # the chief, then the other one
        workers = start_workers(tmp_path, *options)
        while latest_step(tmp_path) <= stopped:
            assert workers[0].poll() is None, workers[0].communicate()
            time.sleep(0.001)
        workers[lost].send_signal(signal.SIGKILL)
        workers[lost].communicate()
        left = workers[1 - lost]
        _, stderr = left.communicate(timeout=120)
        assert left.returncode == 1, stderr
        assert "another worker is gone" in stderr.strip().splitlines()[-1]
        stopped = latest_step(tmp_path)
        assert 6 <= stopped < 72
    stderr = wait(start_workers(tmp_path, *options))
    assert f"resuming at step {stopped} " in stderr[0]
    a, b = latest_checkpoint(tmp_path), latest_checkpoint(two_workers)
    assert a.step == b.step
    for name, array in a.arrays.items():
        np.testing.assert_array_equal(array, b.arrays[name], err_msg=name)


@pytest.mark.parametrize("option", [("--learning-rate", "0.001"), ("--checkpoint-steps", "3")])
def test_workers_with_different_settings_are_refused(tmp_path, option):
    workers = start_workers(tmp_path, "--epochs", "2", others=option)
    for process in workers:
        _, stderr = process.communicate(timeout=90)
        assert process.returncode == 1 and "started with different settings" in stderr, stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("all", ["a:1", "b:1"], None), "--worker-index"),
        (("all", ["a:1", "b:1"], 2), "--worker-index"),
        (("all", ["a", "b:1"], 0), "'a' is not HOST:PORT"),
        (("cpu:0",), "expected a number"),
        (("some",), "expected a number"),
        (("99",), "GPUs on this machine: 0"),
        (("all", [], 1), "--workers"),
    ],
)
def test_impossible_devices_are_refused(arguments, message):
    with pytest.raises((UsageError, UserError), match=message):
        make_strategy(*arguments)


def test_a_worker_with_fewer_gpus_than_asked_for_is_refused(monkeypatch):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["one"])
    with pytest.raises(UserError, match="--devices 2: GPUs on this machine: 1"):
        _hide_devices("2")


@pytest.mark.parametrize(("kind", "index", "worker"), [("chief", 0, 0), ("worker", 0, 1), ("worker", 1, 2)])
def test_a_chief_is_the_first_worker(monkeypatch, kind, index, worker):
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}}))
    strategy = mock.Mock(spec=tf.distribute.MultiWorkerMirroredStrategy, cluster_resolver=cluster_resolver())
    assert workers_of(strategy) == (worker, 3)


def slurm(monkeypatch, **step):
    monkeypatch.setenv("TF_CONFIG", "")  # which is set, and has to be as it was afterwards
    for name, value in step.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    return cluster_resolver()


def test_slurm_names_the_workers_on_machines_without_gpus(monkeypatch):
    nodes = {"STEP_NODELIST": "n[1-2]", "STEP_TASKS_PER_NODE": "2(x2)"}
    resolver = slurm(monkeypatch, PROCID="3", STEP_NUM_TASKS="4", **nodes)
    assert resolver.cluster_spec().as_dict() == {"worker": ["n1:8888", "n1:8889", "n2:8888", "n2:8889"]}
    assert (resolver.task_type, resolver.task_id) == ("worker", 3)
    assert isinstance(
        resolver, tf.distribute.cluster_resolver.TFConfigClusterResolver
    )  # counts what is there


def test_slurms_order_of_nodes_is_not_that_of_texts(monkeypatch):
    """Task 2 is the first on n10, whatever its place in TensorFlow's list."""
    own = []
    for place in range(4):
        nodes = {"STEP_NODELIST": "n[9-11]", "STEP_TASKS_PER_NODE": "2,1(x2)"}
        resolver = slurm(monkeypatch, PROCID=str(place), STEP_NUM_TASKS="4", **nodes)
        own.append(resolver.cluster_spec().as_dict()["worker"][resolver.task_id])
    assert own == ["n9:8888", "n9:8889", "n10:8888", "n11:8888"]


@pytest.mark.parametrize(
    ("gpus", "bound", "shown"),
    [("abcd", False, "cd"), ("c", True, None), ("ab", True, None), ("", False, None)],
)
def test_tasks_of_one_node_share_its_gpus(monkeypatch, gpus, bound, shown):
    """Unless Slurm has given each task its own (--gpus-per-task)."""
    seen = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(gpus))
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda devices, kind: seen.append("".join(devices)))
    bound_to = {"GPUS_PER_TASK": "1"} if bound else {}
    nodes = {"STEP_NODELIST": "n[1-2]", "STEP_TASKS_PER_NODE": "2(x2)"}
    slurm(monkeypatch, PROCID="1", STEP_NUM_TASKS="4", **nodes, **bound_to)
    assert seen == ([] if shown is None else [shown])


@pytest.mark.parametrize("nonsense", ["{nonsense", '{"cluster": []}', "{}"])
def test_a_broken_tf_config_is_one_line(monkeypatch, nonsense):
    monkeypatch.setenv("TF_CONFIG", nonsense)
    with pytest.raises(UserError, match="TF_CONFIG"):
        make_strategy("all")

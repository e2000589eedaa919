import errno
import fcntl
import os

import numpy as np
import pytest

from keras_resnet.errors import UserError
from keras_resnet.training.checkpoints import (
    BEST,
    FOLDER,
    Checkpoint,
    latest_checkpoint,
    locked,
    save_checkpoint,
    write_atomically,
)


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, {"a": np.arange(4, dtype="float32") * step, "n": np.float32(step)}, {"x": [step]})


def test_what_was_saved_comes_back(tmp_path):
    save_checkpoint(tmp_path, checkpoint(7))
    found = latest_checkpoint(tmp_path)
    assert found is not None and found.step == 7 and found.state == {"x": [7]}
    np.testing.assert_array_equal(found.arrays["a"], checkpoint(7).arrays["a"])
    assert found.arrays["n"].shape == ()


def test_the_last_ones_and_the_best_are_kept(tmp_path):
    for step in (1, 2, 3, 4):
        save_checkpoint(tmp_path, checkpoint(step), keep=2, best=step == 2)
    names = sorted(path.name for path in (tmp_path / FOLDER).iterdir())
    assert names == sorted(["step-000000003.safetensors", "step-000000004.safetensors", BEST])


def test_a_damaged_file_is_passed_over(tmp_path):
    save_checkpoint(tmp_path, checkpoint(1))
    path = save_checkpoint(tmp_path, checkpoint(2))
    path.write_bytes(path.read_bytes()[:20])
    found = latest_checkpoint(tmp_path)
    assert found is not None and found.step == 1


def test_where_all_are_damaged_nothing_starts_over_by_itself(tmp_path):
    for step in (1, 2):
        save_checkpoint(tmp_path, checkpoint(step)).write_bytes(b"")
    with pytest.raises(UserError, match=r"none of the 2 checkpoints in .* can be read"):
        latest_checkpoint(tmp_path)


def test_the_checkpoint_just_written_outlives_damaged_newer_ones(tmp_path):
    for step in (8, 9):
        save_checkpoint(tmp_path, checkpoint(step)).write_bytes(b"")
    save_checkpoint(tmp_path, checkpoint(2), keep=1)
    found = latest_checkpoint(tmp_path)
    assert found is not None and found.step == 2


def test_no_folder_no_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path / "nowhere") is None


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EACCES])
def test_a_lock_that_is_held_is_told_by_two_numbers(number, tmp_path, monkeypatch):
    def held(*_):
        raise OSError(number, "held")

    monkeypatch.setattr(fcntl, "flock", held)
    with pytest.raises(UserError, match="another run is at work"), locked(tmp_path):
        pass


def test_a_file_system_without_locks_is_trained_on_all_the_same(tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unknown)
    with locked(tmp_path):
        assert (tmp_path / ".lock").exists()


def test_one_run_a_folder(tmp_path):
    with locked(tmp_path), pytest.raises(UserError, match="another run"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass

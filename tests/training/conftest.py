"""What several tests of training read: a small run that has ended."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import DIGITS, settings

from keras_resnet.training.run import train


@pytest.fixture(scope="module", autouse=True)
def shallow_here(shallow_networks):
    """Nothing in these tests has to do with depth."""


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("finished")
    train(settings(), DIGITS, workdir, quiet=True)
    return workdir

"""What every test needs: a quiet TensorFlow, and the shared data where it is present."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if importlib.util.find_spec("triton") is not None:
    # torch's CUDA builds import triton sooner or later, and after TensorFlow that is a segmentation fault
    # (torch 2.14, TensorFlow 2.21: two copies of LLVM). Before it, both work in one process.
    importlib.import_module("triton")

# The same examples every time, and no clock: a failure comes from the change at hand, on any machine.
settings.register_profile(
    "tests", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def shallow_networks() -> Iterator[None]:
    """Networks have one block a stage, those that a saved model names as well."""
    from shallow import SHALLOW

    from keras_resnet import architectures

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(architectures, "ARCHITECTURES", SHALLOW)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data that lies beside the repository; tests that need it skip where it is missing."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the data in {folder.relative_to(REPOSITORY.parent)} beside the repository")
    return folder

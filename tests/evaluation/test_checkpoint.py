"""The whole road on real data: a checkpoint trained by others, on all of CIFAR-10's test images."""

from __future__ import annotations

import tarfile

import numpy as np
import pytest

from keras_resnet.data.sources import open_dataset
from keras_resnet.evaluation import evaluate
from keras_resnet.saving import load_model
from keras_resnet.weights import import_weights


@pytest.fixture(scope="module")
def cifar_test(shared, tmp_path_factory):
    archive = shared / "cifar10-jpeg.tar.gz"
    if not archive.exists():
        pytest.skip(f"needs {archive.name} in the shared data")
    folder = tmp_path_factory.mktemp("cifar")
    with tarfile.open(archive) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4
        for member in tar:
            if member.isfile() and "/test/" in f"/{member.name}":
                tar.extract(member, folder)
    (test,) = folder.rglob("test")
    return open_dataset(str(test.parent))


def test_a_known_checkpoint_makes_its_known_errors(shared, cifar_test, tmp_path):
    checkpoint = shared / "resnet20-12fca82f.th"
    if not checkpoint.exists():
        pytest.skip(f"needs {checkpoint.name} in the shared data")
    model = import_weights(checkpoint, "resnet20", output=tmp_path / "model.keras")
    assert load_model(model).info.label_names[::9] == ("airplane", "truck")
    found = evaluate(model, cifar_test, batch_size=250)
    assert round(found.top1_error, 2) == 18.97  # what torch finds, shared/data/README.md
    assert (found.images, found.skipped) == (10_000, 0)
    assert found.confusion.sum() == 10_000
    assert np.all(found.confusion.sum(axis=1) == 1000)
    assert np.mean(found.per_class_error) == pytest.approx(found.top1_error)
    low, high = found.intervals["top1_error"]
    assert (round(low, 2), round(high, 2)) == (18.21, 19.75)

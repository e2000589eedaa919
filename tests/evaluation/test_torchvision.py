"""Test views against torchvision's own transforms, on real photos."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from keras_resnet.data.pipeline import evaluation_batches
from keras_resnet.data.sources import open_dataset
from keras_resnet.data.views import eval_view

pytestmark = pytest.mark.peers
PHOTOS = 8
TOLERANCE = 1  # of 255 levels: Pillow rounds to whole levels twice, after each direction

# In a process of its own: torchvision crashes when it is imported after TensorFlow.
TORCHVISION = """
import sys
import numpy as np
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Resize, TenCrop

output, *paths = sys.argv[1:]
arrays = {}
for name, crop in (("single", CenterCrop(224)), ("10-crop", TenCrop(224))):
    transform = Compose([Resize(256), crop])
    for number, path in enumerate(paths):
        views = transform(Image.open(path).convert("RGB"))
        several = isinstance(views, tuple)
        arrays[f"{name} {number}"] = np.stack([*map(np.asarray, views)]) if several else np.asarray(views)
np.savez(output, **arrays)
"""


@pytest.fixture(scope="module")
def photos(shared, tmp_path_factory):
    archive = shared / "imagenet-photos.tar"
    if not archive.exists():
        pytest.skip(f"needs {archive.name} in the shared data")
    folder = tmp_path_factory.mktemp("photos")
    with tarfile.open(archive) as tar:
        files = [member for member in tar.getmembers() if member.isfile()][: 31 * PHOTOS : 31]
        for member in files:
            target = folder / "val" / Path(member.name).parent.name / Path(member.name).name
            target.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(member)
            assert content is not None
            target.write_bytes(content.read())
    return open_dataset(str(folder))


@pytest.fixture(scope="module")
def theirs(photos, tmp_path_factory):
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("needs torchvision: make test-peers")
    file = tmp_path_factory.mktemp("theirs") / "views.npz"
    command = [sys.executable, "-c", TORCHVISION, str(file), *photos.listings["val"].paths]
    subprocess.run(command, check=True, capture_output=True)
    return np.load(file)


@pytest.mark.parametrize("name", ["single", "10-crop"])
def test_views_are_torchvisions(photos, theirs, name):
    seen = 0
    for images, _, index in evaluation_batches(photos, "val", eval_view(name, 224, resize=256), batch_size=3):
        for ours, number in zip(images.numpy(), index.numpy(), strict=True):
            difference = ours.astype(int) - theirs[f"{name} {number}"]
            assert np.abs(difference).max() <= TOLERANCE, photos.listings["val"].paths[number]
            assert np.abs(difference).mean() < 0.25
            assert abs(difference.mean()) < 0.02  # rounding, no shift
            seen += 1
    assert seen == PHOTOS

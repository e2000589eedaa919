"""Looking into data sets, packing them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from keras_resnet.cli import main
from keras_resnet.data import inspect as inspect_module
from keras_resnet.data.inspect import SHEET_COLUMNS, contact_sheet, inspect
from keras_resnet.data.packing import pack
from keras_resnet.data.pipeline import evaluation_batches
from keras_resnet.data.samples import write_samples
from keras_resnet.data.sources import open_dataset
from keras_resnet.data.views import eval_view, train_view
from keras_resnet.errors import UsageError
from keras_resnet.recipes import RECIPES

DIGITS = open_dataset("digits")


@pytest.fixture
def photos(tmp_path):
    """Two classes, one broken file, images of different sizes."""
    for split, count in (("train", 6), ("test", 2)):
        for name in ("cat", "dog"):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = np.full((20 + index, 30, 3), 40 * index, "uint8")
                Image.fromarray(pixels).save(folder / f"{index}.png")
    (tmp_path / "photos" / "train" / "cat" / "broken.jpg").write_bytes(b"not an image")
    return open_dataset(str(tmp_path / "photos"))


def test_inspect_counts_sizes_and_names_broken_files(photos):
    found = inspect(photos)
    train = found["splits"]["train"]
    assert found["label_names"] == ["cat", "dog"] and train["per_class"] == {"cat": 7, "dog": 6}
    assert train["smallest"] == [20, 30] and train["largest"] == [25, 30]
    assert [name.endswith("cat/broken.jpg") for name in train["broken"]] == [True]
    assert found["splits"]["test"]["broken"] == []


def test_inspect_looks_at_no_more_than_asked():
    assert inspect(DIGITS, limit=7)["splits"]["train"]["looked_at"] == 7


def test_contact_sheet_shows_a_batch(tmp_path):
    path = contact_sheet(DIGITS, train_view("pad-crop", 32, flip=False), tmp_path / "sheet.png")
    with Image.open(path) as sheet:
        assert sheet.width == SHEET_COLUMNS * 36 + 4 and sheet.height == 4 * 36 + 4
        assert len(set(np.asarray(sheet).ravel())) > 10


def test_contact_sheet_shows_what_a_recipe_adds(tmp_path):
    view, recipe = train_view("pad-crop", 32, flip=False), RECIPES["modern"]
    plain = contact_sheet(DIGITS, view, tmp_path / "plain.png")
    augmented = contact_sheet(DIGITS, view, tmp_path / "augmented.png", recipe=recipe)
    assert plain.read_bytes() != augmented.read_bytes()


def test_a_split_of_broken_files_only_is_told_too(photos):
    for path in photos.listings["test"].paths:
        Path(path).write_bytes(b"not an image")
    result = CliRunner().invoke(main, ["data", "inspect", photos.name])
    assert result.exit_code == 0, result.output
    assert "test: 4 images; of 4 looked at: none is readable\n  unreadable: " in result.stdout


@pytest.mark.parametrize(
    ("data", "recipe", "name"),
    [("digits", "digits", "pad-crop"), ("photos", "imagenet-paper", "scale-jitter")],
)
def test_the_sheet_shows_what_training_shows(data, recipe, name, photos, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(
        inspect_module,
        "inspect",
        lambda dataset: {"name": "", "kind": "", "classes": 0, "splits": {}, "label_names": []},
    )
    monkeypatch.setattr(inspect_module, "contact_sheet", lambda *a, recipe: shown.append((a[1], recipe.name)))
    dataset = "digits" if data == "digits" else photos.name
    result = CliRunner().invoke(main, ["data", "inspect", dataset, "--sheet", str(tmp_path / "sheet.png")])
    assert result.exit_code == 0, result.output
    [(view, of)] = shown
    assert (of, view.name, view.flip) == (recipe, name, data != "digits")  # a mirrored 2 is no digit


def test_samples_are_the_images_themselves(tmp_path):
    paths = write_samples(DIGITS, "test", tmp_path, 3)
    assert len(paths) == 3
    images = np.concatenate(
        [i for i, *_ in evaluation_batches(DIGITS, "test", eval_view("single", 32), batch_size=100)]
    )
    for path in paths:
        index = int(path.stem.split("-")[1])
        np.testing.assert_array_equal(np.asarray(Image.open(path)), images[index])


def test_packed_shards_hold_the_same_images_and_labels(tmp_path):
    packed = open_dataset(str(pack(DIGITS, tmp_path / "shards", shards=3)))
    assert packed.splits == DIGITS.splits and packed.label_names == DIGITS.label_names
    view = eval_view("single", 32)

    def rows(dataset):
        batches = evaluation_batches(dataset, "test", view, batch_size=100)
        return sorted(
            (images.numpy()[k].tobytes(), int(labels[k]))
            for images, labels, _ in batches
            for k in range(len(labels))
        )

    assert rows(packed) == rows(DIGITS)
    with pytest.raises(UsageError, match="not empty"):
        pack(DIGITS, tmp_path / "shards")

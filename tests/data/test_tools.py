"""Looking into data sets, packing them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import corpus
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image

from keras_resnet.architectures import ARCHITECTURES
from keras_resnet.cli import main
from keras_resnet.data.inspect import SHEET_COLUMNS, contact_sheet, inspect
from keras_resnet.data.jpeg import is_complete
from keras_resnet.data.packing import pack
from keras_resnet.data.pipeline import evaluation_batches
from keras_resnet.data.samples import write_samples
from keras_resnet.data.sources import open_dataset
from keras_resnet.data.views import eval_view
from keras_resnet.errors import UsageError
from keras_resnet.training.inputs import Inputs
from keras_resnet.training.settings import make_settings

DIGITS = open_dataset("digits")
VIEW = eval_view("single", 32)


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
    assert train["looked_at"] == 13
    assert train["smallest"] == [20, 30] and train["largest"] == [25, 30]
    [(name, reason)] = train["broken"].items()
    assert name.endswith("cat/broken.jpg") and reason
    assert found["splits"]["test"]["broken"] == {}


def test_inspect_looks_at_as_many_images_as_asked():
    advanced = []
    assert inspect(DIGITS, limit=7, advance=advanced.append)["splits"]["train"]["looked_at"] == 7
    assert sum(advanced) == 3 * 7
    everything = inspect(DIGITS, limit=None)["splits"]
    assert {split: facts["looked_at"] for split, facts in everything.items()} == DIGITS.splits


@pytest.mark.parametrize("progressive", [False, True])
def test_inspect_finds_jpeg_files_that_end_early(progressive, tmp_path):
    """Closed with an end mark, they are decoded like whole ones; training cannot tell."""
    jpeg = corpus.encoded(corpus.photo(1), "JPEG", progressive=progressive)
    middle_of_scan = (jpeg.rindex(b"\xff\xda") + len(jpeg)) // 2
    files = {"whole.jpg": jpeg, "cut.jpg": jpeg[:middle_of_scan] + b"\xff\xd9"}
    corpus.write(tmp_path / "train" / "a", files)
    dataset = open_dataset(str(tmp_path))
    assert sum(len(labels) for _, labels, _ in evaluation_batches(dataset, "train", VIEW, batch_size=2)) == 2
    [(name, reason)] = inspect(dataset)["splits"]["train"]["broken"].items()
    assert name.endswith("cut.jpg") and "JPEG data end early" in reason


def test_no_odd_but_whole_file_is_taken_for_a_cut_one():
    files = corpus.readable(1) | {
        "restarts.jpg": corpus.encoded(corpus.photo(1), "JPEG", restart_marker_rows=1)
    }
    assert [name for name, contents in files.items() if not is_complete(contents)] == []


def test_a_split_of_broken_files_only_is_told_too(photos):
    for path in photos.listings["test"].paths:
        Path(path).write_bytes(b"not an image")
    result = CliRunner().invoke(main, ["data", "inspect", photos.name])
    assert result.exit_code == 0, result.output
    assert "test: 4 images; of 4 looked at: none is readable\n  broken: " in result.stdout
    assert "cat/0.png: " in result.stdout


@pytest.mark.parametrize(("options", "count"), [([], 2), (["--all"], 300)])
def test_a_limit_and_all_images(options, count):
    result = CliRunner().invoke(main, ["data", "inspect", "digits", "--json", "--limit", "2", *options])
    assert json.loads(result.stdout)["splits"]["test"]["looked_at"] == count


def test_names_that_are_not_utf_8_are_printed(photos):
    """Python's own stdout refuses their bytes in most locales."""
    bad = os.fsencode(photos.name) + b"/train/cat/na\xefve.png"
    with open(bad, "wb") as file:  # noqa: PTH123  (the name is bytes)
        file.write(b"broken")
    runner = CliRunner()
    result = runner.invoke(main, ["data", "inspect", photos.name])
    assert result.exit_code == 0, result.output
    assert "train/cat/na\\xefve.png: not a JPEG" in result.stdout
    found = json.loads(runner.invoke(main, ["data", "inspect", photos.name, "--json"]).stdout)
    assert bad in map(os.fsencode, found["splits"]["train"]["broken"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--recipe", "modern"], "add --sheet"),
        (["--image-size", "32"], "add --sheet"),
        (["--sheet", "sheet.txt"], "sheet.txt would be a PNG file"),
        (["--sheet", "sheet.png", "--image-size", "4"], "resnet20 needs images of at least 8 pixels"),
    ],
)
def test_options_of_the_sheet_are_checked_first(options, message):
    result = CliRunner().invoke(main, ["data", "inspect", "digits", *options])
    assert result.exit_code == 2 and message in result.stderr and result.stdout == ""


@pytest.mark.parametrize("recipe", [None, "cifar-paper"])
def test_the_sheet_shows_what_training_is_fed(recipe, tmp_path):
    """Mean, colours and all: the first samples of the first step."""
    path = tmp_path / "sheet.png"
    options = ["--limit", "1", "--sheet", str(path), *(["--recipe", recipe] if recipe else [])]
    result = CliRunner().invoke(main, ["data", "inspect", "digits", *options])
    assert result.exit_code == 0, result.output
    settings = make_settings(ARCHITECTURES["resnet20"], DIGITS, recipe=recipe)
    inputs = Inputs.prepare(settings, DIGITS, tf.distribute.get_strategy())
    images, _ = next(iter(inputs.training_share(0)))
    with Image.open(path) as image:
        sheet = np.asarray(image)
    for index, expected in enumerate(images[:32].numpy()):
        row, column = divmod(index, SHEET_COLUMNS)
        top, left = 4 + row * (128 + 22), 4 + column * (128 + 4)
        shown = sheet[top : top + 128 : 4, left : left + 128 : 4]  # small ones are enlarged
        np.testing.assert_array_equal(shown, np.clip(np.round(expected), 0, 255))


def test_the_sheet_says_the_labels(tmp_path):
    images = np.full((2, 64, 64, 3), 100, np.uint8)

    def sheet(*labels):
        batches = tf.data.Dataset.from_tensors((images, np.array(labels)))
        path = contact_sheet(batches, ["cat", "dog"], tmp_path / "sheet.png")
        with Image.open(path) as image:
            return np.asarray(image)[-22:, :264]

    first, second = (sheet(0, 1)[:, start : start + 132] for start in (0, 132))
    assert (first < 128).any() and (second < 128).any() and (first != second).any()
    np.testing.assert_array_equal(sheet([1.0, 0.0], [0.0, 1.0]), sheet(0, 1))
    assert (sheet([0.7, 0.3], [0.0, 1.0])[:, :132] != first).any()


def test_what_a_sheet_needs_is_checked_before_the_long_look(tmp_path):
    corpus.write(tmp_path / "data" / "a", {"1.png": corpus.encoded(corpus.photo(1), "PNG")})
    options = ["--sheet", str(tmp_path / "sheet.png")]
    result = CliRunner().invoke(main, ["data", "inspect", str(tmp_path / "data"), *options])
    assert result.exit_code != 0 and "no train/" in result.stderr and result.stdout == ""


def test_a_sheet_of_data_with_many_broken_files(tmp_path):
    files = {f"{i}.png": corpus.encoded(corpus.photo(i, (32, 32)), "PNG") for i in range(8)}
    corpus.write(tmp_path / "data" / "train" / "a", files | {"broken.png": b"broken"})
    corpus.write(tmp_path / "data" / "val" / "a", files)
    options = ["--sheet", str(tmp_path / "sheet.png")]
    result = CliRunner().invoke(main, ["data", "inspect", str(tmp_path / "data"), *options])
    assert result.exit_code == 0, result.output
    assert "broken.png" in result.stdout and (tmp_path / "sheet.png").exists()


def test_samples_are_the_images_themselves(tmp_path):
    paths = write_samples(DIGITS, "test", tmp_path, 3)
    assert len(paths) == 3
    images = np.concatenate([i for i, *_ in evaluation_batches(DIGITS, "test", VIEW, batch_size=100)])
    for path in paths:
        index = int(path.stem.split("-")[1])
        np.testing.assert_array_equal(np.asarray(Image.open(path)), images[index])


def test_packed_shards_hold_the_same_images_and_labels(tmp_path):
    packed = open_dataset(str(pack(DIGITS, tmp_path / "shards", shards=3)))
    assert packed.splits == DIGITS.splits and packed.label_names == DIGITS.label_names

    def rows(dataset):
        batches = evaluation_batches(dataset, "test", VIEW, batch_size=100)
        return sorted(
            (images.numpy()[k].tobytes(), int(labels[k]))
            for images, labels, _ in batches
            for k in range(len(labels))
        )

    assert rows(packed) == rows(DIGITS)
    with pytest.raises(UsageError, match="not empty"):
        pack(DIGITS, tmp_path / "shards")

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from dataclasses import replace

import corpus
import numpy as np
import pytest

from keras_resnet.data import pipeline
from keras_resnet.data.digits import SPLITS, digits_arrays, stratified_parts
from keras_resnet.data.slices import split_name, split_range
from keras_resnet.data.sources import hold_out, open_dataset, validation_split
from keras_resnet.data.views import eval_view
from keras_resnet.errors import UsageError, UserError

PNG = corpus.encoded(corpus.photo(0, (8, 8)), "PNG")


def make(root, *paths):
    for path in paths:
        corpus.write((root / path).parent, {path.rsplit("/", 1)[-1]: PNG})
    return str(root)


def test_digits_are_split_once_and_for_all():
    digits = open_dataset("digits")
    assert digits.splits == {"train": 1197, "val": 300, "test": 300}
    assert digits.classes == 10 and digits.image_shape == (32, 32, 3)
    assert validation_split(digits) == "val"
    # These sums change only if the split, the scaling or the enlargement does.
    sums = {split: int(np.sum(digits_arrays(split)[0], dtype=np.int64)) for split in SPLITS}
    assert sums == {"train": 286071504, "val": 72018036, "test": 72010332}
    for split in SPLITS:
        assert np.ptp(np.bincount(digits_arrays(split)[1])) <= max(2, SPLITS[split] // 100)


def test_folders_are_listed_without_tensorflow(tmp_path):
    folder = make(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png")
    code = (
        "import sys; from keras_resnet.data.sources import open_dataset; open_dataset('digits'); "
        "open_dataset(sys.argv[1]); sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, folder], check=True)


def test_parts_are_disjoint_and_keep_the_shares():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    parts = stratified_parts(labels, (50, 20), seed=3)
    assert [np.bincount(labels[part]).tolist() for part in parts] == [[30, 15, 5], [12, 6, 2]]
    assert not set(parts[0]) & set(parts[1])
    np.testing.assert_array_equal(parts[0], stratified_parts(labels, (50, 20), seed=3)[0])


def test_class_folders_are_found_sorted_nested_linked_and_in_any_case(tmp_path):
    root = make(
        tmp_path / "set",
        "train/b/1.jpg",
        "train/b/deep/er/2.JPEG",
        "train/a/x.PNG",
        "train/a/notes.txt",
        "train/a/.hidden.png",
        "train/a/.ipynb_checkpoints/x-checkpoint.png",
        "val/a/1.bmp",
        "val/b/1.Gif",
        "outside/3.png",
    )
    (tmp_path / "set" / "train" / "a" / "link").symlink_to(tmp_path / "set" / "outside")
    (tmp_path / "set" / "train" / "a" / "ring").symlink_to(tmp_path / "set" / "train" / "a")
    (tmp_path / "set" / "val" / "a" / "4.png").symlink_to(tmp_path / "set" / "outside" / "3.png")
    dataset = open_dataset(root)
    assert dataset.label_names == ("a", "b")
    assert dataset.splits == {"train": 4, "val": 3}
    assert dataset.listings["train"].labels.tolist() == [0, 0, 1, 1]
    assert dataset.image_shape == (8, 8, 3)
    assert validation_split(dataset) == "val"


def test_test_images_without_labels_are_left_out(tmp_path, capsys):
    """As ImageNet comes: train/ and val/ by class, test/ as one folder of files."""
    path = make(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/2.png", "val/b/2.png", "test/3.png")
    assert open_dataset(path).splits == {"train": 2, "val": 2}
    assert f"{tmp_path}/test has no class folders and is left out" in capsys.readouterr().err


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    """Not left out, nor taken for an empty class."""
    path = make(
        tmp_path,
        "train/cat/1.png",
        "train/cat/part2/2.png",
        "train/dog/1.png",
        "val/cat/1.png",
        "val/dog/1.png",
    )
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith("part2"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"cannot read .*/train/cat/part2: Permission denied"):
        open_dataset(path)


def test_images_that_are_not_read_are_counted(tmp_path, capsys):
    open_dataset(make(tmp_path, "train/a/1.png", "train/a/2.webp", "train/b/1.WEBP", "train/b/2.jpg"))
    assert f"{tmp_path}/train: files left out: 2 .webp (supported: .jpg" in capsys.readouterr().err
    open_dataset(make(tmp_path / "read", "train/a/1.png", "train/a/notes.txt"))
    assert capsys.readouterr().err == ""
    with pytest.raises(UserError, match=r"class folder .*b holds no image \(.*\), but 2 \.webp: add images"):
        open_dataset(make(tmp_path / "none", "train/a/1.png", "train/b/1.webp", "train/b/2.webp"))


def test_a_folder_of_classes_alone_is_one_split(tmp_path):
    dataset = open_dataset(make(tmp_path, "cat/1.png", "dog/1.png"))
    assert dataset.splits == {"all": 2}
    with pytest.raises(UserError, match="nothing to validate on"):
        validation_split(dataset)


@pytest.mark.parametrize(
    ("name", "kind", "slug"),
    [
        ("a/b/cifar10", "folder", "cifar10"),
        ("../My photos/", "folder", "my-photos"),
        ("cifar10:3.0.2", "tfds", "cifar10-3-0-2"),
        ("imagenette/320px-v2", "tfds", "imagenette-320px-v2"),
    ],
)
def test_names_of_data_sets_in_those_of_folders(name, kind, slug):
    assert replace(open_dataset("digits"), name=name, kind=kind).slug == slug


def test_images_of_differing_sizes_have_no_common_shape(tmp_path):
    root = make(tmp_path, "train/a/1.png", "train/b/1.png")
    corpus.write(tmp_path / "train" / "b", {"2.png": corpus.encoded(corpus.photo(0, (9, 8)), "PNG")})
    assert open_dataset(root).image_shape is None


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["readme.txt"], "has no train/, val/ or test/ folder and has no class folders"),
        (["train/1.png", "test/a/1.png"], r"train has no class folders"),
        (["train/a/1.png", "train/b/readme.txt"], r"class folder .*b holds no image"),
        (["train/a/1.png", "train/b/1.png", "test/a/1.png"], r"2 classes, test/ has 1 \(b only in train/\)"),
        (["train/a/1.png", "test/c/1.png"], r"a only in train/; c only in test/"),
    ],
)
def test_folders_that_are_no_data_set_say_why(tmp_path, paths, message):
    with pytest.raises(UserError, match=message) as caught:
        open_dataset(make(tmp_path, *paths))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", (0, 200)),
        ("train[:45]", (0, 45)),
        ("train[-10:]", (190, 200)),
        ("train[10%:25%]", (20, 50)),
        ("train[-5%:]", (190, 200)),
        ("train[150:999]", (150, 200)),
    ],
)
def test_slices(split, expected):
    assert split_name(split) == "train"
    assert split_range(split, 200) == expected


@pytest.mark.parametrize(
    ("split", "message"),
    [("train[5:5]", "selects none"), ("train[9000:]", "selects none")]
    + [(split, "cannot read split") for split in ("train[1]", "train[90%]", "train[a:b]", "train[")],
)
def test_slices_that_select_nothing_or_make_no_sense(split, message):
    with pytest.raises(UsageError, match=message):
        open_dataset("digits").images(split)


def test_slices_of_digits_are_those_images():
    digits = open_dataset("digits")
    assert digits.images("train[:10%]") == 120
    view = eval_view("single", 32)
    (batch,) = pipeline.evaluation_batches(digits, "val[50:60]", view, batch_size=20)
    np.testing.assert_array_equal(batch[0], digits_arrays("val")[0][50:60])
    with pytest.raises(UsageError, match="has no split 'dev': it has train, val, test"):
        digits.images("dev")


def test_an_empty_name_is_not_the_current_folder():
    with pytest.raises(UsageError, match="name is empty"):
        open_dataset("")


def test_holding_out_checks_its_number(tmp_path):
    dataset = open_dataset(make(tmp_path, *(f"train/{c}/{i}.png" for c in "ab" for i in range(4))))
    assert hold_out(dataset, images=2).splits == {"train": 6, "val": 2}
    for images in (0, 1, 8, 9):
        with pytest.raises(UsageError, match="between 2"):
            hold_out(dataset, images=images)


def test_cifar_jpegs_of_the_shared_data(shared, tmp_path):
    """2 × 30 of the real files: the folder's layout, and the labels that go with the pixels."""
    archive = shared / "cifar10-jpeg.tar.gz"
    if not archive.is_file():
        pytest.skip("needs cifar10-jpeg.tar.gz beside the repository")
    with tarfile.open(archive) as tar:
        wanted = {
            f"{s}/{c}/{i:04d}.jpg"
            for s in ("train", "test")
            for c in ("cat", "dog", "ship")
            for i in range(10)
        }
        for member in tar:
            if member.name in wanted:
                data = tar.extractfile(member).read()
                corpus.write((tmp_path / member.name).parent, {member.name.rsplit("/", 1)[1]: data})
    dataset = open_dataset(str(tmp_path))
    assert dataset.label_names == ("cat", "dog", "ship") and dataset.image_shape == (32, 32, 3)
    (batch,) = pipeline.evaluation_batches(dataset, "test", eval_view("single", 32), batch_size=30)
    for image, label, index in zip(*batch, strict=True):
        path = dataset.listings["test"].paths[int(index)]
        assert f"/{dataset.label_names[int(label)]}/" in path
        np.testing.assert_array_equal(image, corpus.Image.open(path))

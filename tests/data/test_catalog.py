"""TFDS data sets, prepared in a temporary folder; nothing is downloaded."""

from __future__ import annotations

import errno
import os
import time

import corpus
import numpy as np
import pytest
import requests

tfds = pytest.importorskip("tensorflow_datasets")

from keras_resnet.data import catalog, pipeline, records  # noqa: E402
from keras_resnet.data.inspect import inspect  # noqa: E402
from keras_resnet.data.sources import hold_out, open_dataset, validation_split  # noqa: E402
from keras_resnet.data.views import eval_view, train_view  # noqa: E402
from keras_resnet.errors import UsageError, UserError  # noqa: E402

ADDRESS = "http://127.0.0.1:9/images.zip"  # the port "discard": nobody answers


class OddPhotos(tfds.core.GeneratorBasedBuilder):
    """Photographs of differing sizes in three classes."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(encoding_format="png"),
            "label": tfds.features.ClassLabel(names=["ant", "bee", "cow"]),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(20), "test": self._generate_examples(7)}

    def _generate_examples(self, count=0):
        for i in range(count):
            yield i, {"image": np.asarray(corpus.photo(i, (30 + i, 40))), "label": i % 3}


class OddDownload(OddPhotos):
    """The same, but it must be downloaded."""

    def _split_generators(self, dl_manager):
        dl_manager.download(ADDRESS)
        return super()._split_generators(dl_manager)


class OddManual(OddPhotos):
    """The same, but the user must fetch it."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = "Ask the authors for photos.zip."

    def _split_generators(self, dl_manager):
        assert (dl_manager.manual_dir / "photos.zip").exists(), "photos.zip is missing"
        return super()._split_generators(dl_manager)


class OddBroken(OddManual):
    """The files are there, and something else fails."""

    def _split_generators(self, dl_manager):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class OddUnlabelled(OddPhotos):
    """One split has no labels."""

    def _split_generators(self, dl_manager):
        rest = ((i, {"image": example["image"], "label": -1}) for i, example in self._generate_examples(7))
        return {"train": self._generate_examples(4), "rest": rest}


class OddText(OddPhotos):
    """No images."""

    def _info(self):
        features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _generate_examples(self, count=0):
        yield 0, {"text": "no image"}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tfds"))


@pytest.fixture
def photos(data_dir):
    return open_dataset("odd_photos", data_dir=data_dir)


def test_a_tfds_name_is_prepared_and_described(photos, data_dir, capsys):
    assert photos.kind == "tfds"
    assert photos.label_names == ("ant", "bee", "cow")
    assert photos.splits == {"train": 20, "test": 7}
    assert photos.image_shape is None
    assert validation_split(photos) == "test"
    open_dataset("odd_photos:1.0.0", data_dir=data_dir)
    assert capsys.readouterr().out == ""  # stdout belongs to the commands' answers


@pytest.mark.parametrize("in_memory", [True, False], ids=["memory", "stream"])
def test_tfds_images_train_and_evaluate(photos, monkeypatch, in_memory):
    if not in_memory:
        monkeypatch.setattr(records, "MEMORY_BYTES", 0)
    view = eval_view("single", 32)
    batches = list(pipeline.evaluation_batches(photos, "test", view, batch_size=4))
    index = np.concatenate([b[2] for b in batches])
    assert index.tolist() == list(range(7))
    labels = np.bincount(np.concatenate([b[1] for b in batches]))
    assert labels.tolist() == [3, 2, 2]
    images, labels = next(
        iter(pipeline.training_batches(photos, "train", train_view("scale-jitter", 24), batch_size=8, seed=0))
    )
    assert images.shape == (8, 24, 24, 3) and int(labels.numpy().max()) <= 2


def test_slices_of_tfds_splits(photos):
    view = eval_view("single", 32)

    def images(split):
        batches = pipeline.evaluation_batches(photos, split, view, batch_size=50)
        return np.concatenate([b[0] for b in batches])

    whole = images("train")
    np.testing.assert_array_equal(images("train[:15]"), whole[:15])
    np.testing.assert_array_equal(images("train[75%:]"), whole[15:])


def test_images_are_held_out_of_tfds_splits(photos):
    view = eval_view("single", 32)
    parted = hold_out(photos, images=6)
    labels = {
        split: np.concatenate([b[1] for b in pipeline.evaluation_batches(parted, split, view, batch_size=8)])
        for split in ("train", "val", "test")
    }
    assert {split: len(found) for split, found in labels.items()} == {"train": 14, "val": 6, "test": 7}
    assert np.bincount(labels["val"]).tolist() == [2, 2, 2]


def test_slices_are_those_of_tfds_over_several_shards(tmp_path):
    builder = tfds.builder("odd_photos", data_dir=tmp_path)
    shards = tfds.download.DownloadConfig(num_shards=3)
    builder.download_and_prepare(download_config=shards)
    assert len(builder.info.splits["train"].filenames) == 3
    photos = open_dataset("odd_photos", data_dir=str(tmp_path))
    for split in ("train[:7]", "train[7:]"):
        expected = [
            tuple(example["image"].shape) for example in tfds.as_numpy(builder.as_dataset(split=split))
        ]
        found = [tuple(image.shape) for image, *_ in pipeline.evaluation_images(photos, split)]
        assert sorted(found) == sorted(expected)


def test_images_without_label_are_broken_ones(data_dir):
    found = inspect(open_dataset("odd_unlabelled", data_dir=data_dir))["splits"]["rest"]
    assert len(found["broken"]) == found["images"] == 7
    assert sum(found["per_class"].values()) == 0


def test_other_file_formats_are_named(data_dir, photos, monkeypatch):
    stored = property(lambda self: tfds.core.FileFormat.ARRAY_RECORD)
    monkeypatch.setattr(type(photos.builder.info), "file_format", stored)
    with pytest.raises(UserError, match="is stored as array_record, which is not read here"):
        open_dataset("odd_photos", data_dir=data_dir)


def test_a_slow_server_is_no_missing_network(monkeypatch):
    def slow(*_, **__):
        raise requests.ReadTimeout

    monkeypatch.setattr(requests, "head", slow)
    assert catalog._reachable("http://slow/images.zip")


def test_unknown_names_suggest_close_ones(data_dir):
    with pytest.raises(UsageError, match="did you mean cifar10"):
        open_dataset("cifra10", data_dir=data_dir)
    with pytest.raises(UsageError, match="nor digits"):
        open_dataset("qqqqqqqq", data_dir=data_dir)
    for name in ("imagenette/no-such-config", "cifar10:99.0.0"):
        with pytest.raises(UsageError, match="TFDS cannot open"):
            open_dataset(name, data_dir=data_dir)
    for path in (
        "./nowhere",
        "/no/such/folder",
        "a/b/c/d",
        "cifar10-jpeg",
        "photos.zip",
        "my photos",
        "2024",
    ):
        with pytest.raises(UsageError, match="no folder"):
            open_dataset(path, data_dir=data_dir)


def test_the_code_of_communities_is_not_fetched(data_dir):
    for name in ("huggingface:mnist", "kaggle:mnist/config"):
        with pytest.raises(UsageError, match="runs third-party code"):
            open_dataset(name, data_dir=data_dir)


def test_a_data_set_without_labelled_images_is_refused(data_dir):
    with pytest.raises(UsageError, match="no image with a class label"):
        open_dataset("odd_text", data_dir=data_dir)


def test_it_is_prepared_only_where_that_is_wanted(data_dir):
    with pytest.raises(UserError, match="odd_download is not prepared in "):
        open_dataset("odd_download", data_dir=data_dir, prepare=False)


def test_without_network_it_says_so_at_once(data_dir):
    began = time.monotonic()
    with pytest.raises(UserError, match=r"no network to download odd_download.*--data-dir"):
        open_dataset("odd_download", data_dir=data_dir)
    assert time.monotonic() - began < 30


def test_missing_manual_files_are_asked_for(data_dir):
    with pytest.raises(UserError, match=r"downloads/manual yourself \(Ask the authors"):
        open_dataset("odd_manual", data_dir=data_dir)


def test_other_failures_are_not_taken_for_missing_files(data_dir):
    with pytest.raises(UserError, match=r"could not prepare odd_broken in .*: .*No space left on device$"):
        open_dataset("odd_broken", data_dir=data_dir)

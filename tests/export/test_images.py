from __future__ import annotations

import numpy as np
from saved_networks import picture

from keras_resnet.architectures import get_architecture
from keras_resnet.export import images
from keras_resnet.export.images import parity_images, photo_crops, true_classes
from keras_resnet.imagenet import IMAGENET_CLASSES
from keras_resnet.saving import ModelInfo

LABELS = ("cat", "dog")


def test_photos_are_real_images_and_always_the_same():
    crops = photo_crops(32)
    assert crops.shape == (16, 32, 32, 3)
    assert crops.dtype == np.uint8
    assert len({crop.tobytes() for crop in crops}) == 16
    assert crops.std() > 20
    np.testing.assert_array_equal(crops, photo_crops(32))


def test_classes_are_folder_names(capsys):
    assert true_classes(["x/dog/1.png", "y/cat/2.png", "dog/3.png"], LABELS).tolist() == [1, 0, 1]
    assert capsys.readouterr().err == ""
    assert true_classes(["x/dog/1.png", "y/bird/2.png"], LABELS) is None
    assert (
        capsys.readouterr().err == "errors are not compared: the folder 'bird' is not a class of the model\n"
    )


def test_classes_are_told_as_in_evaluation():
    imagenet = [label for _, label in IMAGENET_CLASSES]
    files = ["x/n01491361/1.jpg", "x/n01440764/2.jpg", "x/cock/3.jpg"]
    assert true_classes(files, imagenet).tolist() == [3, 0, 7]
    assert true_classes(files[:2], LABELS) is None
    assert true_classes(["b/1.png", "a/2.png", "b/3.png"], ("0", "1")).tolist() == [1, 0, 1]
    assert true_classes(["1/1.png", "0/2.png"], ("0", "1")).tolist() == [1, 0]
    assert true_classes(["1/1.png"], ("0", "1")).tolist() == [1]


def test_a_class_may_be_a_folder_of_links(tmp_path, monkeypatch):
    for folder in ("pool", "cat", "x"):
        (tmp_path / folder).mkdir()
    (tmp_path / "cat" / "1.png").symlink_to(tmp_path / "pool" / "1.png")
    (tmp_path / "dog").symlink_to(tmp_path / "pool")
    assert true_classes([tmp_path / "cat" / "1.png", tmp_path / "dog" / "2.png"], LABELS).tolist() == [0, 1]
    monkeypatch.chdir(tmp_path / "cat")
    assert true_classes(["1.png", "../dog/2.png", "../cat/./3.png"], LABELS).tolist() == [0, 1, 0]


def test_int8_is_compared_on_images_that_did_not_calibrate_it_where_they_are_enough(
    tmp_path, capsys, monkeypatch
):
    for number in range(5):
        label = LABELS[number % 2]
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / f"{number}.png").write_bytes(picture("PNG", number))
    info = ModelInfo(get_architecture("resnet20"), LABELS, 32, 32)
    few = parity_images([tmp_path], info, "int8")
    assert few.described == "5 given images, the same that int8 was calibrated on"
    assert "calibrated and compared on the same 5 images: of 100 or more, half" in capsys.readouterr().err
    assert len(few.compared) == len(few.calibration) == 5
    monkeypatch.setattr(images, "SPLIT_FROM", 5)
    some, everything = (parity_images([tmp_path], info, kind) for kind in ("int8", "float32"))
    assert some.described == "2 given images; int8 was calibrated on 3 others"
    np.testing.assert_array_equal(some.compared, everything.compared[1::2])
    np.testing.assert_array_equal(some.calibration, everything.compared[::2])
    assert some.classes.tolist() == [0, 1] and everything.classes.tolist() == [0, 0, 0, 1, 1]
    assert everything.described == "5 given images" and capsys.readouterr().err == ""

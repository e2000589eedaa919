from __future__ import annotations

import numpy as np

from keras_resnet.export.images import photo_crops, true_classes

LABELS = ("cat", "dog")


def test_photos_are_real_images_and_always_the_same():
    images = photo_crops(32)
    assert images.shape == (16, 32, 32, 3)
    assert images.dtype == np.uint8
    assert len({image.tobytes() for image in images}) == 16
    assert images.std() > 20
    np.testing.assert_array_equal(images, photo_crops(32))


def test_classes_are_folder_names():
    assert true_classes(["x/dog/1.png", "y/cat/2.png", "dog/3.png"], LABELS).tolist() == [1, 0, 1]
    assert true_classes(["x/dog/1.png", "y/bird/2.png"], LABELS) is None
    assert true_classes([], LABELS) is None

from __future__ import annotations

import numpy as np
import pytest
from saved_networks import bomb, picture, tiny

from keras_resnet.data.images import image_files, read_file, view_of
from keras_resnet.errors import UserError
from keras_resnet.saving import ModelInfo

INFO = ModelInfo(tiny("resnet20"), ("cat", "dog"), 32, 36)


def test_files_of_other_formats_are_counted(tmp_path, capsys):
    """A telephone's folder may have more of these than of others."""
    for name in ("a.jpg", "b.HEIC", "c.heic", "only/d.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert image_files([str(tmp_path)]) == [str(tmp_path / "a.jpg")]
    assert f"{tmp_path}: files left out: 2 .heic, 1 .webp (supported: " in capsys.readouterr().err
    with pytest.raises(UserError, match=r"no images in .*only: looked for .*, but found 1 \.webp"):
        image_files([str(tmp_path / "only")])


def test_folders_are_all_their_images(tmp_path):
    hidden = ("._a.jpeg", ".thumbnails/a.jpeg")
    for name in ("b.PNG", "a.jpeg", "notes.txt", "sub/c.gif", "d.jpe", "e.jfif", "none/notes.txt", *hidden):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [str(tmp_path / name) for name in ("a.jpeg", "b.PNG", "d.jpe", "e.jfif", "sub/c.gif")]
    assert image_files([str(tmp_path), "x"]) == [*names, "x"]
    with pytest.raises(UserError, match=r"no images in .*none: looked for \.bmp"):
        image_files([str(tmp_path), str(tmp_path / "none")])


def test_a_view_is_the_central_square():
    view = view_of("a.png", picture("PNG", height=36, width=50), INFO)
    assert (view.shape, view.dtype) == ((32, 32, 3), np.uint8)


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"", "not a JPEG, PNG, BMP or GIF image"),
        (b"hello", "not a JPEG, PNG, BMP or GIF image"),
        (bomb(), "not between 1 and 67,108,864 pixels: height and width 60000 60000"),
        (picture()[:50], "Invalid PNG data, size 50"),
    ],
    ids=["empty", "text", "bomb", "cut"],
)
def test_what_is_no_image_is_named_with_the_reason(contents, reason):
    expected = rf"^bad\.png is not a readable JPEG, PNG, BMP or GIF image: {reason}"
    with pytest.raises(UserError, match=expected):
        view_of("bad.png", contents, INFO)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*none\.png: No such file"):
        read_file(str(tmp_path / "none.png"))

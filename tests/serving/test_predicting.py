from __future__ import annotations

import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from saved_networks import bomb, picture, saved_network

from keras_resnet.cli import main
from keras_resnet.errors import UsageError, UserError
from keras_resnet.export import export_model
from keras_resnet.serving import predict

pytestmark = pytest.mark.usefixtures("shallow_networks")
BMP = picture("BMP")[:28] + b"\1" + picture("BMP")[29:]  # of one bit per pixel


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """models/: run/model.keras, export/1, export/2 (bfloat16); pictures/: a.png, b.JPG, sub/c.bmp."""
    home = tmp_path_factory.mktemp("home")
    saved_network(home / "run" / "model.keras", classes=7)
    export_model(str(home / "run"), str(home / "export"))
    export_model(str(home / "run"), str(home / "export"), precision="bfloat16")
    pictures = home / "pictures"
    (pictures / "sub").mkdir(parents=True)
    (pictures / "a.png").write_bytes(picture("PNG", 1))
    (pictures / "b.JPG").write_bytes(picture("JPEG", 2))
    (pictures / "sub" / "c.bmp").write_bytes(picture("BMP", 3))
    (pictures / "notes.txt").write_text("no picture")
    return home


@pytest.fixture(scope="module")
def answers(home):
    return predict(str(home / "run"), [str(home / "pictures")])


def test_a_folder_is_all_its_images_by_name(answers, home):
    names = [str(home / "pictures" / name) for name in ("a.png", "b.JPG", "sub/c.bmp")]
    assert [answer["image"] for answer in answers] == names


def test_best_classes_come_first(answers):
    for answer in answers:
        probabilities = [entry["probability"] for entry in answer["top"]]
        assert len(probabilities) == 5
        assert probabilities == sorted(probabilities, reverse=True)
        assert {entry["label"] for entry in answer["top"]} <= {"cat", "dog", "émeu"} | {
            f"class {index}" for index in range(4)
        }


@pytest.mark.parametrize("form", ["run/model.keras", "export/1", "export/2", "export"])
def test_every_saved_form_gives_the_same_answers(form, answers, home):
    tolerance = 1e-6 if form in ("run/model.keras", "export/1") else 0.02
    for ours, expected in zip(predict(str(home / form), [str(home / "pictures")]), answers, strict=True):
        assert ours["top"][0]["label"] == expected["top"][0]["label"]
        assert ours["top"][0]["probability"] == pytest.approx(
            expected["top"][0]["probability"], abs=tolerance
        )


def test_many_images_go_in_batches_and_keep_their_order(answers, home, monkeypatch):
    monkeypatch.setattr("keras_resnet.serving.predicting.BATCH", 2)
    again = predict(str(home / "run"), [str(home / "pictures")])
    assert [a["top"][0]["label"] for a in again] == [a["top"][0]["label"] for a in answers]


def test_top_is_limited_by_the_classes(home):
    image = [str(home / "pictures" / "a.png")]
    assert len(predict(str(home / "run"), image, top=1)[0]["top"]) == 1
    everything = predict(str(home / "run"), image, top=100)[0]["top"]
    assert len(everything) == 7
    assert sum(entry["probability"] for entry in everything) == pytest.approx(1)


def test_one_image_may_stand_alone_and_paths_need_not_be_strings(home, answers):
    for image in (home / "pictures" / "a.png", str(home / "pictures" / "a.png")):
        (answer,) = predict(home / "run", image)
        assert answer["image"] == str(image)
        assert answer["top"][0]["label"] == answers[0]["top"][0]["label"]


def test_standard_input(answers, home, monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(picture("PNG", 1))))
    (answer,) = predict(str(home / "run"), ["-"])
    assert answer["image"] == "-"
    assert [entry["label"] for entry in answer["top"]] == [entry["label"] for entry in answers[0]["top"]]


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"hello", "not a JPEG, PNG, BMP or GIF image"),
        (bomb(), ".*60000 60000"),
        (BMP, "BMP of an unsupp"),
    ],
    ids=["text", "bomb", "1-bit BMP"],
)
@pytest.mark.parametrize("form", ["run", "export"])
def test_an_unreadable_image_is_named_and_the_others_are_answered(
    form, contents, reason, home, answers, tmp_path
):
    bad = tmp_path / "bad.png"
    bad.write_bytes(contents)
    found, *others = predict(str(home / form), [bad, str(home / "pictures")])
    assert (found["image"], found["top"]) == (str(bad), [])
    assert re.search(rf"bad\.png is not a readable JPEG, PNG, BMP or GIF image: {reason}", found["error"])
    assert [a["top"][0]["label"] for a in others] == [a["top"][0]["label"] for a in answers]


def test_the_command_answers_what_it_can_and_exits_1(home, tmp_path):
    names = [str(tmp_path / "none.png"), str(home / "pictures" / "a.png")]
    run = CliRunner().invoke(main, ["predict", str(home / "run"), *names])
    assert (run.exit_code, run.stderr) == (1, f"Error: cannot read {names[0]}: No such file or directory\n")
    assert run.stdout.startswith(f"{names[1]}: ")
    run = CliRunner().invoke(main, ["predict", str(home / "run"), *names, "--json"])
    assert run.exit_code == 1
    bad, good = json.loads(run.stdout)
    assert ("error" in bad, len(good["top"])) == (True, 5)
    assert CliRunner().invoke(main, ["predict", str(home / "run"), names[1]]).exit_code == 0


def test_what_is_missing_is_named(home, tmp_path):
    (answer,) = predict(str(home / "run"), [str(tmp_path / "none.png")])
    assert answer["error"].endswith("none.png: No such file or directory")
    with pytest.raises(UserError, match=r"no images in .*: looked for \.bmp"):
        predict(str(home / "run"), [str(tmp_path)])
    with pytest.raises(UserError, match=r"no model at .*nowhere"):
        predict(str(tmp_path / "nowhere"), [str(home / "pictures")])


def test_wrong_calls(home):
    with pytest.raises(UsageError, match="name at least one image"):
        predict(str(home / "run"), [])
    with pytest.raises(UsageError, match="name - once"):
        predict(str(home / "run"), ["-", "-"])
    with pytest.raises(UsageError, match="top must be 1 or more, not 0"):
        predict(str(home / "run"), [str(home / "pictures")], top=0)

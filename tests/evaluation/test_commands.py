"""`keras-resnet evaluate` and `explain` as typed: on which data, what is said and written."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from click.testing import CliRunner
from PIL import Image

from keras_resnet.cli import main
from keras_resnet.errors import UserError
from keras_resnet.evaluation.protocols import data_of
from keras_resnet.saving import save_model


def call(*arguments: object, code: int = 0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def test_a_model_is_tested_on_what_is_named_or_on_what_it_was_trained_on(resnet20):
    info = replace(resnet20.info, dataset="cifar10")
    assert [data_of(info, "a.keras"), data_of(info, "a.keras", "photos")] == ["cifar10", "photos"]


def test_a_model_that_does_not_know_its_data_wants_it_named(resnet20):
    with pytest.raises(UserError, match=r"a\.keras does not say what data it was trained on: name it with"):
        data_of(resnet20.info, "a.keras")


def test_the_sheet_of_mistakes_is_an_option(run_folder, tmp_path):
    arguments = ("--dataset", "digits", "--split", "test[:20]", "--mistakes", tmp_path / "m.png", "--json")
    result = call("evaluate", run_folder, *arguments)
    assert f"mistakes: {tmp_path / 'm.png'}" in result.stderr
    rows = -(-round(json.loads(result.stdout)["top1_error"] * 20 / 100) // 6)
    with Image.open(tmp_path / "m.png") as sheet:
        assert sheet.height == rows * (144 + 34 + 8) + 8


@pytest.mark.parametrize(("option", "name"), [("--report", "r.html"), ("--mistakes", "m.png")])
def test_what_cannot_be_written_is_told_before_anything_is_computed(option, name, tmp_path):
    (tmp_path / name).mkdir()
    result = call("evaluate", tmp_path / "no-model", option, tmp_path / name, code=1)
    assert f"cannot write {tmp_path / name}: name a file" in result.stderr
    result = call("evaluate", tmp_path / "no-model", option, tmp_path / "x.pdf", code=2)
    assert re.search(r"x\.pdf.*: let its name end in \.(html or \.md|png)", result.stderr)
    assert not (tmp_path / "x.pdf").exists()


def test_the_numbers_are_told_also_where_their_page_cannot_be_made(run_folder, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise UserError("the disk is full")

    monkeypatch.setattr("keras_resnet.evaluation.report.write_report", fail)
    arguments = ("--dataset", "digits", "--split", "test[:20]", "--report", tmp_path / "r.html", "--json")
    result = call("evaluate", run_folder, *arguments, code=1)
    assert json.loads(result.stdout)["images"] == 20
    assert result.stderr.endswith("Error: the disk is full\n")


def test_explain_says_what_it_explains(run_folder, tmp_path):
    Image.new("RGB", (32, 32), (200, 90, 30)).save(tmp_path / "a.png")
    output = tmp_path / "b.png"
    shown = call("explain", run_folder, tmp_path / "a.png", "--output", output, "--label", "7").stdout
    assert re.fullmatch(rf"{re.escape(str(output))}: 7, \d+\.\d%\n", shown)
    assert output.stat().st_size > 1000


@pytest.fixture
def black_and_white(tmp_path):
    """Two classes of 8×8 pictures, all of them to train on."""
    for label, name in enumerate(("black", "white")):
        folder = tmp_path / "pictures" / "train" / name
        folder.mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (8, 8), (255 * label,) * 3).save(folder / f"{i}.png")
    return tmp_path / "pictures"


def test_a_run_can_be_tested_on_what_it_held_out(network, black_and_white, tmp_path):
    saved = network("resnet20", ("black", "white"), 8)
    info = replace(saved.info, dataset=str(black_and_white))
    model = save_model(saved.model, info, tmp_path / "model.keras")
    assert "take part of train with --hold-out" in call("evaluate", model, code=1).stderr
    found = json.loads(call("evaluate", model, "--hold-out", 4, "--json").stdout)
    assert (found["images"], found["split"]) == (4, "val")
    assert [sum(row) for row in found["confusion"]] == [2, 2]

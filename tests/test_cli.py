"""The commands as a user types them: answers, exit codes, one line for every mistake."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from shallow import SHALLOW

import keras_resnet
from keras_resnet.cli import main
from keras_resnet.errors import UserError

REPOSITORY = Path(__file__).resolve().parent.parent


def run(*arguments: str, code: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stdout, result.stderr


def one_line(*arguments: str, code: int = 1) -> str:
    """The message of a command that fails; it must be one line, and the last thing said."""
    stdout, stderr = run(*arguments, code=code)
    assert stdout == ""
    errors = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1 and stderr.rstrip().endswith(errors[0]), stderr
    return errors[0]


def make_folder(root: Path, splits: dict[str, dict[str, int]], side: int = 16) -> Path:
    rng = np.random.default_rng(0)
    for split, classes in splits.items():
        for name, count in classes.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 255, (side, side, 3), "uint8")
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    run("train", "--depth", "20", "--image-size", "16", "--epochs", "2", "--workdir", workdir)
    return workdir


def in_new_process(*arguments: str, **options) -> subprocess.CompletedProcess:
    program = [sys.executable, "-c", "from keras_resnet.cli import main; main()", *arguments]
    return subprocess.run(program, capture_output=True, text=True, **options)


@pytest.mark.parametrize("arguments", [["--help"], ["models"], ["recipes"], ["train", "--help"]])
def test_answers_that_need_no_tensorflow_do_not_import_it(arguments):
    program = "import sys; sys.argv = ['keras-resnet', *sys.argv[1:]]; from keras_resnet.cli import main\n"
    program += (
        "try:\n    main()\nfinally:\n    assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def commands(group=main, prefix=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*prefix, name))
        else:
            yield (*prefix, name)


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_help_with_an_example(command):
    stdout, _ = run(*command, "--help")
    assert f"keras-resnet {' '.join(command)}" in stdout.split("Options:")[0].split("\n", 1)[1]


@pytest.mark.parametrize("group", [(), ("data",)], ids=" ".join)
def test_the_list_of_commands_says_what_each_does(group):
    stdout, _ = run(*group, "--help")
    assert not [line for line in stdout.split("Commands:")[1].splitlines() if line.endswith("...")]


def test_train_lists_every_option_once_under_a_heading():
    stdout, _ = run("train", "--help")
    assert "\nOptions:" not in stdout
    for name in ("Network", "Data", "Recipe", "Augmentation and regularisation", "Devices", "Run"):
        assert f"\n{name}" in stdout
    for option in main.commands["train"].params:
        assert stdout.count(f"\n  {option.opts[0]} ") == 1, option.name


def test_the_version_needs_no_installation(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert run("--version")[0] == f"keras-resnet, version {keras_resnet.__version__}\n"


def test_models_is_the_contracts_table():
    rows = json.loads(run("models", "--json")[0])
    by_name = {row["name"]: row for row in rows}
    assert by_name["resnet50"]["parameters"] == 25_557_032
    keys = ["name", "depth", "family", "shortcut", "parameters", "multiply_adds", "paper_multiply_adds"]
    assert list(by_name["vgg19"]) == keys
    table = run("models")[0]
    assert all(name in table for name in by_name) and "25,557,032" in table


def test_the_checkouts_cli_is_the_same_program():
    result = subprocess.run(
        [sys.executable, "cli.py", "models", "--json"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert json.loads(result.stdout) == json.loads(run("models", "--json")[0])


def test_train_evaluate_export_predict(trained, tmp_path):
    evaluation = json.loads(run("evaluate", trained, "--json")[0])
    assert evaluation["images"] == 300 and evaluation["skipped"] == 0 and evaluation["views"] == "single"
    assert 0 <= evaluation["top5_error"] <= evaluation["top1_error"] <= 100

    export = json.loads(run("export", trained, "--output", tmp_path / "export", "--json")[0])
    assert (tmp_path / "export" / "1" / "saved_model.pb").exists()
    assert export["format"] == "saved_model"
    exported = json.loads(run("evaluate", tmp_path / "export", "--dataset", "digits", "--json")[0])
    assert exported["top1_error"] == evaluation["top1_error"]

    written = run("data", "samples", "digits", tmp_path / "samples", "--count", "3")[0].split()
    rows = json.loads(run("predict", tmp_path / "export", *written, "--top", "2", "--json")[0])
    assert [row["image"] for row in rows] == written
    assert all(len(row["top"]) == 2 and set(row["top"][0]) == {"label", "probability"} for row in rows)
    from_run = json.loads(run("predict", trained, *written, "--top", "2", "--json")[0])
    for ours, theirs in zip(rows, from_run, strict=True):
        assert ours["top"][0]["label"] == theirs["top"][0]["label"]


@pytest.fixture
def shallow_here(monkeypatch):
    """For one test: others ask for the table itself."""
    monkeypatch.setattr("keras_resnet.architectures.ARCHITECTURES", SHALLOW)


def test_an_imagenet_network_trains_on_the_digits_and_says_so(shallow_here, tmp_path):
    _, stderr = run(
        "train", "--depth", "50", "--steps", "2", "--batch-size", "8", "--workdir", tmp_path / "r"
    )
    assert "digits" in stderr and "--dataset" in stderr
    assert json.loads((tmp_path / "r" / "run.json").read_text())["settings"]["network"] == "resnet50"


def test_class_folders_train_too(shallow_here, tmp_path):
    data = make_folder(tmp_path / "data", {"train": {"b": 8, "a": 8}, "test": {"a": 2, "b": 2}})
    arguments = ("--steps", "2", "--batch-size", "4", "--freeze", "conv2", "--workdir", tmp_path / "r")
    _, stderr = run("train", "--depth", "20", "--dataset", data, *arguments)
    assert "up to conv2 stay as they are, which is random: --weights" in stderr
    result = json.loads(run("evaluate", tmp_path / "r", "--json")[0])
    assert result["images"] == 4 and result["label_names"] == ["a", "b"]


def test_the_terminal_is_kept_clean(tmp_path):
    result = in_new_process("evaluate", str(tmp_path / "nothing"))
    assert result.returncode == 1 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: no model at {tmp_path / 'nothing'}: expected a run folder, a .keras file")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "--depth", "21"], 2, "choose one of 16, 18, 19, 20, 32, 34"),
        (["train", "--depth", "50", "--plain"], 2, "no plain network of depth 50"),
        (["train", "--depth", "20", "--plain", "--shortcut", "A"], 2, "has no shortcuts"),
        (["train", "--depth", "20", "--downsample", "3x3"], 2, "no bottlenecks"),
        (["train", "--depth", "20", "--recipe", "magic"], 2, "unknown recipe 'magic'"),
        (["train", "--depth", "20", "--dataset", "nosuchdata"], 2, "nosuchdata"),
        (["train", "--depth", "20", "--devices", "many"], 2, "cpu:K"),
        (
            ["train", "--depth", "20", "--devices", "cpu:1", "--batch-size", "0"],
            2,
            "0 is not in the range x>=1",
        ),
        (["train", "--depth", "20", "--accumulate", "0"], 2, "0 is not in the range x>=1"),
        (["train", "--depth", "20", "--steps", "0"], 2, "0 is not in the range x>=1"),
        (["train", "--depth", "20", "--steps", "-5"], 2, "-5 is not in the range x>=1"),
        (["predict", "nothing.keras", "image.png"], 1, "no model at nothing.keras"),
        (["export", "nothing.keras"], 1, "no model at nothing.keras"),
        (["ensemble", "nothing.npz"], 1, "nothing.npz"),
        (["import-weights", "nothing.pth", "--name", "resnet50"], 1, "nothing.pth"),
        (["import-weights", "nothing.pth", "--name", "resnet51"], 2, "resnet51"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_one_line(arguments, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in one_line(*arguments, code=code)


def test_label_names_of_a_file(tmp_path):
    from keras_resnet.cli.weights import _lines

    (tmp_path / "names.txt").write_bytes("\ufeffcat \r\n\r\némeu\n".encode())
    assert _lines(str(tmp_path / "names.txt")) == ["cat", "émeu"]
    (tmp_path / "names.txt").write_bytes("émeu".encode("latin-1"))
    arguments = ("import-weights", "x.pth", "--name", "resnet20", "--label-names")
    assert "names.txt with label names is not UTF-8" in one_line(*arguments, tmp_path / "names.txt", code=2)


def test_more_devices_than_images_in_a_batch(tmp_path):
    arguments = ("train", "--depth", "20", "--devices", "cpu:2", "--batch-size", "1")
    result = in_new_process(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert "smaller than the number of devices" in result.stderr.splitlines()[-1]


def test_folders_that_cannot_be_trained_on(tmp_path):
    (tmp_path / "empty" / "train").mkdir(parents=True)
    assert "class" in one_line("train", "--depth", "20", "--dataset", tmp_path / "empty")
    flat = make_folder(tmp_path, {"flat": {"a": 3, "b": 3}}) / "flat"
    message = one_line("train", "--depth", "20", "--dataset", flat, "--hold-out", "2", code=2)
    assert f"move them to {flat}/train, and then some images of each class to {flat}/val, or let" in message
    few = make_folder(tmp_path / "few", {split: {"a": 3, "b": 3} for split in ("train", "val")})
    assert "cifar-paper takes 128 images per step" in one_line("train", "--depth", "20", "--dataset", few)
    hollow = make_folder(tmp_path / "hollow", {"train": {"a": 3, "b": 0}, "test": {"a": 1, "b": 1}})
    assert "b" in one_line("train", "--depth", "20", "--dataset", hollow)
    other = make_folder(tmp_path / "other", {"train": {"a": 3, "b": 3}, "test": {"a": 1, "c": 1}})
    message = one_line("train", "--depth", "20", "--dataset", other)
    assert "b" in message and "c" in message


def test_samples_come_from_the_split_that_errors_are_measured_on(tmp_path):
    folder = make_folder(tmp_path / "photos", {"train": {"cat": 2}, "val": {"cat": 3}})
    stdout, _ = run("data", "samples", folder, tmp_path / "out")
    assert len(stdout.splitlines()) == len(list((tmp_path / "out").glob("cat-*.png"))) == 3


def test_a_file_that_is_no_image(trained, tmp_path):
    text = tmp_path / "notes.png"
    text.write_text("not an image")
    assert str(text) in one_line("predict", trained, text)


def test_a_work_folder_of_another_network_or_number_of_classes(trained, tmp_path):
    same = ["--image-size", "16", "--epochs", "2", "--workdir", trained]
    assert "network: resnet20 there, resnet32 now" in one_line("train", "--depth", "32", *same)
    data = make_folder(tmp_path / "data", {"train": {"a": 8, "b": 8}, "test": {"a": 1, "b": 1}})
    assert "dataset: digits there" in one_line("train", "--depth", "20", "--dataset", data, *same)
    assert "10 classes" in one_line("evaluate", trained, "--dataset", data)


def test_control_characters_do_not_reach_the_terminal(monkeypatch):
    answer = [{"image": "a.png", "top": [{"label": "cat\x1b[2J\x9b31m\r é", "probability": 1.0}]}]
    monkeypatch.setattr("keras_resnet.serving.predicting.predictions", lambda *_, **__: iter(answer))
    stdout, _ = run("predict", "any.keras", "a.png")
    assert stdout == "a.png: cat\\x1b[2J\\x9b31m\\x0d é 100.0 %\n"
    assert json.loads(run("predict", "any.keras", "a.png", "--json")[0]) == answer


def test_control_characters_in_errors(tmp_path):
    assert r"no\x1b[2J.keras" in one_line("predict", tmp_path / "no\x1b[2J.keras", "a.png")


def test_debug_lets_the_error_through(tmp_path):
    result = CliRunner().invoke(main, ["evaluate", str(tmp_path / "nothing"), "--debug"])
    assert isinstance(result.exception, UserError) and result.exit_code == 1

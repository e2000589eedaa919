"""`keras-resnet paper` and `report` as typed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import shallow
from click.testing import CliRunner
from PIL import Image
from run_folders import write_run

from keras_resnet.cli import main
from keras_resnet.paper import runner


def call(*arguments: object, code: int = 0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def test_the_list_names_every_table_and_figure_with_its_command(tmp_path):
    entries = json.loads(call("paper", "--workdir", tmp_path, "--json").stdout)
    assert [entry["name"] for entry in entries][:3] == ["table1", "table2", "table3"]
    assert all(entry["command"].startswith(f"keras-resnet paper {entry['name']}") for entry in entries)
    text = call("paper", "--workdir", tmp_path).stdout
    assert "needs ImageNet and about 48 hours of one A100 (estimate)" in text
    assert "needs CIFAR-10 and about 304 hours of two CPU cores (estimate)" in text  # Table 6


def test_listing_does_not_import_tensorflow(tmp_path):
    code = (
        "import sys; from keras_resnet.cli import main; main(['paper', '--workdir', sys.argv[1]], "
        "standalone_mode=False); sys.exit('tensorflow' in sys.modules or 'matplotlib' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)


def test_table1_and_figure3_are_drawn(tmp_path):
    found = json.loads(call("paper", "table1", "--output", tmp_path / "t.svg", "--json").stdout)
    assert found["rows"][-2]["50-layer"] == "3.86×10⁹"
    assert found["rows"][-1]["50-layer"] == "3.8×10⁹"
    arguments = ("figure3", "--networks", "plain20,resnet20", "--output", tmp_path / "f.svg", "--json")
    drawn = json.loads(call("paper", *arguments).stdout)
    assert [row["network"] for row in drawn["rows"]] == ["plain20", "resnet20"]
    svg = (tmp_path / "f.svg").read_text()
    assert svg.count("3×3 conv") == 2 * 19
    assert svg.count("<path") == 9  # shortcuts, of the residual network alone
    assert svg.count("stroke-dasharray") == 2  # where dimensions increase


def test_tables_of_imagenet_are_shown_as_printed(tmp_path):
    result = call(
        "paper", "table3", "--workdir", tmp_path
    )  # trains nothing, though CIFAR-10 has its question
    for row in ("ResNet-34 C", r"24\.19", "VGG-16", r"28\.07", "GoogLeNet"):
        assert re.search(row, result.stdout)
    assert "its question on small images: --dataset cifar10" in result.stderr
    assert list(tmp_path.iterdir()) == []
    result = call("paper", "table2", "--workdir", tmp_path)
    assert "28.54" in result.stdout
    assert "about 48 hours of one A100" in result.stderr
    rows = json.loads(call("paper", "figure4", "--workdir", tmp_path, "--json").stdout)["rows"]
    assert [row["paper"]["top1"] for row in rows] == [27.94, 28.54, 27.88, 25.03]
    assert all(row["top1_errors"] == [] for row in rows)


@pytest.mark.parametrize(
    "options", [("--steps", 1800000), ("--seeds", 3), ("--networks", "resnet34"), ("--output", "f.png")]
)
def test_options_of_training_are_not_ignored_where_nothing_is_trained(options, tmp_path):
    result = CliRunner().invoke(main, ["paper", "figure4", *map(str, options), "--workdir", str(tmp_path)])
    assert result.exit_code == 2
    assert "28.54" in call("paper", "figure4", "--debug", "--workdir", tmp_path).stdout
    assert f"{options[0]} is for training: name the data too, --dataset imagenet2012" in result.stderr


def test_what_a_measured_model_has_no_use_for_is_refused(tmp_path):
    options = ["--model", "m.keras", "--quick", "--workdir", str(tmp_path)]
    result = CliRunner().invoke(main, ["paper", "figure7", *options])
    assert result.exit_code == 2 and "--quick is for training: leave it or --model out" in result.stderr


def test_a_plot_that_was_asked_for_and_is_not_drawn_is_told(tmp_path):
    options = ["--quick", "--show", "--workdir", tmp_path, "--output", tmp_path / "a.png"]
    assert "not drawn: there is nothing to draw" in call("paper", "figure6", *options).stderr


def test_the_printed_table_stands_beside_its_question_on_small_pictures(tmp_path):
    shown = call("paper", "table3", "--dataset", "digits", "--show", "--workdir", tmp_path).stdout
    assert "ResNet-20 C" in shown
    printed = shown[shown.index("also in the paper, ImageNet") :]
    for method, error in (("VGG-16", "28.07"), ("ResNet-34 C", "24.19"), ("ResNet-152", "21.43")):
        assert re.search(rf"{method}.* {error}", printed)
    shown = call("paper", "table6", "--show", "--workdir", tmp_path).stdout
    printed = shown[shown.index("also in the paper, CIFAR-10") :]
    assert "Maxout" in printed
    assert "ResNet-56" not in printed


def test_showing_measures_nothing_and_tells_what_is_there(tmp_path):
    folder = tmp_path / "digits" / "quick"
    for name, error in (("plain20", 2.0), ("plain56", 43.0), ("resnet20-A", 1.0)):
        write_run(folder / f"{name}-seed0", name.split("-")[0], final_train=error)
    result = call("paper", "figure6", "--quick", "--show", "--workdir", tmp_path)
    assert "plain-56 trains worse than plain-20" in result.stdout
    assert "not measured yet: 1 of 4 runs" in result.stdout
    assert (folder / "figure6.png").stat().st_size > 10_000
    data = json.loads(call("paper", "figure6", "--quick", "--show", "--workdir", tmp_path, "--json").stdout)
    assert data["comparisons"]["plain"]["deep_train"] == 43.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("table7",), "choose one of table1"),
        (("table6", "--budget", "2 days"), "2h, 30m"),
        (("table6", "--quick", "--epochs", "3"), "--quick fixes data and recipe"),
        (("table4", "--dataset", "digits"), "needs larger images"),
        (("table6", "--model", "x.keras"), "belongs to figure7"),
        (("table6", "--networks", "resnet18"), "has no resnet18"),
        (("figure3", "--networks", "resnet21"), "unknown network"),
        (("figure3", "--networks", "resnet20,resnet21,"), "unknown network 'resnet21'"),
        (("table6", "--dataset", "no-such-data"), "no-such-data"),
        (("figure6", "--recipe", "nope", "--show"), "unknown recipe 'nope'"),
        (("figure6", "--epochs", "-1", "--show"), "greater than 0"),
        (("figure6", "--epochs", "1", "--steps", "5"), "--epochs or --steps, not both"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, words, tmp_path, capfd):
    result = call("paper", *arguments, "--workdir", tmp_path, code=2)
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert len(result.stderr.strip().splitlines()) == 1


def test_report_of_nothing_is_exit_code_1(tmp_path):
    result = call("report", tmp_path, "--output", tmp_path / "r.html", code=1)
    assert "no run folder at or below" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "ending"),
    [(("figure6", "--quick", "--output", "f.pdf"), ".png"), (("table1", "--output", "t.png"), ".svg")],
)
def test_a_drawing_of_another_ending_is_refused_before_training(arguments, ending, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    assert f"let its name end in {ending}" in call("paper", *arguments, code=2).stderr
    assert not list(tmp_path.iterdir())


def test_the_help_says_what_kind_of_file_is_drawn():
    """`--output figure6.svg` would be a PNG file of that name."""
    assert "PNG file to draw (SVG for table1 and figure3)" in " ".join(call("paper", "--help").stdout.split())


@pytest.mark.parametrize(
    ("arguments", "name"), [((), "report.html"), (("--format", "markdown"), "report.md")]
)
def test_a_report_is_named_after_its_format(arguments, name, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    run = write_run(tmp_path / "run")
    assert call("report", run, "--no-evaluate", *arguments).stdout == f"{name}\n"
    assert (tmp_path / name).read_text().startswith("# " if name == "report.md" else "<!doctype html>")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two classes of 8×8 pictures that differ in colour."""
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 6)):
        for label, name in enumerate(("blue", "red")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 120, (8, 8, 3)).astype(np.uint8)
                pixels[..., 2 * (1 - label)] += 120
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


def shallow_run(run):
    """`python -m keras_resnet.paper.one_run`, with one block a stage."""
    tests = str(Path(shallow.__file__).parent)
    program = f"import sys; sys.path.insert(0, {tests!r}); import shallow; shallow.install(); "
    program += "from keras_resnet.paper import one_run; one_run.main()"
    return [sys.executable, "-c", program, run.to_json()]


def test_the_budget_stops_a_real_training_which_goes_on_next_time(pictures, tmp_path, monkeypatch):
    """A training run without end saves itself when the time is over, and the next call resumes it."""

    class UntilItsFirstEpoch(subprocess.Popen):
        """The budget is over then, however long that takes on a busy machine."""

        def communicate(self, input=None, timeout=None):
            while timeout is not None and self.poll() is None:
                if list(tmp_path.glob("*/*/plain20-seed0/history.csv")):
                    raise subprocess.TimeoutExpired(self.args, timeout)
                time.sleep(0.05)
            return super().communicate(input)

    monkeypatch.setattr(runner, "_command", shallow_run)
    monkeypatch.setattr(subprocess, "Popen", UntilItsFirstEpoch)
    command = ("paper", "figure1", "--dataset", pictures, "--networks", "plain20", "--steps", 10**6)
    command += ("--batch-size", 4, "--workdir", tmp_path, "--budget")
    result = call(*command, "1h")
    assert "the budget is spent; run the same command again to resume" in result.stderr
    assert "not measured yet: 1 of 1 runs" in result.stdout
    [history] = tmp_path.glob("*/*/plain20-seed0/history.csv")
    run = history.parent
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    assert any((run / "checkpoints").iterdir())
    assert "resuming plain-20" in call(*command, "0.1s").stderr


def test_an_experiment_from_nothing_to_the_report(pictures, tmp_path):
    """Two steps of ResNet-20 on tiny pictures: trained, tested, measured, reported, and not done twice.

    A twelfth of the images is unreadable, which is more than is accepted unless one says so.
    """
    shutil.copytree(pictures, tmp_path / "pictures")
    for name in ("train/blue/0.png", "train/red/3.png", "test/red/0.png"):
        (tmp_path / "pictures" / name).write_bytes(b"")
    command = ("paper", "figure7", "--dataset", tmp_path / "pictures", "--networks", "resnet20,")
    command += ("--steps", 2, "--batch-size", 4, "--skip-limit", 0.1)
    command += ("--workdir", tmp_path / "runs", "--json")
    found = json.loads(call(*command).stdout)
    assert [run["status"] for run in found["runs"]] == ["measured"]
    assert found["rows"][0]["images"] == 11
    assert len(found["responses"]["resnet20-A-seed0"]) == 19
    assert "mean standard deviation" in call(*command[:-1]).stdout
    [run] = (tmp_path / "runs").glob("*/*/resnet20-A-seed0")
    trained = (run / "run.json").stat().st_mtime_ns
    again = json.loads(call(*command).stdout)
    assert again == found
    assert (run / "run.json").stat().st_mtime_ns == trained
    html = tmp_path / "report.html"
    call("report", tmp_path / "runs", "--output", html, "--no-evaluate")
    text = html.read_text()
    assert "Responses of the layers" in text
    assert "ResNet-20" in text

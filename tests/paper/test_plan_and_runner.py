"""Plans, budgets and the processes that run them (with a stand-in for the training)."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from run_folders import write_run

from keras_resnet.data.sources import open_dataset
from keras_resnet.errors import UsageError, UserError
from keras_resnet.paper import runner
from keras_resnet.paper.experiments import get_experiment
from keras_resnet.paper.plan import Conditions, PlannedRun, make_plan, quick_conditions
from keras_resnet.paper.runner import run_plan, seconds_of
from keras_resnet.training.interrupts import Interrupted


@pytest.fixture
def plan(tmp_path):
    return make_plan(
        get_experiment("figure6"), open_dataset("digits"), quick_conditions(), workdir=tmp_path, quick=True
    )


def test_the_smallest_network_first_from_all_its_seeds(tmp_path):
    made = make_plan(
        get_experiment("table6"), open_dataset("digits"), Conditions("digits"), workdir=tmp_path, seeds=2
    )
    assert [(run.net.architecture.depth, run.net.seed) for run in made.runs] == [
        (depth, seed) for depth in (20, 32, 44, 56, 110, 1202) for seed in (0, 1)
    ]


def test_all_networks_train_under_the_same_conditions(plan):
    assert len({json.dumps(json.loads(run.to_json())["conditions"]) for run in plan.runs}) == 1
    assert {run.folder.parent.name for run in plan.runs} == {"quick"}


def test_other_conditions_go_to_another_folder(tmp_path):
    def folder(**changes):
        conditions = Conditions("digits", **changes)
        plan = make_plan(get_experiment("figure1"), open_dataset("digits"), conditions, workdir=tmp_path)
        return plan.runs[0].folder

    variants = [
        {},
        {"recipe": "cifar-paper"},
        {"overrides": {"epochs": 2.0}},
        {"precision": "mixed_bfloat16"},
        {"image_size": 16},
        {"hold_out": 100},
        {"accumulate": 2},
    ]
    assert len({folder(**changes) for changes in variants}) == len(variants)
    assert folder(skip_limit=0.2) == folder()  # which changes no weights


def test_ten_crops_of_whole_images_are_refused_before_training(tmp_path):
    """Of images as large as the network's input they would all be the same, and no test could follow."""
    photos = replace(open_dataset("digits"), name="photos", kind="folder", image_shape=(224, 224, 3))

    def make(name, **changes):
        conditions = Conditions("photos", recipe="imagenet-90", **changes)
        return make_plan(get_experiment(name), photos, conditions, workdir=tmp_path)

    with pytest.raises(UsageError, match=r"table2 is tested with ten crops.* such as 196"):
        make("table2")
    assert {run.views for run in make("table2", image_size=196).runs} == {"10-crop"}
    assert {run.views for run in make("table4").runs} == {"multi-scale"}


def test_only_the_laptop_edition_goes_to_its_folder(tmp_path):
    quick = quick_conditions()
    assert [quick.label, replace(quick, data_dir="tfds", skip_limit=0.2).label] == ["quick", "quick"]
    for changes in ({"recipe": "cifar-fast"}, {"image_size": 16}, {"hold_out": 100}):
        assert replace(quick, **changes).label != "quick"


def test_a_run_travels_as_json(plan):
    assert [PlannedRun.from_json(run.to_json()) for run in plan.runs] == list(plan.runs)


def test_only_some_networks(tmp_path):
    def only(*names):
        return make_plan(
            get_experiment("figure1"),
            open_dataset("digits"),
            Conditions("digits"),
            workdir=tmp_path,
            only=names,
        )

    assert [run.net.network for run in only("plain20").runs] == ["plain20"]
    with pytest.raises(UsageError, match="no resnet20; it has plain20, plain56"):
        only("resnet20")


def test_nothing_to_train_for_table1(tmp_path):
    with pytest.raises(UsageError, match="nothing to train"):
        make_plan(get_experiment("table1"), open_dataset("digits"), Conditions("digits"), workdir=tmp_path)


@pytest.mark.parametrize(("text", "seconds"), [("2h", 7200), ("30m", 1800), ("1h30m", 5400), ("1.5h", 5400)])
def test_budgets(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2 hours", "-1h", "1h30"])
def test_budgets_that_are_none(text):
    with pytest.raises(UsageError, match="2h, 30m"):
        seconds_of(text)


def test_data_sets_of_tfds_with_the_same_configs_do_not_share_folders(tmp_path):
    def folder(name):
        data = replace(open_dataset("digits"), name=name, kind="tfds", image_shape=None)
        return make_plan(get_experiment("table2"), data, Conditions(name), workdir=tmp_path).folder

    assert folder("imagenette/320px-v2") != folder("imagewoof/320px-v2")


def test_runs_on_another_folder_of_the_same_name_are_not_taken_for_these(tmp_path, monkeypatch):
    def plan(root):
        data = replace(open_dataset("digits"), name=str(root), kind="folder")
        return make_plan(get_experiment("figure1"), data, Conditions(str(root)), workdir=tmp_path / "runs")

    [run, _] = plan(tmp_path / "a" / "photos").runs
    write_run(run.folder, run.net.network, dataset=str(tmp_path / "a" / "photos"))
    monkeypatch.chdir(tmp_path)
    assert plan(Path("a/photos")).runs[0].status == "measured"
    with pytest.raises(UsageError, match=r"are on .*a/photos, not on .*b/photos: name another --workdir$"):
        plan(tmp_path / "b" / "photos")


# What stands in for training: it notes that it began, waits, and writes the result.
_STAND_IN = """
import json, pathlib, signal, sys, time
run, seconds, code = json.loads(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
folder = pathlib.Path(run["folder"]); folder.mkdir(parents=True, exist_ok=True)
def stop(number, frame):
    (folder / "saved").touch(); sys.exit(143)
signal.signal(signal.SIGTERM, stop)
(folder / "run.json").write_text("{}")
(folder / "began").open("a").write("x")
time.sleep(seconds)
if code:
    print("the disk is full"); sys.exit(code)
(folder / "evaluation-single.json").write_text('{"top1_error": 1, "top5_error": 0, "images": 1}')
"""


def stand_in(monkeypatch, seconds=0.0, code=0):
    def command(run):
        return [sys.executable, "-S", "-c", _STAND_IN, run.to_json(), str(seconds), str(code)]

    monkeypatch.setattr(runner, "_command", command)


def test_runs_everything_once(plan, monkeypatch):
    stand_in(monkeypatch)
    said: list[str] = []
    assert run_plan(plan, say=said.append)
    assert run_plan(plan, say=said.append)
    assert all(run.status == "measured" for run in plan.runs)
    assert all((run.folder / "began").read_text() == "x" for run in plan.runs)
    assert said[-1] == "4 of 4 runs are measured already"


def test_the_budget_stops_a_training_which_saves_itself_and_goes_on_next_time(plan, monkeypatch):
    stand_in(monkeypatch, seconds=60)
    first = plan.runs[0]
    for budget in (0.5, 2, 8, 32):  # on a busy machine it may begin after the budget is spent
        assert not run_plan(plan, budget=budget)
        if (first.folder / "began").exists():
            break
    assert first.status == "begun"
    assert (first.folder / "saved").exists()
    assert [run.status for run in plan.runs[1:]] == ["missing"] * 3
    stand_in(monkeypatch)
    said: list[str] = []
    assert run_plan(plan, say=said.append)
    assert said[0].startswith("[1/4] resuming plain-20")


def test_a_spent_budget_starts_nothing(plan, monkeypatch):
    stand_in(monkeypatch)
    assert not run_plan(plan, budget=0.0)
    assert all(run.status == "missing" for run in plan.runs)


def test_the_error_of_a_training_is_told_in_one_line(plan, monkeypatch):
    stand_in(monkeypatch, code=1)
    with pytest.raises(UserError, match=r"^plain-20: the disk is full$"):
        run_plan(plan)


def test_an_error_may_name_any_file_and_asks_for_no_option_that_paper_lacks(plan, monkeypatch):
    words = b"too many broken files (na\xefve.png): use --fresh"
    script = f"import sys; sys.stdout.buffer.write({words!r}); sys.exit(1)"
    monkeypatch.setattr(runner, "_command", lambda run: [sys.executable, "-S", "-c", script])
    with pytest.raises(UserError) as caught:
        run_plan(plan)
    assert os.fsencode(str(caught.value)).startswith(b"plain-20: " + words)
    assert str(caught.value).endswith(f"(instead of --fresh, remove {plan.runs[0].folder})")


def test_an_error_when_the_budget_is_over_is_no_spent_budget(plan, tmp_path, monkeypatch):
    began = tmp_path / "began"
    script = (
        "import pathlib, signal, sys, time; stop = lambda *_: (print('the disk is full'), sys.exit(1)); "
        f"signal.signal(signal.SIGTERM, stop); pathlib.Path({str(began)!r}).touch(); time.sleep(60)"
    )
    monkeypatch.setattr(runner, "_command", lambda run: [sys.executable, "-S", "-c", script])
    for budget in (0.5, 2, 8, 32):  # on a busy machine it may begin after the budget is spent
        try:
            assert not run_plan(plan, budget=budget)
        except UserError as error:
            assert str(error) == "plain-20: the disk is full"
            break
        assert not began.exists()
    assert began.exists()


def test_wrong_usage_in_a_training_is_wrong_usage(plan, monkeypatch):
    stand_in(monkeypatch, code=2)
    with pytest.raises(UsageError, match=r"^plain-20: the disk is full$"):
        run_plan(plan)


def test_a_signal_stops_the_training_and_says_how_to_go_on(plan, monkeypatch):
    stand_in(monkeypatch, seconds=60)

    def interrupt():
        while not (plan.runs[0].folder / "began").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(Interrupted, match="run the same command again") as caught:
        run_plan(plan)
    assert caught.value.exit_code == 128 + signal.SIGTERM
    assert (plan.runs[0].folder / "saved").exists()

"""The list of tables and figures: what is measured so far, and the command for the rest."""

from __future__ import annotations

import json

from run_folders import write_run

from keras_resnet.data.sources import open_dataset
from keras_resnet.paper.experiments import get_experiment
from keras_resnet.paper.overview import overview
from keras_resnet.paper.plan import Conditions, make_plan, quick_conditions


def test_the_list_counts_what_is_measured(tmp_path):
    plan = make_plan(
        get_experiment("figure6"), open_dataset("digits"), quick_conditions(), workdir=tmp_path, quick=True
    )
    for run in plan.runs[:3]:
        write_run(run.folder, run.net.network, responses=run.net.network == "resnet20")
    found = {entry.experiment.name: entry for entry in overview(tmp_path)}
    assert [(m.dataset, m.conditions, m.runs, m.of) for m in found["figure6"].measured] == [
        ("digits", "quick", 3, 4)
    ]
    assert [(m.runs, m.of) for m in found["figure1"].measured] == [(2, 2)]
    assert [(m.runs, m.of) for m in found["figure7"].measured] == [(1, 4)]
    assert found["table2"].measured == ()
    assert found["table3"].cifar_command == "keras-resnet paper table3 --dataset cifar10 --budget 2h"
    assert found["table2"].cifar_command is None
    assert found["table2"].to_json()["gpu_hours"] > 10
    assert found["table6"].to_json()["needs"] == "CIFAR-10"


def test_tested_runs_without_responses_have_a_command_for_figure7(tmp_path):
    write_run(tmp_path / "digits" / "quick" / "plain20-seed0", "plain20")
    found = {entry.experiment.name: entry.measured for entry in overview(tmp_path)}
    assert [(m.runs, m.of) for m in found["figure7"]] == [(0, 4)]
    assert found["table6"] == ()


def test_the_list_names_the_command_for_the_rest(tmp_path):
    folder = write_run(tmp_path / "cifar10" / "cifar-fast" / "plain20-seed0", "plain20")
    record = json.loads((folder / "run.json").read_text())

    def rest(command):
        (folder / "run.json").write_text(json.dumps(record | {"command": command}))
        found = {entry.experiment.name: entry.measured for entry in overview(tmp_path)}
        return found["figure1"][0].rest

    wanted = "keras-resnet paper figure1 --dataset cifar10 --recipe cifar-fast --budget 2h"
    assert rest(wanted.replace("figure1", "figure6") + " --networks plain20 --json") == wanted
    assert rest("keras-resnet train --depth 20") is None
    assert rest("keras-resnet paper figure6 --dataset=cifar10 --networks=plain20 --output=a.png") == (
        "keras-resnet paper figure1 --dataset cifar10"
    )
    blanks = "keras-resnet paper figure1 --workdir 'my runs' --budget 2h"
    assert rest(blanks.replace("figure1", "figure6") + " --output 'my curves.png'") == blanks
    assert (
        rest("keras-resnet paper figure6 --workdir l'été")
        == "keras-resnet paper figure1 --workdir 'l'\"'\"'été'"
    )


def test_the_command_for_a_table_of_imagenet_names_its_data(tmp_path):
    """Without, `paper table5` only shows what is printed."""
    folder = write_run(tmp_path / "digits" / "default" / "resnet20-A-seed0")
    command = "keras-resnet paper figure7 --recipe digits"
    (folder / "run.json").write_text(
        json.dumps(json.loads((folder / "run.json").read_text()) | {"command": command})
    )
    found = {entry.experiment.name: entry.measured for entry in overview(tmp_path)}
    assert found["table5"][0].rest == "keras-resnet paper table5 --recipe digits --dataset digits"
    assert found["table6"][0].rest == "keras-resnet paper table6 --recipe digits"


def test_options_with_an_equals_sign_are_read_as_well(tmp_path):
    """`--dataset=photos` is not followed by a second data set, `--seeds=1` is one seed."""
    folder = write_run(tmp_path / "photos" / "default" / "resnet20-A-seed0")
    record = json.loads((folder / "run.json").read_text())
    command = "keras-resnet paper table3 --dataset=photos --seeds=1"
    (folder / "run.json").write_text(json.dumps(record | {"command": command}))
    found = {entry.experiment.name: entry.measured for entry in overview(tmp_path)}
    assert found["table5"][0].rest == "keras-resnet paper table5 --dataset photos --seeds 1"
    assert found["table6"][0].of == 6


def test_seeds_are_counted(tmp_path):
    """The paper trained ResNet-110 from five seeds: with one of them Table 6 is not measured."""

    def counted(seeds, command):
        plan = make_plan(
            get_experiment("table6"), open_dataset("digits"), Conditions("digits"), workdir=tmp_path / command
        )
        for run in plan.runs:
            if run.net.seed < seeds:
                write_run(run.folder, run.net.network, seed=run.net.seed)
        for record in (tmp_path / command).glob("*/*/*/run.json"):
            record.write_text(json.dumps(json.loads(record.read_text()) | {"command": command}))
        found = {entry.experiment.name: entry.measured for entry in overview(tmp_path / command)}
        return [(m.runs, m.of, m.rest) for m in found["table6"]]

    command = "keras-resnet paper table6 --dataset digits"
    assert counted(1, command) == [(6, 10, command)]
    assert counted(1, command + " --seeds 1") == [(6, 6, None)]
    assert counted(5, command + " --budget 2h") == [(10, 10, None)]


def test_a_test_by_other_views_is_not_the_experiments_own(tmp_path):
    """Table 3 tests by ten crops, Table 4 at five scales: one file is not a measurement of both."""
    run = write_run(tmp_path / "photos" / "imagenet-paper" / "resnet50-B-seed0", "resnet50", shortcut="B")
    (run / "evaluation-single.json").rename(run / "evaluation-10-crop.json")
    found = {entry.experiment.name: entry.measured for entry in overview(tmp_path)}
    assert [(m.runs, m.of) for m in found["table3"]] == [(1, 7)]
    assert [found[name] for name in ("table2", "table4", "table5")] == [()] * 3

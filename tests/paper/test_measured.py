"""Run folders read back: curves, comparisons, tables, ensembles, the list of what is measured."""

from __future__ import annotations

import json

import pytest
from run_folders import write_run, write_test

from keras_resnet.data.sources import open_dataset
from keras_resnet.errors import UserError
from keras_resnet.paper import answers, degradation, results
from keras_resnet.paper.experiments import get_experiment
from keras_resnet.paper.folders import find_runs, read_run
from keras_resnet.paper.measured import ensemble, mean_std, rows
from keras_resnet.paper.plan import Conditions, make_plan


def test_a_run_folder_tells_its_curves_and_drops(tmp_path):
    run = read_run(write_run(tmp_path / "a", "plain56", final_train=23.0, final_val=25.0))
    assert run.net.label == "plain-56"
    assert (run.final_training_error, run.final_validation_error) == (23.0, 25.0)
    assert run.drops() == [40, 60]
    assert run.images_per_second == 104.5  # of 101 to 108
    assert run.evaluations["single"]["top1_error"] == 25.0


def test_gliding_schedules_have_no_drops(tmp_path):
    folder = write_run(tmp_path / "a")
    record = json.loads((folder / "run.json").read_text())
    record["settings"]["recipe"]["schedule"] = "one-cycle"
    (folder / "run.json").write_text(json.dumps(record))
    assert read_run(folder).drops() == []


def test_folders_of_runs_are_searched(tmp_path):
    for name in ("x/a", "x/b", "y"):
        write_run(tmp_path / name)
    assert [run.path.name for run in find_runs([tmp_path / "x", tmp_path / "y"])] == ["a", "b", "y"]
    again = find_runs([tmp_path / "x" / "a", tmp_path / "x", tmp_path / "y" / ".." / "y"])
    assert [run.path.name for run in again] == ["a", "b", "y"]
    (tmp_path / "empty").mkdir()
    for missing in ("empty", "nowhere"):
        with pytest.raises(UserError, match="no run folder at or below"):
            find_runs([tmp_path / missing])


def test_a_broken_record_is_told(tmp_path):
    folder = write_run(tmp_path / "a")
    (folder / "run.json").write_text('{"settings": ')
    with pytest.raises(UserError, match=r"run\.json is not readable JSON"):
        read_run(folder)


def four_runs(tmp_path, plain56, resnet56, **options):
    finals = {"plain20": 2.0, "plain56": plain56, "resnet20": 1.0, "resnet56": resnet56}
    return [
        read_run(write_run(tmp_path / name, name, final_train=error, final_val=error + 1, **options))
        for name, error in finals.items()
    ]


def test_degradation_of_plain_networks_alone_is_the_papers_finding(tmp_path):
    found = degradation.compare(four_runs(tmp_path, plain56=43.0, resnet56=0.5))
    assert found["plain"].degrades
    assert not found["residual"].degrades
    assert found["plain"].train_gap == 41.0
    assert degradation.summary(found) == (
        "Without shortcuts plain-56 trains worse than plain-20: training error 43.0 % against 2.0 % "
        "(+41.0 points), validation error 44.0 % against 3.0 % (+41.0 points). With shortcuts ResNet-56 "
        "trains as well as ResNet-20: training error 0.5 % against 1.0 % (-0.5 points), validation error "
        "1.5 % against 2.0 % (-0.5 points)."
    )


def test_no_finding_is_made_up_where_residual_networks_degrade_too(tmp_path):
    found = degradation.compare(four_runs(tmp_path, plain56=22.0, resnet56=17.8))
    assert found["residual"].degrades
    assert "Without shortcuts" not in degradation.summary(found)
    assert "ResNet-56 trains worse than ResNet-20" in degradation.summary(found)


def test_seeds_are_averaged(tmp_path):
    runs = [
        read_run(write_run(tmp_path / f"{name}-{seed}", name, final_train=error + seed, seed=seed))
        for name, error in (("plain20", 2.0), ("plain56", 30.0))
        for seed in (0, 1, 2)
    ]
    found = degradation.compare(runs)["plain"]
    assert (found.shallow_train, found.deep_train, found.seeds) == (3.0, 31.0, 3)
    assert found.sentence().startswith(
        "plain-56 trains worse than plain-20, means of 3 seeds: training error"
    )


def test_means_are_over_the_seeds_that_both_have(tmp_path):
    """A budget may end when the shallow network is trained from two seeds and the deep one from one."""
    errors = {("plain20", 0): 2.0, ("plain20", 1): 10.0, ("plain56", 0): 6.0}
    runs = [
        read_run(write_run(tmp_path / f"{name}-{seed}", name, final_train=error, seed=seed))
        for (name, seed), error in errors.items()
    ]
    found = degradation.compare(runs)["plain"]
    assert (found.shallow_train, found.deep_train, found.seeds) == (2.0, 6.0, 1)
    assert "plain-56 trains worse than plain-20: training error" in found.sentence()


def test_shortcut_options_are_not_mixed(tmp_path):
    errors = {("resnet20", "A"): 2.0, ("resnet20", "B"): 9.0, ("resnet56", "A"): 1.0}
    runs = [
        read_run(write_run(tmp_path / f"{name}{option}", name, shortcut=option, final_train=error))
        for (name, option), error in errors.items()
    ]
    found = degradation.compare(runs)["residual"]
    assert (found.shallow_train, found.deep_train, found.seeds) == (2.0, 1.0, 1)
    assert degradation.compare(runs[:2]) == {}


def test_unfinished_runs_are_not_compared(tmp_path):
    runs = [
        read_run(write_run(tmp_path / "a", "plain20")),
        read_run(write_run(tmp_path / "b", "plain56", finished=False)),
    ]
    assert degradation.compare(runs) == {}
    assert "Nothing to compare yet" in degradation.summary({})


def test_other_conditions_are_no_comparison(tmp_path):
    runs = [
        read_run(write_run(tmp_path / "a", "plain20")),
        read_run(write_run(tmp_path / "b", "plain56", learning_rate=0.01)),
    ]
    with pytest.raises(UserError, match="differ in recipe"):
        degradation.compare(runs)


def test_another_slice_is_another_condition(tmp_path):
    """Runs from before slices could be chosen trained on the whole split."""
    folders = [write_run(tmp_path / name, name) for name in ("plain20", "plain56")]
    record = json.loads((folders[1] / "run.json").read_text())
    for slice, alike in (("train", True), ("train[:50%]", False)):
        record["settings"]["split"] = slice
        (folders[1] / "run.json").write_text(json.dumps(record))
        runs = [read_run(folder) for folder in folders]
        if alike:
            assert list(degradation.compare(runs)) == ["plain"]
        else:
            with pytest.raises(UserError, match="differ in split"):
                degradation.compare(runs)


def test_data_named_in_two_ways_are_no_other_condition(tmp_path):
    """With and without the slash that a shell completes; found out after the training of both."""
    names = {"plain20": str(tmp_path / "photos"), "plain56": f"{tmp_path / 'photos'}/"}
    runs = [read_run(write_run(tmp_path / net, net, dataset=data)) for net, data in names.items()]
    assert list(degradation.compare(runs)) == ["plain"]


def test_another_summary_is_no_other_condition(tmp_path):
    """A recipe's summary is words: correcting them between two runs changes no training."""
    folders = [write_run(tmp_path / name, name) for name in ("plain20", "plain56")]
    record = json.loads((folders[1] / "run.json").read_text())
    record["settings"]["recipe"]["summary"] = "the same, said better"
    (folders[1] / "run.json").write_text(json.dumps(record))
    assert list(degradation.compare([read_run(folder) for folder in folders])) == ["plain"]


def test_responses_of_several_seeds_are_told_apart(tmp_path):
    plan = make_plan(
        get_experiment("figure7"), open_dataset("digits"), Conditions("digits"), workdir=tmp_path, seeds=2
    )
    for run in plan.runs:
        if run.net.network == "plain20":
            write_run(run.folder, "plain20", seed=run.net.seed, responses=True)
    table = results.tables(plan)[1]
    assert [row[0] for row in table.rows] == ["plain-20", "plain-20 (seed 1)"]


def test_figure7_is_measured_by_responses(tmp_path):
    """The runs of figure 6, tested, are not a measurement of figure 7."""
    plan = make_plan(
        get_experiment("figure7"), open_dataset("digits"), Conditions("digits"), workdir=tmp_path
    )
    for run in plan.runs:
        write_run(run.folder, run.net.network, responses=run.net.network == "plain20")
    assert [run.status for run in plan.runs] == ["measured", *["begun"] * 4]
    assert answers.measure(plan, show=True).data["complete"] is False


@pytest.fixture
def table6(tmp_path):
    """Table 6 on digits, ResNet-20 measured from two seeds and ResNet-32 from one."""
    plan = make_plan(
        get_experiment("table6"), open_dataset("digits"), Conditions("digits"), workdir=tmp_path, seeds=2
    )
    for run in plan.runs:
        if run.net.folder in ("resnet20-A-seed0", "resnet20-A-seed1", "resnet32-A-seed0"):
            write_run(run.folder, run.net.network, seed=run.net.seed, final_val=4.0 + run.net.seed)
    return plan


def test_rows_collect_seeds_beside_the_printed_number(table6):
    found = {row.net.network: row for row in rows(table6)}
    assert found["resnet20"].top1 == (4.0, 5.0)
    assert found["resnet20"].paper.top1 == 8.75
    assert found["resnet32"].top1 == (4.0,)
    assert found["resnet1202"].top1 == ()
    data = found["resnet20"].to_json()
    assert data["top1_mean"] == 4.5
    assert data["top1_std"] == pytest.approx(0.7071, abs=1e-4)
    assert [r["top1"] for r in data["reproductions"]] == [8.27, 8.29]


def test_means_are_written_with_their_deviation():
    assert [mean_std([]), mean_std([8.75]), mean_std([4.0, 5.0])] == ["", "8.75", "4.50 ± 0.71"]


def test_the_table_has_measured_and_printed_columns(table6):
    table = results.tables(table6)[0]
    row = dict(zip(table.header, table.rows[0], strict=True))
    assert row["network"] == "ResNet-20"
    assert row["top-1 error % on digits"] == "4.50 ± 0.71"
    assert row["paper, CIFAR-10"] == "8.75"
    assert "8.27 (akamaster)" in row["others"]
    deepest = dict(zip(table.header, table.rows[4], strict=True))
    assert deepest["paper, CIFAR-10"] == "6.43 (mean 6.61 ± 0.16)"


def test_the_papers_errors_are_plotted_on_the_papers_data_only(table6):
    found = rows(table6)
    assert [point[:2] for point in results.depth_points(found, "digits")] == [
        ("ResNet A", 20),
        ("ResNet A", 32),
    ]
    assert [point[4] for point in results.depth_points(found, "digits")] == [None, None]
    assert [point[4] for point in results.depth_points(found, "data/cifar10")] == [8.75, 7.51]
    assert [point[4] for point in results.depth_points(found, "cifar10:3.0.2")] == [8.75, 7.51]
    for other in ("cifar100", "data/cifar10-jpeg", "imagenette/320px-v2"):
        assert [point[4] for point in results.depth_points(found, other)] == [None, None]
    assert results.depth_points(found[:1], "cifar10") == []


def test_collected_results_are_json_and_say_what_is_missing(table6):
    data = json.loads(json.dumps(results.collect(table6)))
    assert sum(run["status"] == "measured" for run in data["runs"]) == 3
    assert data["rows"][0]["top1_errors"] == [4.0, 5.0]


def test_an_ensemble_averages_probabilities(tmp_path):
    plan = make_plan(get_experiment("table5"), open_dataset("digits"), Conditions("digits"), workdir=tmp_path)
    assert ensemble(plan) is None
    first, second, *_ = plan.runs
    for run, errors in ((first, 6), (second, 3)):
        write_run(run.folder, run.net.network, tested=False)
        write_test(run.folder, errors, seed=errors)
    found = ensemble(plan)
    assert (found.best_member, found.best_top1) == ("ResNet-32", 3.0)
    # The first three images: wrong for both. The next three: one is sure and wrong, the other right.
    assert 3.0 <= found.top1 <= 6.0
    assert len(found.members) == 2


def test_curves_are_drawn_in_the_papers_style(tmp_path):
    plots = pytest.importorskip("keras_resnet.pages.plots")
    pytest.importorskip("matplotlib")
    from keras_resnet.paper.figures import curves

    figure = curves(four_runs(tmp_path, plain56=43.0, resnet56=0.5))
    plain, residual = figure.axes
    assert [ax.get_title() for ax in (plain, residual)] == ["plain networks", "residual networks"]
    assert plain.get_xlabel() == "step"
    training, validation, *_ = [line for line in plain.lines if len(line.get_xdata()) == 8]
    assert training.get_linestyle() == "--"
    assert validation.get_linestyle() == "-"
    assert validation.get_linewidth() > training.get_linewidth()
    drops = [line for line in plain.lines if line.get_linestyle() == ":"]
    assert [line.get_xdata()[0] for line in drops] == [40, 60]
    svg = plots.to_svg(figure)
    assert svg.startswith("<svg")
    assert "font-family: system-ui, " in svg
    assert plots.INK in svg


def test_names_of_files_are_no_formulas(tmp_path):
    """matplotlib takes what stands between two dollars for mathematics, and fails on `$b_$`."""
    plots = pytest.importorskip("keras_resnet.pages.plots")
    pytest.importorskip("matplotlib")
    from keras_resnet.paper.figures import responses

    figure = responses([("ResNet-20, a$b_$.keras", [1.0, 0.5]), (r"ResNet-20, a\$b_$", [1.0, 0.6])])
    svg = plots.to_svg(figure)
    assert "a$b_$.keras" in svg
    assert plots.save_png(figure, tmp_path / "a$b_$.png").stat().st_size > 1000

"""The printed numbers and the experiments as data."""

from __future__ import annotations

import pytest

from keras_resnet.architectures import ARCHITECTURES
from keras_resnet.errors import UsageError
from keras_resnet.paper.estimates import cifar_hours, imagenet_hours
from keras_resnet.paper.experiments import EXPERIMENTS, Net, get_experiment
from keras_resnet.paper.numbers import PRINTED, REPRODUCTIONS, printed, printed_for, reproductions


def test_tables_and_figures_are_those_of_the_paper():
    assert list(EXPERIMENTS) == [
        *(f"table{n}" for n in range(1, 7)),
        *("figure1", "figure3", "figure4", "figure6", "figure7"),
    ]


def test_every_printed_network_exists_with_that_shortcut():
    for row in PRINTED:
        if row.network is not None:
            kind = ARCHITECTURES[row.network].shortcut
            assert (row.shortcut is None) == (kind is None), row


def test_printed_parameters_are_those_we_compute():
    for row in printed("table6"):
        if row.network is not None:
            millions = ARCHITECTURES[row.network].parameters() / 1e6
            digits = len(row.parameters.rstrip("M").split(".")[1])
            assert f"{millions:.{digits}f}M" == row.parameters


def test_plain_networks_have_as_many_parameters_as_residual_ones_of_option_a():
    for depth in (20, 32, 44, 56, 110):  # Sec. 4.2: "exactly the same depth, width, and number of parameters"
        plain, residual = (ARCHITECTURES[f"{kind}{depth}"] for kind in ("plain", "resnet"))
        assert (plain.parameters(), residual.shortcut) == (residual.parameters(), "A")


@pytest.mark.parametrize(
    ("table", "network", "shortcut", "top1"),
    [
        ("table2", "plain34", None, 28.54),
        ("table2", "resnet34", "A", 25.03),
        ("table3", "resnet34", "C", 24.19),
        ("table4", "resnet152", "B", 19.38),
        ("table6", "resnet110", "A", 6.43),
    ],
)
def test_printed_errors(table, network, shortcut, top1):
    assert printed_for(table, network, shortcut).top1 == top1


def test_table2_and_table3_agree_where_they_print_the_same_network():
    for row in printed("table2"):
        other = printed_for("table3", row.network, row.shortcut)
        assert other is None or other.top1 == row.top1


def test_reproductions_name_their_source_and_are_found_by_network_and_views():
    assert all(r.source.startswith("https://") and r.network in ARCHITECTURES for r in REPRODUCTIONS)
    assert {r.views for r in reproductions("resnet50", "B", "10-crop")} == {"10-crop"}
    assert len(reproductions("resnet20", "A", "single")) == 2
    assert reproductions("resnet20", "C", "single") == ()  # theirs are of option A


def test_seeds_and_quick_choose_the_networks():
    nets = get_experiment("table6").nets(small_pictures=True)
    assert sum(net.network == "resnet110" for net in nets) == 5
    assert len(get_experiment("table6").nets(True, seeds=2)) == 12
    quick = get_experiment("figure6").nets(True, quick=True)
    assert [net.network for net in quick] == ["plain20", "plain56", "resnet20", "resnet56"]
    assert Net("resnet110", "A", 1) in get_experiment("table5").nets(True)
    assert len(get_experiment("table5").nets(True)) == 6


def test_questions_that_cannot_be_asked_of_these_pictures():
    with pytest.raises(UsageError, match="larger images"):
        get_experiment("table4").nets(small_pictures=True)
    with pytest.raises(UsageError, match="small images"):
        get_experiment("table6").nets(small_pictures=False)
    with pytest.raises(UsageError, match="table6"):
        get_experiment("table7")


def test_figure4_is_tested_as_its_table_is():
    """Table 2 prints the errors of the same four networks, by ten crops."""
    table, figure = get_experiment("table2"), get_experiment("figure4")
    assert (figure.imagenet, figure.views) == (table.imagenet, table.views)


def test_labels_are_the_papers():
    assert Net("resnet34", "B").label == "ResNet-34 B"
    assert Net("resnet50", "B").label == "ResNet-50"
    assert Net("resnet50", "C").label == "ResNet-50 C"
    assert Net("resnet20", "A").label == "ResNet-20"
    assert Net("resnet20", "C").label == "ResNet-20 C"
    assert Net("plain56").label == "plain-56"


def test_gpu_hours_follow_from_the_published_throughput():
    # 600,000 steps of 256 images at 2,375 images/s of the network with its strides in the 3×3 convolutions
    hours = 153.6e6 / 2375 / 3600 * 3.858 / 4.089
    assert imagenet_hours([Net("resnet50", "B")]) == pytest.approx(hours, rel=1e-3)
    assert imagenet_hours([Net("resnet50", "B")] * 2) == pytest.approx(2 * hours, rel=1e-3)


def test_cpu_hours_follow_from_the_measured_throughput():
    # 64,000 steps of 128 images at 816 images/s; ResNet-110 has 6.24 times ResNet-20's multiply-adds
    assert cifar_hours([Net("resnet20", "A")]) == pytest.approx(8.192e6 / 816 / 3600)
    assert cifar_hours([Net("resnet110", "A")]) == pytest.approx(17.39, abs=0.01)

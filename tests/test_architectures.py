from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from keras_resnet.architectures import ARCHITECTURES, get_architecture, network_name
from keras_resnet.errors import UsageError, UserError

GOLDEN = json.loads((Path(__file__).parent / "golden" / "architectures.json").read_text())
VARIANTS = [
    (name, None if option == "-" else option, count)
    for name, options in GOLDEN["parameters"].items()
    for option, count in options.items()
]


def test_the_golden_table_has_every_network():
    assert set(GOLDEN["parameters"]) == set(ARCHITECTURES)


@pytest.mark.parametrize(("name", "shortcut", "count"), VARIANTS)
def test_parameters(name, shortcut, count):
    assert get_architecture(name, shortcut).parameters() == count


@pytest.mark.parametrize(("name", "paper"), GOLDEN["multiply_adds_of_table_1"].items())
def test_multiply_adds_agree_with_the_papers_table(name, paper):
    architecture = ARCHITECTURES[name]
    assert architecture.paper_multiply_adds == paper
    assert architecture.multiply_adds() == pytest.approx(paper, rel=0.02)


def test_projections_of_option_b_are_the_difference_between_a_and_b():
    # 64→128, 128→256, 256→512: three 1×1 kernels with their batch normalisation (Fig. 3, dotted lines).
    projections = sum(a * b + 2 * b for a, b in ((64, 128), (128, 256), (256, 512)))
    a, b = (get_architecture("resnet34", option).parameters() for option in "AB")
    assert b - a == projections


def test_the_stride_may_sit_in_the_3x3_convolution():
    paper, v15 = (get_architecture("resnet50", downsample=where) for where in ("1x1", "3x3"))
    assert v15.parameters() == paper.parameters()
    assert v15.multiply_adds() == 4089184256  # torchvision's resnet50 as fvcore counts it
    strides = {conv.name: conv.stride for conv in paper.convs()}
    assert (strides["conv3_block1_conv1"], strides["conv3_block1_conv2"]) == (2, 1)
    strides = {conv.name: conv.stride for conv in v15.convs()}
    assert (strides["conv3_block1_conv1"], strides["conv3_block1_conv2"]) == (1, 2)


def test_depth_counts_the_weighted_layers():
    for name, architecture in ARCHITECTURES.items():
        layers = [conv for conv in architecture.convs() if "shortcut" not in conv.name]
        assert len(layers) == architecture.depth, name


def test_classes_and_image_size_change_only_what_they_should():
    resnet, vgg = ARCHITECTURES["resnet50"], ARCHITECTURES["vgg16"]
    assert resnet.parameters(classes=10) == resnet.parameters() - 990 * 2049
    assert resnet.parameters(image_size=64) == resnet.parameters()
    assert vgg.parameters(image_size=64) == vgg.parameters() - (7 * 7 - 2 * 2) * 512 * 4096
    # A map of 33 pixels is halved upwards, as padding by half the kernel does.
    assert [conv.size for conv in ARCHITECTURES["resnet18"].convs(65)][:2] == [33, 17]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("resnet51",), ["resnet51", "resnet50", "vgg19"]),
        (("plain34", "A"), ["plain34 has no shortcuts"]),
        (("vgg16", "B"), ["vgg16 has no shortcuts"]),
        (("resnet18", None, "3x3"), ["resnet18 has no bottlenecks"]),
        (("resnet50", "D"), ['"A", "B" or "C"', "'D'"]),
        (("resnet50", None, "2x2"), ['"1x1" or "3x3"', "'2x2'"]),
    ],
)
def test_impossible_networks_are_refused(arguments, words):
    with pytest.raises(UsageError) as caught:
        get_architecture(*arguments)
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, UserError)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_names_from_depths():
    assert network_name(50) == "resnet50"
    assert network_name(34, plain=True) == "plain34"
    assert network_name(16) == "vgg16"
    with pytest.raises(UsageError, match=r"one of 16, 18, 19, 20, 32, 34, 44, 50, 56, 101, 110, 152, 1202"):
        network_name(51)
    with pytest.raises(UsageError, match=r"no plain network of depth 50; choose one of 18, 20, 32, 34"):
        network_name(50, plain=True)


def test_a_description_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        ARCHITECTURES["resnet50"].depth = 51
    with pytest.raises(TypeError):
        ARCHITECTURES["mine"] = ARCHITECTURES["resnet50"]


def test_importing_the_package_and_the_table_imports_no_tensorflow():
    code = (
        "import sys, keras_resnet\n"
        "assert keras_resnet.architectures.ARCHITECTURES['resnet50'].depth == 50\n"
        "assert 'ResNet50' in dir(keras_resnet)\n"
        "print(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "[]"


def test_a_closed_stderr_keeps_nothing_from_starting():
    code = (
        "import sys\n"
        "from keras_resnet.quiet import _notices_hidden\n"
        "with _notices_hidden():\n"
        "    print(sys.stderr)"
    )
    command = f"{shlex.join([sys.executable, '-c', code])} 2>&-"
    output = subprocess.run(command, shell=True, stdout=subprocess.PIPE, text=True, check=True)
    assert output.stdout == "None\n"

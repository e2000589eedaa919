"""The paper's printed numbers and known public reproductions, as plain data. Errors in percent.

Source of `PRINTED`: K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition,
arXiv:1512.03385 (2015). Multiply-adds of Table 1 stand in `architectures.py`, beside each network.
"""

from __future__ import annotations

from dataclasses import dataclass

from keras_resnet.architectures import Downsample


@dataclass(frozen=True)
class Printed:
    """One row of one table; `network` is our name for it, None for other people's methods.

    `mean` and `std` are given where `top1` is the best of several runs; `parameters` as printed.
    """

    table: str
    method: str
    network: str | None = None
    shortcut: str | None = None
    top1: float | None = None
    top5: float | None = None
    mean: float | None = None
    std: float | None = None
    parameters: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Reproduction:
    """A published result of someone else's implementation, of that shortcut option, tested with `views`."""

    network: str
    top1: float
    top5: float | None
    views: str
    who: str
    source: str
    shortcut: str


def _table2(network: str, top1: float) -> Printed:
    return Printed("table2", network, network, "A" if network.startswith("resnet") else None, top1)


PRINTED: tuple[Printed, ...] = (
    # Table 2: top-1 error on ImageNet validation, 10-crop. Residual nets with option A (Sec. 4.1).
    _table2("plain18", 27.94),
    _table2("resnet18", 27.88),
    _table2("plain34", 28.54),
    _table2("resnet34", 25.03),
    # Table 3: top-1 and top-5 error on ImageNet validation, 10-crop.
    Printed("table3", "VGG-16 [41]", "vgg16", None, 28.07, 9.33),
    Printed("table3", "GoogLeNet [44]", top5=9.15),
    Printed("table3", "PReLU-net [13]", top1=24.27, top5=7.38),
    Printed("table3", "plain-34", "plain34", None, 28.54, 10.02),
    Printed("table3", "ResNet-34 A", "resnet34", "A", 25.03, 7.76),
    Printed("table3", "ResNet-34 B", "resnet34", "B", 24.52, 7.46),
    Printed("table3", "ResNet-34 C", "resnet34", "C", 24.19, 7.40),
    Printed("table3", "ResNet-50", "resnet50", "B", 22.85, 6.71),
    Printed("table3", "ResNet-101", "resnet101", "B", 21.75, 6.05),
    Printed("table3", "ResNet-152", "resnet152", "B", 21.43, 5.71),
    # Table 4: single models on ImageNet validation (but for the first row: test set).
    Printed("table4", "VGG [41] (ILSVRC'14)", top5=8.43, note="on the test set"),
    Printed("table4", "GoogLeNet [44] (ILSVRC'14)", top5=7.89),
    Printed("table4", "VGG [41] (v5)", top1=24.4, top5=7.1),
    Printed("table4", "PReLU-net [13]", top1=21.59, top5=5.71),
    Printed("table4", "BN-inception [16]", top1=21.99, top5=5.81),
    Printed("table4", "ResNet-34 B", "resnet34", "B", 21.84, 5.71),
    Printed("table4", "ResNet-34 C", "resnet34", "C", 21.53, 5.60),
    Printed("table4", "ResNet-50", "resnet50", "B", 20.74, 5.25),
    Printed("table4", "ResNet-101", "resnet101", "B", 19.87, 4.60),
    Printed("table4", "ResNet-152", "resnet152", "B", 19.38, 4.49),
    # Table 5: ensembles, top-5 error on the ImageNet test set, as the server reported it.
    Printed("table5", "VGG [41] (ILSVRC'14)", top5=7.32),
    Printed("table5", "GoogLeNet [44] (ILSVRC'14)", top5=6.66),
    Printed("table5", "VGG [41] (v5)", top5=6.8),
    Printed("table5", "PReLU-net [13]", top5=4.94),
    Printed("table5", "BN-inception [16]", top5=4.82),
    Printed("table5", "ResNet (ILSVRC'15)", top5=3.57, note="six models of different depth"),
    # Table 6: error on the CIFAR-10 test set, trained with data augmentation.
    Printed("table6", "Maxout [10]", top1=9.38),
    Printed("table6", "NIN [25]", top1=8.81),
    Printed("table6", "DSN [24]", top1=8.22),
    Printed("table6", "FitNet [35], 19 layers", top1=8.39, parameters="2.5M"),
    Printed("table6", "Highway [42, 43], 19 layers", top1=7.54, parameters="2.3M", note="mean 7.72 ± 0.16"),
    Printed("table6", "Highway [42, 43], 32 layers", top1=8.80, parameters="1.25M"),
    Printed("table6", "ResNet-20", "resnet20", "A", 8.75, parameters="0.27M"),
    Printed("table6", "ResNet-32", "resnet32", "A", 7.51, parameters="0.46M"),
    Printed("table6", "ResNet-44", "resnet44", "A", 7.17, parameters="0.66M"),
    Printed("table6", "ResNet-56", "resnet56", "A", 6.97, parameters="0.85M"),
    Printed(
        "table6",
        "ResNet-110",
        "resnet110",
        "A",
        6.43,
        mean=6.61,
        std=0.16,
        parameters="1.7M",
        note="best of five runs",
    ),
    Printed("table6", "ResNet-1202", "resnet1202", "A", 7.93, parameters="19.4M"),
)

_AKAMASTER = ("akamaster, PyTorch", "https://github.com/akamaster/pytorch_resnet_cifar10", "A")
_GCR = ("gcr, Torch", "https://github.com/gcr/torch-residual-networks", "A")
_AUTHORS = ("the authors' released models, Caffe", "https://github.com/KaimingHe/deep-residual-networks", "B")
_FAIR = ("Facebook AI Research, Torch", "https://github.com/facebookarchive/fb.resnet.torch", "B")
_TORCHVISION = ("torchvision, IMAGENET1K_V1", "https://github.com/pytorch/vision", "B")

REPRODUCTIONS: tuple[Reproduction, ...] = (
    Reproduction("resnet20", 8.27, None, "single", *_AKAMASTER),
    Reproduction("resnet32", 7.37, None, "single", *_AKAMASTER),
    Reproduction("resnet44", 6.90, None, "single", *_AKAMASTER),
    Reproduction("resnet56", 6.61, None, "single", *_AKAMASTER),
    Reproduction("resnet110", 6.32, None, "single", *_AKAMASTER),
    Reproduction("resnet20", 8.29, None, "single", *_GCR),
    Reproduction("resnet32", 7.63, None, "single", *_GCR),
    Reproduction("resnet44", 7.14, None, "single", *_GCR),
    Reproduction("resnet56", 6.94, None, "single", *_GCR),
    Reproduction("resnet110", 6.73, None, "single", *_GCR),
    Reproduction("resnet50", 24.7, 7.8, "single", *_AUTHORS),
    Reproduction("resnet101", 23.6, 7.1, "single", *_AUTHORS),
    Reproduction("resnet152", 23.0, 6.7, "single", *_AUTHORS),
    Reproduction("resnet50", 22.9, 6.7, "10-crop", *_AUTHORS),
    Reproduction("resnet101", 21.8, 6.1, "10-crop", *_AUTHORS),
    Reproduction("resnet152", 21.4, 5.7, "10-crop", *_AUTHORS),
    # Its ResNet-50 normalises after the addition, its deeper ones and torchvision's have their strides in the
    # 3×3 convolutions; these are other networks: left out.
    Reproduction("resnet18", 30.43, 10.76, "single", *_FAIR),
    Reproduction("resnet34", 26.73, 8.74, "single", *_FAIR),
    Reproduction("resnet18", 28.22, 9.42, "10-crop", *_FAIR),
    Reproduction("resnet34", 24.76, 7.35, "10-crop", *_FAIR),
    # torchvision gives accuracies: 69.758/89.078, 73.314/91.420.
    Reproduction("resnet18", 30.242, 10.922, "single", *_TORCHVISION),
    Reproduction("resnet34", 26.686, 8.580, "single", *_TORCHVISION),
)


@dataclass(frozen=True)
class Throughput:
    """Training speed of some hardware, images/s, for estimates of what a table would take."""

    network: str
    images_per_second: float
    downsample: Downsample | None = None


# One NVIDIA A100 40 GB, TensorFlow 1 (NGC 20.06), mixed precision and XLA. Published, not measured here:
# https://github.com/NVIDIA/DeepLearningExamples/tree/master/TensorFlow/Classification/ConvNets/resnet50v1.5
A100_RESNET50 = Throughput("resnet50", 2375, "3x3")
# Two cores of an Intel Xeon (AMX), float32: benchmarks/results/2026-11-25-intel-xeon-processor.json.
TWO_CORES_RESNET20 = Throughput("resnet20", 816)


def printed(table: str) -> tuple[Printed, ...]:
    """The rows of a table, in its order."""
    return tuple(row for row in PRINTED if row.table == table)


def printed_for(table: str, network: str, shortcut: str | None) -> Printed | None:
    """The table's row for that network and shortcut option."""
    rows = (row for row in printed(table) if (row.network, row.shortcut) == (network, shortcut))
    return next(rows, None)


def reproductions(network: str, shortcut: str | None, views: str) -> tuple[Reproduction, ...]:
    """Other people's results for the network with that shortcut option, tested with the same views."""
    wanted = (network, shortcut, views)
    return tuple(r for r in REPRODUCTIONS if (r.network, r.shortcut, r.views) == wanted)

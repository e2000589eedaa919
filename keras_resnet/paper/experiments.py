"""What each table and figure of the paper needs: the networks to train and how they are tested.

Tables on ImageNet have a counterpart for small images (CIFAR-10, digits) where their question can be
asked there: options A/B/C of Table 3, the ensemble of Table 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from keras_resnet.architectures import Architecture, Shortcut, get_architecture
from keras_resnet.errors import UsageError

Views = Literal["single", "10-crop", "multi-scale"]
Measure = Literal["errors", "curves", "ensemble", "responses", "none"]

QUICK_DEPTHS = (20, 56)


@dataclass(frozen=True)
class Net:
    """A network to train from one seed; `shortcut` None for plain networks and VGG."""

    network: str
    shortcut: Shortcut | None = None
    seed: int = 0

    @property
    def architecture(self) -> Architecture:
        """The description it is built from."""
        return get_architecture(self.network, self.shortcut)

    @property
    def label(self) -> str:
        """ResNet-56, ResNet-34 B, plain-20: as the paper writes it.

        Option A on CIFAR and B of bottlenecks go without saying.
        """
        name = self.network.replace("resnet", "ResNet-").replace("plain", "plain-").replace("vgg", "VGG-")
        usual = get_architecture(self.network)
        silent = usual.family == "cifar" or usual.block == "bottleneck"
        shown = self.shortcut is not None and not (silent and self.shortcut == usual.shortcut)
        return f"{name} {self.shortcut}" if shown else name

    @property
    def folder(self) -> str:
        """Name of its run folder: resnet56-A-seed0."""
        return "-".join(filter(None, (self.network, self.shortcut, f"seed{self.seed}")))


@dataclass(frozen=True)
class Experiment:
    """A table or figure: its question, what is trained for it, and what is measured then.

    `imagenet` and `cifar` are the networks by the images they are trained on; empty where the paper's
    question cannot be asked of such images. `seeds` says how often the paper trained a network, where
    more than once.
    """

    name: str
    title: str
    question: str
    measure: Measure
    imagenet: tuple[Net, ...] = ()
    cifar: tuple[Net, ...] = ()
    views: Views = "single"
    seeds: tuple[tuple[str, int], ...] = ()

    @property
    def needs(self) -> str:
        """The data of the paper's own experiment."""
        if self.measure == "none":
            return "nothing"
        return "ImageNet" if self.imagenet else "CIFAR-10"

    def nets(self, small_pictures: bool, *, seeds: int | None = None, quick: bool = False) -> tuple[Net, ...]:
        """What to train.

        Args:
            small_pictures: the data are small images of one size (CIFAR-10, digits).
            seeds: train each network from that many seeds; None: as often as the paper did.
            quick: only the depths of the laptop edition.

        Raises:
            UsageError: the question cannot be asked of these images.
        """
        if small_pictures and not self.cifar:
            raise UsageError(
                f"{self.name} needs larger images than these ({self.title}): name ImageNet or such class "
                "folders with --dataset; table6 and figure6 are for small images"
            )
        if not small_pictures and not self.imagenet:
            raise UsageError(
                f"{self.name} needs small images of one size ({self.title}): name CIFAR-10, digits or such "
                "class folders with --dataset"
            )
        nets = self.cifar if small_pictures else self.imagenet
        if quick:
            nets = tuple(net for net in nets if net.architecture.depth in QUICK_DEPTHS)
        several = [
            Net(net.network, net.shortcut, seed)
            for net in nets
            for seed in range(net.seed, seeds or self._paper_seeds(net, quick))
        ]
        return tuple(dict.fromkeys([*nets, *several]))

    def _paper_seeds(self, net: Net, quick: bool) -> int:
        return 1 if quick else dict(self.seeds).get(net.network, 1)


def _resnets(*depths: int, shortcut: Shortcut = "A") -> tuple[Net, ...]:
    return tuple(Net(f"resnet{depth}", shortcut) for depth in depths)


def _plain(*depths: int) -> tuple[Net, ...]:
    return tuple(Net(f"plain{depth}") for depth in depths)


def _options(depth: int) -> tuple[Net, ...]:
    """Without shortcuts, then options A, B and C."""
    options: tuple[Shortcut, ...] = ("A", "B", "C")
    return (Net(f"plain{depth}"), *(Net(f"resnet{depth}", option) for option in options))


_DEEP = _resnets(50, 101, 152, shortcut="B")
_ALL = (
    Experiment(
        "table1",
        "Table 1: the architectures for ImageNet, with multiply-adds",
        "Are these the paper's networks?",
        "none",
    ),
    Experiment(
        "table2",
        "Table 2: top-1 error of plain and residual networks of 18 and 34 layers, 10-crop",
        "Does depth hurt plain networks and help residual ones?",
        "errors",
        imagenet=(*_plain(18, 34), *_resnets(18, 34)),
        views="10-crop",
    ),
    Experiment(
        "table3",
        "Table 3: shortcut options A, B and C, and bottleneck networks, 10-crop",
        "Do projection shortcuts pay?",
        "errors",
        imagenet=(*_options(34), *_DEEP),
        cifar=(*_options(20), *_options(56)),
        views="10-crop",
    ),
    Experiment(
        "table4",
        "Table 4: single models, tested at five scales",
        "How good is one residual network?",
        "errors",
        imagenet=(Net("resnet34", "B"), Net("resnet34", "C"), *_DEEP),
        views="multi-scale",
    ),
    Experiment(
        "table5",
        "Table 5: an ensemble of six models of different depth (two of the deepest), top-5 error",
        "How much do six networks gain over the best of them?",
        "ensemble",
        # The paper does not list its six; two 152-layer ones are among them (Sec. 4.1).
        imagenet=(Net("resnet34", "B"), Net("resnet34", "C"), *_DEEP, Net("resnet152", "B", 1)),
        cifar=(*_resnets(20, 32, 44, 56, 110), Net("resnet110", "A", 1)),
        views="multi-scale",
    ),
    Experiment(
        "table6",
        "Table 6: test error on CIFAR-10 by depth; ResNet-110 five times",
        "How far does depth help on CIFAR-10?",
        "errors",
        cifar=_resnets(20, 32, 44, 56, 110, 1202),
        seeds=(("resnet110", 5),),
    ),
    Experiment(
        "figure1",
        "Figure 1: training and test error of plain networks of 20 and 56 layers",
        "Is a deeper plain network harder to train?",
        "curves",
        cifar=_plain(20, 56),
    ),
    Experiment(
        "figure3",
        "Figure 3: VGG-19, plain-34 and ResNet-34, layer by layer",
        "What do the networks look like?",
        "none",
    ),
    Experiment(
        "figure4",
        "Figure 4: training and validation error of plain and residual networks of 18 and 34 layers",
        "Do shortcuts cure the degradation on ImageNet?",
        "curves",
        imagenet=(*_plain(18, 34), *_resnets(18, 34)),
        views="10-crop",  # the curves are of one crop; the errors beside them are Table 2's
    ),
    Experiment(
        "figure6",
        "Figure 6: training and test error on CIFAR-10, plain and residual networks",
        "Do shortcuts cure the degradation, and up to which depth?",
        "curves",
        cifar=(*_plain(20, 32, 44, 56), *_resnets(20, 32, 44, 56, 110, 1202)),
    ),
    Experiment(
        "figure7",
        "Figure 7: standard deviations of the 3×3 layers' responses on CIFAR-10",
        "Do residual functions respond less than the layers of plain networks?",
        "responses",
        cifar=(*_plain(20, 56), *_resnets(20, 56, 110)),
    ),
)

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType({e.name: e for e in _ALL})


def get_experiment(name: str) -> Experiment:
    """The table or figure of that name.

    Raises:
        UsageError: there is none; the message names those there are.
    """
    if name not in EXPERIMENTS:
        raise UsageError(f"the paper has no {name!r} to measure; choose one of {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]

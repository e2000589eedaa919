"""What every network of the paper is: one frozen dataclass, one table, and the arithmetic over it.

This is the paper's Table 1 (ImageNet), Sec. 4.2 (CIFAR) and the VGG baselines as data. Parameters and
multiply-adds are computed here from the description alone; no Keras, no TensorFlow is imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from keras_resnet.errors import UsageError

Family = Literal["imagenet", "cifar"]
Block = Literal["basic", "bottleneck", "vgg"]
Shortcut = Literal["A", "B", "C"]
Downsample = Literal["1x1", "3x3"]

BOTTLENECK_EXPANSION = 4


@dataclass(frozen=True)
class Stage:
    """A run of blocks with feature maps of one size; the paper writes it conv2_x … conv5_x.

    Attributes:
        name: "conv2" … "conv5"; VGG's are "block1" … "block5".
        blocks: how many blocks; for VGG, how many convolutions.
        filters: channels of the 3×3 convolutions.
        stride: of the first block, in pixels of its input; all others have stride 1.
    """

    name: str
    blocks: int
    filters: int
    stride: int


@dataclass(frozen=True)
class Conv:
    """One convolution or fully connected layer (kernel 1 on a 1×1 map), as counted in Table 1.

    `size` is the side of its square output map; `biased` layers have a bias, all others are followed
    by batch normalisation with a trainable scale and offset.
    """

    name: str
    kernel: int
    inputs: int
    outputs: int
    stride: int
    size: int
    biased: bool = False

    @property
    def parameters(self) -> int:
        """Trainable weights, those of the batch normalisation behind it included."""
        weights = self.kernel**2 * self.inputs * self.outputs
        return weights + (self.outputs if self.biased else 2 * self.outputs)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds for one image."""
        return self.kernel**2 * self.inputs * self.outputs * self.size**2


@dataclass(frozen=True)
class Architecture:
    """A network: what `builders.build_model` turns into a `keras.Model`.

    Attributes:
        name: its key in `ARCHITECTURES`, such as "resnet50".
        depth: weighted layers from input to output, without projections of shortcuts: 50 for ResNet-50.
        family: "imagenet" (Table 1, 224×224 pixels) or "cifar" (Sec. 4.2, 32×32 pixels).
        block: "basic" (two 3×3 convolutions), "bottleneck" (1×1, 3×3, 1×1) or "vgg".
        stages: from the input to the classifier.
        shortcut: option "A", "B" or "C" (Sec. 3.3, 4.1); None for plain networks and VGG, which have none.
        downsample: the convolution of a bottleneck that has the stride: "1x1" as in the authors'
            released models, "3x3" as in torchvision and timm.
        paper_multiply_adds: what the paper prints for one image of 224×224; None where it prints nothing.
    """

    name: str
    depth: int
    family: Family
    block: Block
    stages: tuple[Stage, ...]
    shortcut: Shortcut | None = None
    downsample: Downsample = "1x1"
    paper_multiply_adds: float | None = None

    def __post_init__(self) -> None:
        if self.shortcut not in (None, "A", "B", "C"):
            raise UsageError(f'{self.name}: shortcut must be "A", "B" or "C", not {self.shortcut!r}')
        if self.downsample not in ("1x1", "3x3"):
            raise UsageError(f'{self.name}: downsample must be "1x1" or "3x3", not {self.downsample!r}')
        if self.block == "vgg" and self.shortcut is not None:
            raise UsageError(f"{self.name} has no shortcuts; leave `shortcut` out")
        if self.block == "bottleneck" and self.shortcut is None:
            raise UsageError(f"{self.name}: bottleneck blocks come with shortcuts only (Sec. 4.1)")

    @property
    def default_classes(self) -> int:
        """Classes of the data set the network was designed for: 1000 or 10."""
        return 1000 if self.family == "imagenet" else 10

    @property
    def default_image_size(self) -> int:
        """Side of the square input it was designed for, in pixels: 224 or 32."""
        return 224 if self.family == "imagenet" else 32

    @property
    def minimum_image_size(self) -> int:
        """Smallest input side, in pixels, that every halving leaves whole."""
        return 32 if self.family == "imagenet" else 8

    @property
    def expansion(self) -> int:
        """Output channels of a block per filter of its 3×3 convolutions."""
        return BOTTLENECK_EXPANSION if self.block == "bottleneck" else 1

    def block_convs(self, filters: int, inputs: int, stride: int) -> tuple[Conv, ...]:
        """The convolutions of one residual block in order, without the shortcut (sizes left at 0)."""
        if self.block == "bottleneck":
            first, second = (stride, 1) if self.downsample == "1x1" else (1, stride)
            return (
                Conv("conv1", 1, inputs, filters, first, 0),
                Conv("conv2", 3, filters, filters, second, 0),
                Conv("conv3", 1, filters, filters * BOTTLENECK_EXPANSION, 1, 0),
            )
        return (
            Conv("conv1", 3, inputs, filters, stride, 0),
            Conv("conv2", 3, filters, filters, 1, 0),
        )

    def has_projection(self, inputs: int, outputs: int, stride: int) -> bool:
        """Whether the shortcut of such a block is a 1×1 convolution (Sec. 3.3, options B and C)."""
        grows = stride != 1 or inputs != outputs
        return self.shortcut == "C" or (self.shortcut == "B" and grows)

    def convs(self, image_size: int | None = None, classes: int | None = None) -> Iterator[Conv]:
        """Every convolution and fully connected layer, in the order of the forward pass.

        Names are those of the unrolled model's layers. `image_size` is the side of a square input.
        """
        size = image_size or self.default_image_size
        classes = classes or self.default_classes
        if self.block == "vgg":
            yield from self._vgg_convs(size, classes)
            return
        if self.family == "imagenet":
            size = _halved(size)
            channels = 64
            yield Conv("conv1_conv", 7, 3, channels, 2, size)
            size = _halved(size)  # the 3×3 max pooling with stride 2
        else:
            channels = 16
            yield Conv("conv1_conv", 3, 3, channels, 1, size)
        for stage in self.stages:
            for index in range(1, stage.blocks + 1):
                stride = stage.stride if index == 1 else 1
                prefix = f"{stage.name}_block{index}"
                inside, outputs = size, stage.filters * self.expansion
                for conv in self.block_convs(stage.filters, channels, stride):
                    inside = inside if conv.stride == 1 else _halved(inside)
                    yield replace(conv, name=f"{prefix}_{conv.name}", size=inside)
                if self.has_projection(channels, outputs, stride):
                    yield Conv(f"{prefix}_shortcut_conv", 1, channels, outputs, stride, inside)
                size, channels = inside, outputs
        yield Conv("predictions", 1, channels, classes, 1, 1, biased=True)

    def _vgg_convs(self, size: int, classes: int) -> Iterator[Conv]:
        channels = 3
        for stage in self.stages:
            for index in range(1, stage.blocks + 1):
                name = f"{stage.name}_conv{index}"
                yield Conv(name, 3, channels, stage.filters, 1, size, biased=True)
                channels = stage.filters
            size //= 2
        yield Conv("fc1", 1, channels * size**2, 4096, 1, 1, biased=True)
        yield Conv("fc2", 1, 4096, 4096, 1, 1, biased=True)
        yield Conv("predictions", 1, 4096, classes, 1, 1, biased=True)

    def parameters(self, classes: int | None = None, image_size: int | None = None) -> int:
        """Trainable weights (BN scales and offsets count, moving averages do not)."""
        return sum(conv.parameters for conv in self.convs(image_size, classes))

    def multiply_adds(self, image_size: int | None = None, classes: int | None = None) -> int:
        """Multiply-adds of convolutions and fully connected layers for one image (as Table 1)."""
        return sum(conv.multiply_adds for conv in self.convs(image_size, classes))


def _halved(size: int) -> int:
    """Output side of a stride-2 layer whose padding is half its kernel, rounded down."""
    return (size + 1) // 2


def _imagenet(
    depth: int, block: Block, blocks: tuple[int, ...], shortcut: Shortcut | None, paper: float | None
) -> Architecture:
    stages = tuple(
        Stage(f"conv{i + 2}", count, 64 * 2**i, 1 if i == 0 else 2) for i, count in enumerate(blocks)
    )
    kind = "resnet" if shortcut else "plain"
    return Architecture(
        f"{kind}{depth}", depth, "imagenet", block, stages, shortcut, paper_multiply_adds=paper
    )


def _cifar(depth: int, shortcut: Shortcut | None) -> Architecture:
    """6n+2 layers: a 3×3 stem, 2n layers on each of 32×32, 16×16 and 8×8 maps (Sec. 4.2)."""
    n = (depth - 2) // 6
    stages = tuple(Stage(f"conv{i + 2}", n, 16 * 2**i, 1 if i == 0 else 2) for i in range(3))
    kind = "resnet" if shortcut else "plain"
    return Architecture(f"{kind}{depth}", depth, "cifar", "basic", stages, shortcut)


def _vgg(depth: int, blocks: tuple[int, ...], paper: float) -> Architecture:
    filters = (64, 128, 256, 512, 512)
    stages = tuple(
        Stage(f"block{i + 1}", count, width, 1)
        for i, (count, width) in enumerate(zip(blocks, filters, strict=True))
    )
    name = f"vgg{depth}"
    return Architecture(name, depth, "imagenet", "vgg", stages, paper_multiply_adds=paper)


_NETWORKS = (
    # Table 1. Defaults: B for the ImageNet networks (the released 18/34 weights are B as well, though
    # the paper's Table 2 uses A for them), A for CIFAR (Sec. 4.2: "identity shortcuts in all cases").
    _imagenet(18, "basic", (2, 2, 2, 2), "B", 1.8e9),
    _imagenet(34, "basic", (3, 4, 6, 3), "B", 3.6e9),
    _imagenet(50, "bottleneck", (3, 4, 6, 3), "B", 3.8e9),
    _imagenet(101, "bottleneck", (3, 4, 23, 3), "B", 7.6e9),
    _imagenet(152, "bottleneck", (3, 8, 36, 3), "B", 11.3e9),
    _imagenet(18, "basic", (2, 2, 2, 2), None, 1.8e9),
    _imagenet(34, "basic", (3, 4, 6, 3), None, 3.6e9),
    _vgg(16, (2, 2, 3, 3, 3), 15.3e9),
    _vgg(19, (2, 2, 4, 4, 4), 19.6e9),
    *(_cifar(depth, "A") for depth in (20, 32, 44, 56, 110, 1202)),
    *(_cifar(depth, None) for depth in (20, 32, 44, 56, 110)),
)

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType({net.name: net for net in _NETWORKS})
"""Every network by its name: "resnet50", "plain34", "vgg19", "resnet20", …; read-only."""


def get_architecture(
    name: str, shortcut: Shortcut | None = None, downsample: Downsample | None = None
) -> Architecture:
    """The architecture of that name, with another shortcut option or downsampling if asked for.

    Args:
        name: a key of `ARCHITECTURES`.
        shortcut: "A", "B" or "C"; None: the network's default.
        downsample: "1x1" or "3x3", for bottlenecks; None: the network's default, "1x1".

    Raises:
        UsageError: the name is unknown, or the network has no such option.
    """
    if name not in ARCHITECTURES:
        raise UsageError(f"unknown network {name!r}; choose one of {', '.join(ARCHITECTURES)}")
    architecture = ARCHITECTURES[name]
    if shortcut is not None:
        if architecture.shortcut is None:
            raise UsageError(f"{name} has no shortcuts, so no shortcut option {shortcut!r}")
        architecture = replace(architecture, shortcut=shortcut)
    if downsample is not None:
        if architecture.block != "bottleneck":
            raise UsageError(f"{name} has no bottlenecks, so no downsample option {downsample!r}")
        architecture = replace(architecture, downsample=downsample)
    return architecture


def network_name(depth: int, *, plain: bool = False) -> str:
    """`resnet50` for depth 50, `vgg16` for depth 16, `plain34` for a plain network of depth 34.

    Raises:
        UsageError: there is no such network; the message names the depths there are.
    """
    names = {net.depth: net.name for net in _NETWORKS if net.name.startswith("plain") == plain}
    if depth not in names:
        known = ", ".join(map(str, sorted(names)))
        raise UsageError(f"no {'plain ' if plain else ''}network of depth {depth}; choose one of {known}")
    return names[depth]

"""Which of the paper's networks a Keras model is: told by its layers, whatever its name."""

from __future__ import annotations

from dataclasses import replace

import keras

from keras_resnet import architectures
from keras_resnet.architectures import Architecture, Shortcut, get_architecture
from keras_resnet.scanned import ScannedBlocks

_HEAD = {"fc1", "fc2", "predictions"}


def layers_of(model: keras.Model) -> set[str]:
    """Names of its convolutions, connected layers and additions, those of scanned stages unrolled."""
    kinds = (keras.layers.Conv2D, keras.layers.Dense, keras.layers.Add)
    names = {layer.name for layer in model.layers if isinstance(layer, kinds)}
    for layer in model.layers:
        if isinstance(layer, ScannedBlocks):
            inside = {name.split("/")[0] for name in layer.stacked_weights() if name.endswith("/kernel")}
            inside |= {"add"} if layer.shortcut else set()
            stage = layer.name.removesuffix("_blocks")
            names |= {f"{stage}_block{index + 2}_{name}" for index in range(layer.blocks) for name in inside}
    return names


def layers_wanted(architecture: Architecture) -> set[str]:
    """The same for a model of that architecture."""
    names = {conv.name for conv in architecture.convs()}
    if architecture.shortcut is not None:
        names |= {f"{s.name}_block{i}_add" for s in architecture.stages for i in range(1, s.blocks + 1)}
    return names


def recognised(model: keras.Model) -> Architecture | None:
    """The network of `ARCHITECTURES` that the model holds, with the options that its layers show.

    The model may lack the classifier and have further layers. None: it holds none of them.
    """
    layers = {layer.name: layer for layer in model.layers}
    own = layers_of(model)
    found: list[Architecture] = []
    for name, architecture in architectures.ARCHITECTURES.items():
        # keras.applications' VGG has our layers, but not the first one.
        if architecture.block == "vgg" and "normalization" not in layers:
            continue
        options: tuple[Shortcut | None, ...] = (None,) if architecture.shortcut is None else ("A", "B", "C")
        candidates = [get_architecture(name, option) for option in options]
        found += [network for network in candidates if layers_wanted(network) - _HEAD <= own]
    if not found:
        return None
    # ResNet-34 has the layers of ResNet-18 too, and option C those of B.
    largest = max(found, key=lambda network: (len(layers_wanted(network)), network.name == model.name))
    if largest.block != "bottleneck":
        return largest
    # The stride is a layer of its own; in files of earlier versions, the convolution's.
    first = "conv3_block1_conv1"
    pointwise = f"{first}_subsample" in layers or layers[first].strides[0] == 2
    return replace(largest, downsample="1x1" if pointwise else "3x3")

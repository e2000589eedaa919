"""A network as a backbone: its feature maps C2…C5 by name, and freezing it stage by stage."""

from __future__ import annotations

import keras

from keras_resnet.errors import UsageError


def features(model: keras.Model) -> keras.Model:
    """The model's feature maps, one per stage, for detection and segmentation heads.

    Returns:
        A model that shares the weights and returns {"C2": …, "C3": …, "C4": …, "C5": …}: the last
        activation of each stage, with strides 4, 8, 16 and 32 to the input for ImageNet networks.
        CIFAR networks have C2…C4 with strides 1, 2 and 4; VGG has C1…C5, before each pooling, with
        strides 1, 2, 4, 8 and 16.

    Raises:
        ValueError: the model has no stages by the names that keras-resnet gives.
    """
    outputs = {}
    for layer in model.layers:
        stage = stage_of(layer.name)
        if stage is not None and not layer.name.endswith("_pool"):
            outputs[f"C{stage}"] = layer.output
    outputs.pop("C1", None) if any(layer.name == "conv1_conv" for layer in model.layers) else None
    if not outputs:
        raise UsageError(f"{model.name} has no stages named conv2_… or block1_…; is it one of ours?")
    return keras.Model(model.inputs, outputs, name=f"{model.name}_features")


def freeze(model: keras.Model, through: str) -> None:
    """Stop training of every layer up to and including a stage ("conv1" … "conv5"), in place.

    Frozen batch normalisation also runs with its moving averages, as fine-tuning wants it.

    Raises:
        ValueError: the model has no such stage.
    """
    stages = sorted({s for layer in model.layers if (s := stage_of(layer.name)) is not None})
    wanted = through[-1:]
    if not wanted.isdigit() or int(wanted) not in stages:
        prefix = "conv" if any(layer.name == "conv1_conv" for layer in model.layers) else "block"
        known = ", ".join(f"{prefix}{stage}" for stage in stages)
        raise UsageError(f"{model.name} has no stage {through!r}; choose one of {known}")
    for layer in model.layers:
        stage = stage_of(layer.name)
        if stage is not None and stage <= int(wanted):
            layer.trainable = False


def stage_of(layer_name: str) -> int | None:
    """3 for conv3_block1_conv2 and block3_conv1; None outside the stages (input, pooling, classifier)."""
    prefix = layer_name.split("_")[0]
    for kind in ("conv", "block", "pool"):
        number = prefix.removeprefix(kind)
        if prefix.startswith(kind) and number.isdigit() and "_" in layer_name:
            return int(number)
    return None

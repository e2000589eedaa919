"""A network as a backbone: its feature maps C2…C5 by name, and freezing it stage by stage."""

from __future__ import annotations

import keras

from keras_resnet.errors import UsageError


def features(model: keras.Model) -> keras.Model:
    """The model's feature maps, one per stage, for detection and segmentation heads.

    Args:
        model: one of our networks, with or without its classifier.

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
            outputs[f"C{stage}"] = layer.output  # the stage's last layer wins
    if not outputs:
        raise _without_stages(model)
    if _is_residual(model):
        del outputs["C1"]  # the stem; detectors start at C2
    return keras.Model(model.input, outputs, name=f"{model.name}_features")


def freeze(model: keras.Model, through: str) -> None:
    """Stop training of every layer up to and including a stage, in place.

    Frozen batch normalisation also runs with its moving averages, as fine-tuning wants it.

    Args:
        model: one of our networks.
        through: "conv1" … "conv5", for VGG "block1" … "block5".

    Raises:
        ValueError: the model has no such stage.
    """
    stages = sorted({s for layer in model.layers if (s := stage_of(layer.name)) is not None})
    if not stages:
        raise _without_stages(model)
    names = {f"{'conv' if _is_residual(model) else 'block'}{stage}": stage for stage in stages}
    if through not in names:
        raise UsageError(f"{model.name} has no stage {through!r}; choose one of {', '.join(names)}")
    for layer in model.layers:
        stage = stage_of(layer.name)
        if stage is not None and stage <= names[through]:
            layer.trainable = False


def _without_stages(model: keras.Model) -> UsageError:
    return UsageError(
        f"{model.name} has no stages named conv2_… or block1_…; "
        "give one of our networks itself, not a model around one"
    )


def _is_residual(model: keras.Model) -> bool:
    """Whether the stages are called conv1 … conv5 (residual and plain networks) or block1 … (VGG)."""
    return any(layer.name == "conv1_conv" for layer in model.layers)


def stage_of(layer_name: str) -> int | None:
    """3 for conv3_block1_conv2 and block3_conv1; None outside the stages (input, pooling, classifier)."""
    prefix = layer_name.split("_")[0]
    for kind in ("conv", "block", "pool"):
        number = prefix.removeprefix(kind)
        if prefix.startswith(kind) and number.isdigit() and "_" in layer_name:
            return int(number)
    return None

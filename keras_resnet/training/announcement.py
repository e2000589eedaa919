"""What a run says of itself before its first step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from keras_resnet.training.devices import describe_devices
from keras_resnet.training.inputs import Inputs
from keras_resnet.training.schedules import Schedule
from keras_resnet.training.settings import train_view


def announcement(inputs: Inputs, schedule: Schedule, workdir: Path) -> Iterator[str]:
    """Lines for people: network, data, recipe, and what they may not have meant."""
    settings, dataset, recipe = inputs.settings, inputs.dataset, inputs.settings.recipe
    net, split, val_split = settings.architecture, settings.split, inputs.val_split
    option = f" (shortcut {net.shortcut})" if net.shortcut else ""
    parameters = net.parameters(dataset.classes, settings.image_size)
    yield (
        f"{net.name}{option}, {parameters:,} parameters, on {dataset.name}: {dataset.images(split):,} images "
        f"({split}) of {dataset.classes} classes at {settings.image_size} pixels; validation error on "
        f"{dataset.images(val_split):,} ({val_split})"
    )
    yield (
        f"recipe {recipe.name}: {schedule.total_steps:,} steps of {recipe.batch_size} images "
        f"({schedule.total_steps / inputs.steps_per_epoch:.4g} epochs), rate {schedule.peak:g}, "
        f"view {train_view(settings, dataset).name}, {settings.precision}, "
        f"{describe_devices(inputs.strategy)}; writing to {workdir}"
    )
    for part in (split, val_split):
        if (found := inputs.classes_in(part)) < dataset.classes:
            note = f"note: {part} has images of only {found} of the {dataset.classes} classes"
            if dataset.kind == "folder":
                note += "; folders are in the order of their classes: --hold-out takes some of each, and "
                note += "`data pack` shuffles"
            yield note
    if recipe.freeze and settings.initial_weights is None:
        yield (
            f"note: the stages up to {recipe.freeze} stay as they are, which is random: --weights names "
            "trained ones to start from"
        )

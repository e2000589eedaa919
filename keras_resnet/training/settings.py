"""What one run is: network, recipe, data and machine settings, as `run.json` records them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

from keras_resnet.architectures import Architecture
from keras_resnet.data import views
from keras_resnet.data.sources import SMALL, Dataset, same_data, validation_split
from keras_resnet.data.views import EvalView, TrainView
from keras_resnet.errors import UsageError, UserError
from keras_resnet.recipes import Precision, Recipe, default_recipe, get_recipe, recorded
from keras_resnet.saving import MAX_SIDE

LARGEST = MAX_SIDE * 224 // 256  # pixels: the view of an image of the largest size that models are saved with


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides the weights a run ends with; `make_settings` fills in what is not given.

    Attributes:
        architecture: the network.
        recipe: how it is trained.
        dataset: the data set's name, as `open_dataset` takes it.
        image_size: side of the network's square input in pixels.
        precision: of activations, "float32", "mixed_bfloat16" or "mixed_float16"; weights are float32.
        devices: "all", a number of GPUs, "cpu:K" or "tpu", as `make_strategy` takes it.
        seed: of weights, order and augmentation; a 32-bit number.
        hold_out: number of training images held out for validation (`data.sources.hold_out`); 0: none.
        split: the split to train on, or a slice of one: "train[:45000]". After `hold_out`, of what it left.
        val_split: the split to validate on, or a slice; None: what `data.sources.validation_split` finds.
        accumulate: parts of each batch that pass one after the other, to save memory.
        initial_weights: "imagenet", a weights file or a run folder; None: freshly initialised.
    """

    architecture: Architecture
    recipe: Recipe
    dataset: str
    image_size: int
    precision: Precision = "float32"
    devices: str = "all"
    seed: int = 0
    hold_out: int = 0
    split: str = "train"
    val_split: str | None = None
    accumulate: int = 1
    initial_weights: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data for `run.json`."""
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        network = data.pop("architecture")
        options = {
            "network": network.name,
            "shortcut": network.shortcut,
            "downsample": network.downsample,
        }
        return options | data | {"recipe": self.recipe.to_json()}


def make_settings(
    architecture: Architecture,
    dataset: Dataset,
    *,
    recipe: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    image_size: int | None = None,
    split: str = "train",
    **machine: Any,
) -> RunSettings:
    """Fill in what was not given: the recipe that fits the data, the image size that fits the network.

    Args:
        architecture: the network.
        dataset: the data, as opened.
        recipe: its name; None: the default for this network and data.
        overrides: fields of the recipe to replace ("epochs" and "steps" replace each other).
        image_size: side of the network's square input in pixels.
        split: the split to train on, or a slice of one.
        **machine: precision, devices, seed, hold_out, val_split, accumulate, initial_weights.

    Raises:
        UsageError: a value is out of range, or there is no such split.
    """
    changes = {name: value for name, value in (overrides or {}).items() if value is not None}
    if "epochs" in changes and "steps" in changes:
        raise UsageError("give --epochs or --steps, not both")
    if "epochs" in changes:
        changes["steps"] = None
    if changes.get("freeze") == "none":  # None is an override that was not given
        changes["freeze"] = None
    if "learning_rate" in changes:  # a rate that was asked for is not scaled with the batch
        changes["reference_batch"] = None
    pretrained = machine.get("initial_weights") is not None
    name = recipe or default_recipe(architecture, dataset.kind, dataset.images(split), pretrained)
    base = get_recipe(name)
    chosen = replace(base, **changes)
    if architecture.block == "vgg" and chosen.freeze:  # its stages have other names
        chosen = replace(chosen, freeze=chosen.freeze.replace("conv", "block"))
    size = image_size or _natural_size(architecture, dataset)
    if size < architecture.minimum_image_size:
        raise UsageError(
            f"{architecture.name} needs images of at least {architecture.minimum_image_size} pixels, "
            f"not {size}; raise --image-size"
        )
    if size > LARGEST:
        raise UsageError(f"--image-size is {LARGEST} pixels at most, not {size}")
    return RunSettings(architecture, chosen, dataset.name, size, split=split, **machine)


def _natural_size(architecture: Architecture, dataset: Dataset) -> int:
    if dataset.is_small and dataset.square_side:
        return max(dataset.square_side, architecture.minimum_image_size)
    return architecture.default_image_size


def split_to_validate(settings: RunSettings, dataset: Dataset) -> str:
    """The split, or the slice of one, that the validation error is measured on.

    Raises:
        UserError: none is named, and the data set has none.
    """
    return settings.val_split or validation_split(dataset)


def train_view(settings: RunSettings, dataset: Dataset) -> TrainView:
    """The recipe's training view, fitted to the images: small ones of one size are padded and cropped
    (Sec. 4.2), images of any size are resized and cropped (Sec. 3.4)."""
    recipe, size = settings.recipe, settings.image_size
    whole = dataset.image_shape is not None and dataset.image_shape[:2] == (size, size)
    name = recipe.view
    if whole and size <= SMALL and name in ("scale-jitter", "random-resized-crop"):
        name = "pad-crop"
    elif not whole and name == "pad-crop":
        name = "random-resized-crop"
    return views.train_view(name, size, flip=recipe.flip, color=recipe.color)


def eval_view(settings: RunSettings, dataset: Dataset) -> EvalView:
    """The single view that the validation error is measured on: the whole small image, or the centre."""
    size = settings.image_size
    whole = dataset.image_shape is not None and dataset.image_shape[:2] == (size, size)
    return views.eval_view("single", size, resize=size if whole else round(size * 256 / 224))


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], workdir: str) -> None:
    """Refuse to resume from another run's checkpoints.

    Raises:
        UserError: the settings differ; the message names how.
    """
    old, new = _flat(before), _flat(now)
    differing = [
        f"{name}: {old.get(name)} there, {new.get(name)} now"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
        # photos and photos/ are the same.
        and not (name in ("dataset", "initial_weights") and same_data(str(old.get(name)), str(new.get(name))))
    ]
    if differing:
        raise UserError(
            f"{workdir} holds a run with other settings ({'; '.join(differing)}): use the same settings, "
            "another --workdir, or --fresh to start over there"
        )


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    # Settings that are younger than the record were at their defaults.
    flat = {f.name: f.default for f in fields(RunSettings) if f.default is not MISSING}
    flat |= {name: value for name, value in settings.items() if name != "recipe"}
    for name, value in recorded(settings.get("recipe", {})).items():
        if name != "summary":
            flat["recipe" if name == "name" else name] = value
    return flat

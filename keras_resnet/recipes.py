"""What every training run is: one frozen dataclass, and the paper's recipes as a table. No TensorFlow.

A recipe gives every default; the command line and `dataclasses.replace` override single fields, and
`run.json` records the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from math import inf
from types import MappingProxyType
from typing import Any, Literal

from keras_resnet.architectures import Architecture
from keras_resnet.errors import UsageError

ScheduleName = Literal["drops", "plateau", "cosine", "one-cycle"]
Normalization = Literal["pixel-mean", "channel-mean", "channel"]
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
View = Literal["scale-jitter", "random-resized-crop", "pad-crop", "center"]


MANY_IMAGES = 100_000  # from here on a data set is treated as ImageNet is


@dataclass(frozen=True)
class Recipe:
    """How to train. Fields that are not in the paper say so.

    Attributes:
        name: what `--recipe` calls it.
        summary: one line for people.
        batch_size: images per step, over all devices.
        learning_rate: the highest rate; with `reference_batch`, that of a batch of that many images.
        epochs: length in passes over the training images, where `steps` is None.
        steps: length in steps.
        schedule: "drops" (see there), "plateau" (divided by 10 when the validation error stands still,
            Sec. 3.4), "cosine" (down to 0) or "one-cycle" (linear up, then linear down).
        drops: shares of the training after which "drops" divides the rate by 10, so that a shorter run
            keeps its shape.
        warmup_epochs: epochs of a rate that rises linearly to the highest one; at most half the training.
        slow_start_depth: networks of this many layers or more start at a rate of 0.01, until their training
            error is below 80 % (Sec. 4.2); None: none does.
        reference_batch: the rate is multiplied by `batch_size / reference_batch`; None: taken as it is.
        momentum: of SGD.
        nesterov: look ahead by the momentum (not in the paper).
        weight_decay: λ of the term λ·w in the gradient of kernels; none on biases and batch normalisation.
        gradient_clip: largest norm of the whole gradient (not in the paper); None: any.
        view: what training sees of an image, by the names of `data.views.TrainView`; fitted to the data.
        flip: mirror half of the images; not for digits or letters.
        color: AlexNet's colour augmentation (Sec. 3.4).
        normalization: what the network subtracts from its input: the mean image ("pixel-mean"), the mean
            colour ("channel-mean"), or the mean colour, divided by the deviation ("channel").
        label_smoothing: probability that is spread over all classes, 0 to below 1 (not in the paper).
        mixup: parameter of MixUp's Beta distribution (not in the paper); 0: without.
        cutmix: parameter of CutMix's Beta distribution (not in the paper); 0: without.
        randaugment: two random operations on each image (not in the paper).
        color_jitter: strength of random brightness, contrast, saturation and hue, 0 to 1 (not in the paper).
        random_erasing: share of images that lose a rectangle, 0 to 1 (not in the paper).
        ema: decay of the running average of the weights that is validated and saved, such as 0.999 (not in
            the paper); None: the weights themselves.
        zero_init_residual: start the last scale of every residual branch at 0 (not in the paper).
        freeze: the last stage that is not trained, such as "conv3" (of VGG networks block3); None: all are.
        recalibrate: after training, average batch normalisation's statistics over training images.
        keep_best: end with the weights of the epoch with the lowest validation error, not the last ones.
    """

    name: str
    summary: str
    batch_size: int
    learning_rate: float
    epochs: float = 0
    steps: int | None = None
    schedule: ScheduleName = "drops"
    drops: tuple[float, ...] = ()
    warmup_epochs: float = 0
    slow_start_depth: int | None = None
    reference_batch: int | None = None
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    gradient_clip: float | None = None
    view: View = "scale-jitter"
    flip: bool = True
    color: bool = False
    normalization: Normalization = "channel"
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    randaugment: bool = False
    color_jitter: float = 0.0
    random_erasing: float = 0.0
    ema: float | None = None
    zero_init_residual: bool = False
    freeze: str | None = None
    recalibrate: bool = False
    keep_best: bool = False

    def __post_init__(self) -> None:
        rules = (
            (self.batch_size >= 1, f"batch size must be 1 or more, not {self.batch_size}"),
            (self.steps is None or self.steps >= 1, f"steps must be 1 or more, not {self.steps}"),
            (self.steps or 0 < self.epochs < inf, "a run needs --epochs or --steps greater than 0"),
            (0 < self.learning_rate < inf, f"learning rate must be greater than 0, not {self.learning_rate}"),
            (0 <= self.weight_decay < inf, f"weight decay must be 0 or more, not {self.weight_decay}"),
            (
                self.gradient_clip is None or 0 < self.gradient_clip < inf,
                f"the gradient's largest norm must be greater than 0, not {self.gradient_clip}",
            ),
            (
                self.ema is None or 0 < self.ema < 1,
                f"the average's decay must be between 0 and 1, not {self.ema}",
            ),
            (
                0 <= self.label_smoothing < 1,
                f"label smoothing must be at least 0 and below 1, not {self.label_smoothing}",
            ),
            (0 <= self.color_jitter <= 1, f"colour jitter must be between 0 and 1, not {self.color_jitter}"),
            (
                0 <= self.random_erasing <= 1,
                f"the share of erased images must be between 0 and 1, not {self.random_erasing}",
            ),
            (
                0 <= self.mixup < inf and 0 <= self.cutmix < inf,
                "MixUp and CutMix take a strength of 0 (without) or more",
            ),
        )
        for kept, rule in rules:
            if not kept:
                raise UsageError(rule)

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"drops": list(self.drops)}


_ALL = (
    Recipe(
        name="imagenet-paper",
        summary="Sec. 3.4: batch 256, 0.1 divided by 10 on validation plateaus, 600k iterations",
        batch_size=256,
        learning_rate=0.1,
        steps=600_000,
        schedule="plateau",
        color=True,
        normalization="channel-mean",
        recalibrate=True,
    ),
    Recipe(
        name="imagenet-90",
        summary="90 epochs, divided by 10 at 30/60/80, linear scaling with 5 epochs of warm-up",
        batch_size=256,
        learning_rate=0.1,
        epochs=90,
        drops=(30 / 90, 60 / 90, 80 / 90),
        warmup_epochs=5,
        reference_batch=256,
        view="random-resized-crop",
    ),
    Recipe(
        name="cifar-paper",
        summary="Sec. 4.2: batch 128, 64k iterations, 0.1 divided by 10 at 32k and 48k",
        batch_size=128,
        learning_rate=0.1,
        steps=64_000,
        drops=(0.5, 0.75),
        slow_start_depth=110,
        view="pad-crop",
        normalization="pixel-mean",
    ),
    Recipe(
        name="cifar-fast",
        summary="for a laptop: 15 epochs of one cycle up to a learning rate of 0.2, Nesterov momentum",
        batch_size=128,
        learning_rate=0.2,
        epochs=15,
        schedule="one-cycle",
        nesterov=True,
        weight_decay=2e-4,
        view="pad-crop",
    ),
    Recipe(
        name="digits",
        summary="scikit-learn's digits: 30 epochs of one cycle, shifted by up to 4 pixels, never mirrored",
        batch_size=64,
        learning_rate=0.1,
        epochs=30,
        schedule="one-cycle",
        weight_decay=5e-4,
        view="pad-crop",
        flip=False,
    ),
    Recipe(
        name="finetune",
        summary="a new classifier and the last stages on your images: 15 epochs of cosine from 0.01",
        batch_size=32,
        learning_rate=0.01,
        epochs=15,
        schedule="cosine",
        warmup_epochs=1,
        view="random-resized-crop",
        freeze="conv3",
    ),
    Recipe(
        name="modern",
        summary="not in the paper: cosine, label smoothing, MixUp/CutMix, RandAugment, EMA, zero-init gamma",
        batch_size=256,
        learning_rate=0.1,
        epochs=100,
        schedule="cosine",
        warmup_epochs=5,
        reference_batch=256,
        nesterov=True,
        weight_decay=5e-5,
        view="random-resized-crop",
        label_smoothing=0.1,
        mixup=0.2,
        cutmix=1.0,
        randaugment=True,
        ema=0.9999,
        zero_init_residual=True,
    ),
)

RECIPES: Mapping[str, Recipe] = MappingProxyType({recipe.name: recipe for recipe in _ALL})
"""Every recipe by its name: "cifar-paper", "imagenet-90", "finetune", …; read-only."""


def recorded(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as `run.json` has it, whole: fields that are younger than the record have their defaults."""
    defaults = {f.name: f.default for f in fields(Recipe) if f.default is not MISSING}
    return defaults | dict(recipe)


def get_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Args:
        name: a key of `RECIPES`.

    Raises:
        UsageError: there is none; the message names those there are.
    """
    if name not in RECIPES:
        raise UsageError(f"unknown recipe {name!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


def default_recipe(
    architecture: Architecture, dataset_kind: str, images: int, pretrained: bool = False
) -> str:
    """The recipe that fits where none is named.

    Args:
        architecture: the network.
        dataset_kind: "digits", or where else the data comes from.
        images: how many there are to train on; the paper's 600k steps are for a million of them.
        pretrained: whether the training starts from given weights.
    """
    if dataset_kind == "digits":
        return "digits"
    if pretrained:
        return "finetune"
    if architecture.family == "cifar":
        return "cifar-paper"
    return "imagenet-paper" if images >= MANY_IMAGES else "imagenet-90"

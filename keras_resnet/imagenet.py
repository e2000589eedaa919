"""The 1000 classes of ILSVRC 2012 in the order of every network's outputs (sorted by WordNet id).

`imagenet_classes.tsv` beside this module: the ids are timm's `imagenet_synsets.txt` (timm 1.0.31,
Apache-2.0), the labels torchvision's `_IMAGENET_CATEGORIES` (torchvision 0.29.1, BSD-3-Clause): one short
label per class, no two equal.
"""

from __future__ import annotations

from importlib import resources


def _read() -> tuple[tuple[str, str], ...]:
    text = resources.files(__package__).joinpath("imagenet_classes.tsv").read_text("utf-8")
    rows = (line.split("\t") for line in text.splitlines())
    return tuple((wnid, label) for wnid, label in rows)


# Channel means and deviations over the training images (RGB, 0…255), as torchvision, timm and many CIFAR
# checkpoints use them.
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

# (WordNet id, label) of every class: IMAGENET_CLASSES[281] is ("n02123045", "tabby").
IMAGENET_CLASSES: tuple[tuple[str, str], ...] = _read()

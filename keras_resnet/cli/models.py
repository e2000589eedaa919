"""`keras-resnet models` and `keras-resnet recipes`: the tables, without TensorFlow."""

from __future__ import annotations

from keras_resnet.cli.common import command, echo_json, echo_table, json_option


@command()
@json_option
def models(as_json: bool) -> None:
    """List the networks, with the paper's figures beside ours.

    Multiply-adds count convolutions and fully connected layers for one image of the network's own size
    (224 or 32 pixels), as the paper's Table 1 does.

    Examples:

    \b
        keras-resnet models
        keras-resnet models --json
    """
    from keras_resnet.architectures import ARCHITECTURES

    networks = ARCHITECTURES.values()
    if as_json:
        names = ("name", "depth", "family", "shortcut")
        echo_json(
            [
                {name: getattr(net, name) for name in names}
                | {
                    "parameters": net.parameters(),
                    "multiply_adds": net.multiply_adds(),
                    "paper_multiply_adds": net.paper_multiply_adds,
                }
                for net in networks
            ]
        )
        return
    table = [
        (
            net.name,
            net.depth,
            net.family,
            net.shortcut or "-",
            f"{net.parameters():,}",
            f"{net.multiply_adds() / 1e9:.3f}",
            f"{net.paper_multiply_adds / 1e9:.1f}" if net.paper_multiply_adds else "-",
        )
        for net in networks
    ]
    header = ("name", "depth", "family", "shortcut", "parameters", "10⁹ multiply-adds", "in the paper")
    echo_table(table, header)


@command()
@json_option
def recipes(as_json: bool) -> None:
    """List the training recipes, the paper's and others.

    --json has every field of them. Without --recipe, digits are trained with `digits`, runs that start from
    --weights with `finetune`, CIFAR networks with `cifar-paper`, ImageNet networks with `imagenet-paper` or,
    on fewer than 100,000 images, with `imagenet-90`.

    Examples:

    \b
        keras-resnet recipes
        keras-resnet train --depth 20 --dataset cifar10 --recipe cifar-fast
    """
    from keras_resnet.recipes import RECIPES

    if as_json:
        echo_json([recipe.to_json() for recipe in RECIPES.values()])
        return
    table = [
        (
            recipe.name,
            f"{recipe.steps:,} steps" if recipe.steps else f"{recipe.epochs:g} epochs",
            f"{recipe.batch_size}",
            f"{recipe.learning_rate:g}",
            f"{recipe.weight_decay:g}",
            recipe.view,
            recipe.summary,
        )
        for recipe in RECIPES.values()
    ]
    echo_table(table, ("name", "length", "batch", "rate", "decay", "view", "what it is"))

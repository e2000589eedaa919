"""The networks with one block a stage, for tests of what has nothing to do with depth: half the time a run.

As a program (`python tests/shallow.py train …`) it is `keras-resnet` with these networks.
"""

from __future__ import annotations

from dataclasses import replace

import keras_resnet.architectures as architectures


def one_block(network: architectures.Architecture) -> architectures.Architecture:
    """VGGs are as they were."""
    if network.block == "vgg":
        return network
    return replace(network, stages=tuple(replace(stage, blocks=1) for stage in network.stages))


SHALLOW = {name: one_block(network) for name, network in architectures.ARCHITECTURES.items()}


def install() -> None:
    """For a new process, before another module of the package has asked for the table."""
    architectures.ARCHITECTURES = SHALLOW


def main() -> None:
    install()
    from keras_resnet import cli

    cli.main()


if __name__ == "__main__":
    main()

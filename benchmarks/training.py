"""Training speed beside Keras' own loop and torch: images/s of whole steps, as ratios in one run.

    python benchmarks/training.py                # all cases, a table
    python benchmarks/training.py --json         # rows: {case, ours, peer, peer_name, unit, ratio, goal, …}
    python benchmarks/training.py --cases resnet20 --precisions float32

Every contestant is a process of its own that stays alive; they take turns (ours, peer, ours, peer, …), so
that a machine whose speed drifts drifts for all of them. Medians over the rounds are compared. The data
is one batch in memory: what is measured is the step. Peers: Keras `fit` on the same network with Keras'
BatchNormalization; torch in channels_last, with autocast where bfloat16 is asked for (torchvision's
ResNet-50, and the CIFAR network below). torch is optional.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable

from table import Row, answer, row, say
from turns import Turn, answer_turns, contestants, stop_on_sigterm

CASES = {"resnet20": (32, 128, 10), "resnet56": (32, 128, 10), "resnet50": (224, 16, 1000)}
STEPS = {"resnet20": 15, "resnet56": 6, "resnet50": 2}
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
GOALS = {
    "keras fit": {"float32": 1.2, "bfloat16": 1.45},
    "torch": {"float32": 1.15, "bfloat16": 1.0},
}


def ours(case: str, precision: str) -> Callable[[int], None]:
    import keras
    import tensorflow as tf

    from keras_resnet.architectures import ARCHITECTURES
    from keras_resnet.builders import build_model
    from keras_resnet.recipes import RECIPES
    from keras_resnet.training.devices import make_strategy
    from keras_resnet.training.engine import Engine

    keras.config.set_dtype_policy(PRECISIONS[precision])
    strategy = make_strategy("all")
    with strategy.scope():
        model = build_model(ARCHITECTURES[case], classifier_activation=None, mean=[120.0] * 3, std=[60.0] * 3)
    engine = Engine(model, RECIPES["cifar-paper"], strategy)
    batches = iter(tf.data.Dataset.from_tensors(batch(case)).repeat())
    return lambda steps: engine.train(batches, [0.01] * steps, 0) and None


def keras_fit(case: str, precision: str) -> Callable[[int], None]:
    import keras
    import tensorflow as tf

    from keras_resnet import builders
    from keras_resnet.architectures import ARCHITECTURES

    keras.config.set_dtype_policy(PRECISIONS[precision])
    builders.BatchNormalization = keras.layers.BatchNormalization
    model = builders.build_model(ARCHITECTURES[case], mean=[120.0] * 3, std=[60.0] * 3)
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9), "sparse_categorical_crossentropy", jit_compile=False
    )
    # Without this, a short `fit` often idles until a multiple of five seconds after it began.
    options = tf.data.Options()
    options.autotune.enabled = False
    data = tf.data.Dataset.from_tensors(batch(case)).repeat().with_options(options)
    return lambda steps: model.fit(data, steps_per_epoch=steps, epochs=1, verbose=0) and None


def torch(case: str, precision: str) -> Callable[[int], None]:
    import torch

    images, labels = batch(case)
    net = cifar_resnet(int(case[6:])) if case != "resnet50" else torchvision_resnet50()
    net = net.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
    x = torch.tensor((images.astype("float32") - 120) / 60).permute(0, 3, 1, 2)
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.tensor(labels, dtype=torch.long)

    def run(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                loss = torch.nn.functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()

    return run


def torchvision_resnet50():
    import torchvision

    return torchvision.models.resnet50()


def cifar_resnet(depth: int):
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
            self.stride, self.extra = stride, outputs - inputs

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            if self.extra:
                x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))
            return F.relu(x + y)

    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    inputs = 16
    for stage, outputs in enumerate((16, 32, 64)):
        for index in range((depth - 2) // 6):
            layers.append(Block(inputs, outputs, 2 if stage and not index else 1))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


CONTESTANTS = {"ours": ours, "keras fit": keras_fit, "torch": torch}


def batch(case: str):
    import numpy as np

    side, size, classes = CASES[case]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (size, side, side, 3)).astype("uint8")
    return images, rng.integers(0, classes, size).astype("int32")


def contestant(name: str, case: str, precision: str) -> Turn:
    """Seconds of so many steps."""
    run = CONTESTANTS[name](case, precision)
    run(2)

    def turn(steps: int) -> float:
        began = time.perf_counter()
        run(steps)
        return time.perf_counter() - began

    return turn


def compare(case: str, precision: str, rounds: int) -> list[Row]:
    names = [name for name in CONTESTANTS if name != "torch" or importlib.util.find_spec("torch")]
    steps, images = STEPS[case], STEPS[case] * CASES[case][1]
    times: dict[str, list[float]] = {name: [] for name in names}
    with contestants(__file__, {name: (name, case, precision) for name in names}) as processes:
        for process in processes.values():
            process.turn(steps)  # warm-up
        for _ in range(rounds):
            for name, process in processes.items():
                times[name].append(process.turn(steps))
    speed = {name: images / statistics.median(values) for name, values in times.items()}
    return [
        row(
            f"{case} {precision} batch {CASES[case][1]}",
            speed["ours"],
            speed[name],
            name,
            "images/s",
            ratio=statistics.median(b / a for a, b in zip(times["ours"], times[name], strict=True)),
            goal=GOALS[name][precision],
        )
        for name in names
        if name != "ours"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--contestant", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        answer_turns(lambda: contestant(*options.contestant))
        return
    stop_on_sigterm()
    if not importlib.util.find_spec("torch"):
        print("torch is not installed: only Keras fit is compared", file=sys.stderr)
    rows = []
    for case in options.cases:
        for precision in options.precisions:
            new = compare(case, precision, options.rounds)
            say(new)
            rows += new
    answer(rows, options.json)


if __name__ == "__main__":
    main()

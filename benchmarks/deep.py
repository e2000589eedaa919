"""A thousand layers: building, first step, later steps and memory of ResNet-1202, scanned or unrolled.

    python benchmarks/deep.py                 # a table; ten minutes, most of them the unrolled graph's
    python benchmarks/deep.py --json          # rows: {case, ours, peer, peer_name, unit, ratio, goal, …}
    python benchmarks/deep.py --blocks 50     # a shallower network: 6·50+2 layers

Ours is the network as `keras_resnet.ResNet1202()` builds it, with its deep stages scanned (scanned.py). The
peer is the same network as one unrolled Keras graph (with Python's recursion limit raised, without which it
cannot be built). Each is a process of its own; steps take turns (ours, peer, ours, …) and medians are
compared, so that a machine whose speed drifts drifts for both. `ratio` is peer / ours: more is better.
Memory is the peak resident size of a process that takes three steps at batch 32; its peer there is the same
scanned network with rematerialisation.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from dataclasses import replace
from typing import Any

from table import Row, answer, row, say
from turns import Contestant, Turn, answer_turns, stop_on_sigterm


def contestant(kind: str, blocks: int, batch: int) -> Turn:
    """Starts, then takes steps: a turn of 0 steps says how long the start took, others what a step costs."""
    import keras
    import tensorflow as tf

    from keras_resnet.architectures import ARCHITECTURES
    from keras_resnet.builders import build_model

    sys.setrecursionlimit(100_000)
    deep = ARCHITECTURES["resnet1202"]
    deep = replace(deep, stages=tuple(replace(stage, blocks=blocks) for stage in deep.stages))
    images = tf.random.normal((batch, 32, 32, 3))
    labels = tf.random.uniform((batch,), 0, 10, tf.int32)

    start = time.perf_counter()
    scanned = kind != "unrolled"
    model = build_model(deep, classifier_activation=None, scanned=scanned, remat=kind == "remat")
    build = time.perf_counter() - start
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    start = time.perf_counter()
    step().numpy()
    started = {"build": build, "first": time.perf_counter() - start}

    def turn(steps: int) -> dict[str, float]:
        if not steps:
            return started
        start, processor = time.perf_counter(), time.process_time()
        for _ in range(steps):
            step().numpy()
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        return {"step": seconds / steps, "cpu": processor / steps, "memory": memory}

    return turn


def process(kind: str, blocks: int, batch: int) -> Contestant:
    return Contestant(__file__, [kind, "--blocks", str(blocks), "--batch", str(batch)])


def speed(blocks: int, batch: int, rounds: int) -> list[Row]:
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    processor: dict[str, list[float]] = {"ours": [], "peer": []}
    with process("scanned", blocks, batch) as ours:
        ours_start = ours.turn(0)  # the peer starts after it, not beside it
        with process("unrolled", blocks, batch) as peer:
            peer_start = peer.turn(0)
            for turn in range(rounds + 1):
                for name, contestant in (("ours", ours), ("peer", peer)):
                    cost = contestant.turn(1)
                    if turn:  # the first turn warms caches up
                        times[name].append(cost["step"])
                        processor[name].append(cost["cpu"])
    median = statistics.median
    compared = {
        "build": (ours_start["build"], peer_start["build"]),
        "first training step": (ours_start["first"], peer_start["first"]),
        "later training step": (median(times["ours"]), median(times["peer"])),
        # what a busy machine does not change much
        "later training step, processor time": (median(processor["ours"]), median(processor["peer"])),
    }
    return [
        row(f"{depth(blocks)}, {case}, batch {batch}", *pair, "unrolled Keras graph", "s")
        for case, pair in compared.items()
    ]


def memory(blocks: int) -> list[Row]:
    costs = {}
    for kind in ("scanned", "remat"):
        with process(kind, blocks, 32) as contestant:
            costs[kind] = [contestant.turn(1) for _ in range(2)][-1]
    ours, peer, name = costs["scanned"], costs["remat"], "with rematerialisation"
    return [
        row(f"{depth(blocks)}, memory of training, batch 32", ours["memory"], peer["memory"], name, "GiB"),
        row(f"{depth(blocks)}, training step, batch 32", ours["step"], peer["step"], name, "s"),
    ]


def depth(blocks: int) -> str:
    return f"ResNet-{6 * blocks + 2}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON list on stdout and nothing else")
    parser.add_argument("--blocks", type=int, default=200, help="residual blocks per stage; 200: ResNet-1202")
    parser.add_argument("--batch", type=int, default=8, help="images per step, for the speed")
    parser.add_argument("--rounds", type=int, default=7, help="steps of each contestant")
    parser.add_argument("--contestant", choices=("scanned", "remat", "unrolled"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        answer_turns(lambda: contestant(arguments.contestant, arguments.blocks, arguments.batch))
        return
    stop_on_sigterm()
    rows = memory(arguments.blocks)
    say(rows)
    new = speed(arguments.blocks, arguments.batch, arguments.rounds)
    say(new)
    answer(rows + new, arguments.json)


if __name__ == "__main__":
    main()

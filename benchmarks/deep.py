"""A thousand layers: building, first step, later steps and memory of ResNet-1202, scanned or unrolled.

    python benchmarks/deep.py                 # a table; ten minutes, most of them the unrolled graph's
    python benchmarks/deep.py --json          # a list of {case, ours, peer, peer_name, unit, ratio}
    python benchmarks/deep.py --blocks 50     # a shallower network: 6·50+2 layers

Ours is the network as `keras_resnet.ResNet1202()` builds it, with its deep stages scanned (scanned.py). The
peer is the same network as one unrolled Keras graph (with Python's recursion limit raised, without which it
cannot be built). Each is a process of its own; steps take turns (ours, peer, ours, …) and medians are
compared, so that a machine whose speed drifts drifts for both. `ratio` is ours / peer: less is better.
Memory is the peak resident size of a process that takes three steps at batch 32; its peer there is the same
scanned network with rematerialisation.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any


def contestant(kind: str, blocks: int, batch: int) -> None:
    """Runs in a process of its own: says how long it took to start, then takes a step per line of input."""
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
    print(json.dumps({"build": build, "first": time.perf_counter() - start}), flush=True)
    for _ in sys.stdin:
        start, processor = time.perf_counter(), time.process_time()
        step().numpy()
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps({"step": seconds, "cpu": processor, "memory": memory}), flush=True)


class Process:
    """A contestant at the other end of a pipe."""

    def __init__(self, kind: str, blocks: int, batch: int):
        command = [
            sys.executable,
            __file__,
            "--contestant",
            kind,
            "--blocks",
            str(blocks),
            "--batch",
            str(batch),
        ]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.start = self._answer()

    def step(self) -> dict[str, float]:
        assert self.process.stdin is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("error: a contestant died; out of memory?")
        return json.loads(line)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def speed(blocks: int, batch: int, rounds: int) -> list[dict[str, Any]]:
    ours = Process("scanned", blocks, batch)
    peer = Process("unrolled", blocks, batch)
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    processor: dict[str, list[float]] = {"ours": [], "peer": []}
    for turn in range(rounds + 1):
        for name, process in (("ours", ours), ("peer", peer)):
            answer = process.step()
            if turn:  # the first turn warms caches up
                times[name].append(answer["step"])
                processor[name].append(answer["cpu"])
    ours.close()
    peer.close()
    rows = [
        row("build", ours.start["build"], peer.start["build"], "unrolled Keras graph", "s"),
        row("first training step", ours.start["first"], peer.start["first"], "unrolled Keras graph", "s"),
        row(
            "later training step",
            statistics.median(times["ours"]),
            statistics.median(times["peer"]),
            "unrolled Keras graph",
            "s",
        ),
        row(  # what a busy machine does not change much
            "later training step, processor time",
            statistics.median(processor["ours"]),
            statistics.median(processor["peer"]),
            "unrolled Keras graph",
            "s",
        ),
    ]
    return [{**entry, "case": f"{entry['case']}, batch {batch}"} for entry in rows]


def memory(blocks: int) -> list[dict[str, Any]]:
    results = {}
    for kind in ("scanned", "remat"):
        process = Process(kind, blocks, 32)
        answers = [process.step() for _ in range(2)]
        results[kind] = answers[-1]
        process.close()
    return [
        row(
            "memory of training, batch 32",
            results["scanned"]["memory"],
            results["remat"]["memory"],
            "with rematerialisation",
            "GiB",
        ),
        row(
            "training step, batch 32",
            results["scanned"]["step"],
            results["remat"]["step"],
            "with rematerialisation",
            "s",
        ),
    ]


def row(case: str, ours: float, peer: float, peer_name: str, unit: str) -> dict[str, Any]:
    return {
        "case": case,
        "ours": round(ours, 3),
        "peer": round(peer, 3),
        "peer_name": peer_name,
        "unit": unit,
        "ratio": round(ours / peer, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON list on stdout and nothing else")
    parser.add_argument("--blocks", type=int, default=200, help="residual blocks a stage; 200: ResNet-1202")
    parser.add_argument("--batch", type=int, default=8, help="images a step, for the speed")
    parser.add_argument("--rounds", type=int, default=7, help="steps of each contestant")
    parser.add_argument("--contestant", choices=("scanned", "remat", "unrolled"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        contestant(arguments.contestant, arguments.blocks, arguments.batch)
        return
    depth = f"ResNet-{6 * arguments.blocks + 2}"
    rows = memory(arguments.blocks) + speed(arguments.blocks, arguments.batch, arguments.rounds)
    rows = [{**entry, "case": f"{depth}, {entry['case']}"} for entry in rows]
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    for entry in rows:
        print("{case}: {ours} {unit}, {peer_name} {peer}: {ratio}".format(**entry))


if __name__ == "__main__":
    main()

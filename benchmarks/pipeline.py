"""Input pipelines: images per second, beside torchvision's DataLoader and beside bare JPEG decoding.

    python benchmarks/pipeline.py                  # a table
    python benchmarks/pipeline.py --json           # rows: {case, ours, peer, peer_name, unit, ratio, goal, …}
    python benchmarks/pipeline.py --photos DIR     # class folders of JPEG photographs, any depth

Photographs and CIFAR images are those of ../shared/data beside the repository; a case without its images is
left out. Every contestant is a process of its own that stays alive and is asked for batches in turns, so that
a machine whose speed drifts drifts for all; while one is timed, the others' buffers are full and they rest.
Batches that a pipeline had ready before the clock started are taken first. A contestant's rate is the median
of the better half of its rounds. torchvision has two workers, we use as many threads as there are cores (run
it on two cores for a like comparison: `taskset -c 0,1`). All deliver batches of uint8 images; torchvision's
"PIL" opens with Pillow, its "tensor" decodes and resizes tensors.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from table import Row, answer, row, say
from turns import Turn, answer_turns, contestants, stop_on_sigterm

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
SIZE, LOW, HIGH = 224, 256, 480
BATCH = {"photos": 64, "cifar": 128}
BATCHES = {"photos": 8, "cifar": 200}
READY = 8  # batches that may wait in any contestant's buffers
WORKERS = 2
# (case, images, ours, peer, goal)
CASES = [
    ("ImageNet view, scale jitter", "photos", "ours jitter", "torchvision PIL jitter", 3.0),
    ("ImageNet view, scale jitter", "photos", "ours jitter", "torchvision tensor jitter", 1.6),
    ("ImageNet view, scale jitter", "photos", "ours jitter", "bare decoding", 0.8),
    ("ImageNet view, random resized crop", "photos", "ours resized", "torchvision PIL resized", 3.0),
    ("ImageNet view, random resized crop", "photos", "ours resized", "torchvision tensor resized", 1.6),
    ("ImageNet view, random resized crop", "photos", "ours resized", "bare decoding", 0.8),
    ("the same with antialiasing", "photos", "ours antialiased", "bare decoding", None),
    ("ImageNet test view", "photos", "ours single", "torchvision PIL single", None),
    ("CIFAR view from memory", "cifar", "ours pad-crop", "torchvision PIL pad-crop", None),
]
CIFAR_GOAL = 25_000


def files(folder: str) -> list[str]:
    return sorted(str(path) for path in Path(folder).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))


def ours(folder: str, view: str) -> Iterator[Any]:
    from keras_resnet.data import memory, pipeline, views
    from keras_resnet.data.sources import open_dataset

    dataset = open_dataset(folder)
    (split,) = dataset.splits
    if view == "single":
        memory.LIMIT_BYTES = 0  # decoded once, a split as small as this would come from memory
        chosen = views.eval_view("single", SIZE)
        batches = pipeline.evaluation_batches(dataset, split, chosen, batch_size=BATCH["photos"])
        return iter(batches.unbatch().repeat().batch(BATCH["photos"]))
    batch, mean = BATCH["photos"], None
    if view == "pad-crop":
        chosen = views.train_view("pad-crop", 32)
        batch, mean = BATCH["cifar"], [125.3, 123.0, 113.9]
    elif view == "jitter":
        chosen = views.train_view("scale-jitter", SIZE)
    else:
        chosen = views.TrainView("random-resized-crop", SIZE, antialias=view == "antialiased")
    return iter(pipeline.training_batches(dataset, split, chosen, batch_size=batch, seed=0, mean=mean))


def bare(folder: str, view: str) -> Iterator[Any]:
    """Read and decode whole photographs, in as many threads as we use; no views, no batches."""
    import tensorflow as tf

    from keras_resnet.data.loading import CORES

    del view
    images = tf.data.Dataset.from_tensor_slices(files(folder)).repeat()
    images = images.map(lambda p: tf.io.decode_jpeg(tf.io.read_file(p), channels=3), num_parallel_calls=CORES)
    images = iter(images.prefetch(8))
    while True:
        for _ in range(BATCH["photos"]):
            next(images)
        yield None


def torchvision(folder: str, view: str) -> Iterator[Any]:
    import torch
    from PIL import Image
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms import v2

    kind, view = view.split()
    paths = files(folder)
    steps: dict[str, list] = {
        "jitter": [v2.RandomShortestSize(list(range(LOW, HIGH + 1)), antialias=True), v2.RandomCrop(SIZE)],
        "resized": [v2.RandomResizedCrop(SIZE, antialias=True)],
        "single": [v2.Resize(256, antialias=True), v2.CenterCrop(SIZE)],
        "pad-crop": [v2.RandomCrop(32, padding=4)],
    }
    flip = [] if view == "single" else [v2.RandomHorizontalFlip()]
    transform = v2.Compose([*steps[view], *flip, *([v2.PILToTensor()] if kind == "PIL" else [])])
    if view == "pad-crop":
        decoded = [Image.open(path).convert("RGB") for path in paths]

    class Images(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 10**7

        def __getitem__(self, index: int) -> Any:
            index %= len(paths)
            if view == "pad-crop":
                return transform(decoded[index])
            if kind == "PIL":
                return transform(Image.open(paths[index]).convert("RGB"))
            return transform(decode_jpeg(read_file(paths[index]), mode=ImageReadMode.RGB))

    size = BATCH["cifar" if view == "pad-crop" else "photos"]
    return iter(torch.utils.data.DataLoader(Images(), batch_size=size, num_workers=WORKERS))


def contestant(name: str, folder: str) -> Turn:
    """Seconds of so many batches."""
    program, _, view = name.partition(" ")
    batches = {"ours": ours, "bare": bare, "torchvision": torchvision}[program](folder, view)

    def turn(count: int) -> float:
        for _ in range(READY):
            next(batches)
        began = time.perf_counter()
        for _ in range(count):
            next(batches)
        return time.perf_counter() - began

    return turn


def measure(names: list[str], folder: Path, images: str, rounds: int) -> dict[str, float]:
    """Images per second of each contestant."""
    rates: dict[str, list[float]] = {name: [] for name in names}
    with contestants(__file__, {name: (name, str(folder)) for name in names}) as processes:
        for process in processes.values():
            process.turn(1)  # starting is not timed
        for _ in range(rounds):
            for name, process in processes.items():
                count = BATCHES[images] if name.startswith(("ours", "bare")) or images == "photos" else 20
                rates[name].append(count * BATCH[images] / process.turn(count))
    return {name: statistics.median(sorted(r)[len(r) // 2 :]) for name, r in rates.items()}


def unpack(archive: str, below: str, target: Path) -> Path | None:
    """Unpack the part of a shared archive, if it is there.

    Raises:
        ValueError: it names a file outside of `target`.
    """
    path = SHARED / archive
    if not path.is_file():
        print(f"{path.name} is not in ../shared/data: its cases are left out", file=sys.stderr)
        return None
    with tarfile.open(path) as tar:
        for member in tar:  # files alone, no links; `filter="data"` would need Python 3.11.4
            if member.isfile() and member.name.removeprefix("./").startswith(below):
                if not (target / member.name).resolve().is_relative_to(target.resolve()):
                    raise ValueError(f"{path} has a file that would lie elsewhere: {member.name!r}")
                tar.extract(member, target)
    return target / below if below else target


def compare(folders: dict[str, Path | None], rounds: int) -> list[Row]:
    rows = []
    peers = importlib.util.find_spec("torchvision") is not None
    if not peers:
        print("torchvision is not installed: only bare decoding is compared", file=sys.stderr)
    for images, folder in folders.items():
        if folder is None:
            continue
        cases = [c for c in CASES if c[1] == images and (peers or not c[3].startswith("torchvision"))]
        names = list(dict.fromkeys(name for case in cases for name in case[2:4]))
        if images == "cifar":
            names = list(dict.fromkeys(["ours pad-crop", *names]))
        rates = measure(names, folder, images, rounds)
        new = [
            row(case, rates[ours], rates[peer], peer, "images/s", goal=goal)
            for case, _, ours, peer, goal in cases
        ]
        if images == "cifar":
            case, peer = "CIFAR view from memory", f"the goal, {CIFAR_GOAL:,}"
            new.append(row(case, rates["ours pad-crop"], CIFAR_GOAL, peer, "images/s", goal=1.0))
        say(new)
        rows += new
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print a list of rows")
    parser.add_argument("--rounds", type=int, default=6, help="turns of every contestant")
    parser.add_argument("--photos", type=Path, help="class folders of JPEG photographs")
    parser.add_argument("--only", choices=("photos", "cifar"), help="one half of it")
    parser.add_argument("--contestant", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        answer_turns(lambda: contestant(*options.contestant))
        return
    stop_on_sigterm()
    with tempfile.TemporaryDirectory() as scratch:
        folders: dict[str, Path | None] = {}
        if options.only != "cifar":
            photos = options.photos or unpack("imagenet-photos.tar", "", Path(scratch, "photos"))
            folders["photos"] = photos
        if options.only != "photos":
            folders["cifar"] = unpack("cifar10-jpeg.tar.gz", "test", Path(scratch, "cifar"))
        rows = compare(folders, options.rounds)
    answer(rows, options.json)


if __name__ == "__main__":
    main()

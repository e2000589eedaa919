"""Contestants take turns: each is a process of its own that stays alive and measures when it is told to.

The benchmark's own file is started again with `--contestant …`. There `answer_turns` reads one number per
line on stdin (steps, batches, calls: the benchmark knows) and writes what it measured as a line of JSON on
stdout. Taking turns (ours, peer, ours, peer, …) a machine whose speed drifts drifts for all of them.
Whoever is not in turn is stopped (SIGSTOP), with its worker processes: buffers that fill again would take the
others' time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

Turn = Callable[[int], Any]


def stop_on_sigterm() -> None:
    """End by SIGTERM as by Ctrl-C, so that `with` blocks end the processes that were started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def answer_turns(prepare: Callable[[], Turn]) -> None:
    """The contestant's side: prepare, then answer every line until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # frameworks that print do not disturb the protocol
    turn = prepare()
    for line in sys.stdin:
        print(json.dumps(turn(int(line))), file=answers, flush=True)


class Contestant:
    """The benchmark's side: a contestant at work. Use it in a `with` block, which ends the process."""

    def __init__(self, script: str, arguments: Iterable[str], env: Mapping[str, str] | None = None):
        self.process = subprocess.Popen(
            [sys.executable, script, "--contestant", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # a process group of its own, which its workers belong to
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | dict(env or {}),
        )

    def turn(self, count: int) -> Any:
        """Let it work so many times; what it answers.

        Raises:
            SystemExit: the process ended instead; the message holds its command.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            os.killpg(self.process.pid, signal.SIGCONT)
            print(count, file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline()
            os.killpg(self.process.pid, signal.SIGSTOP)
        except (BrokenPipeError, ProcessLookupError):
            answer = ""
        if not answer:
            command = " ".join(map(str, self.process.args))  # type: ignore[arg-type]
            raise SystemExit(f"error: a contestant failed; to see why, run it by hand: echo 1 | {command}")
        return json.loads(answer)

    def __enter__(self) -> Contestant:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()  # waits and closes the pipes


@contextmanager
def contestants(
    script: str,
    arguments: Mapping[str, Iterable[str]],
    env: Mapping[str, Mapping[str, str]] | None = None,
) -> Iterator[dict[str, Contestant]]:
    """All contestants by name, with the arguments and the environment of each."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(Contestant(script, values, (env or {}).get(name)))
            for name, values in arguments.items()
        }

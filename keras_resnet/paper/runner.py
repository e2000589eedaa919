"""Runs a plan: one process per run, one after the other, until all is measured or the budget is spent."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from keras_resnet.errors import UsageError, UserError
from keras_resnet.paper.plan import Plan, PlannedRun
from keras_resnet.training.interrupts import Interrupted

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
Say = Callable[[str], None]


def seconds_of(budget: str) -> float:
    """2h → 7200, 30m → 1800, 1h30m → 5400.

    Raises:
        UsageError: it is not written so.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", budget)
    if not parts or "".join(number + unit for number, unit in parts) != budget:
        raise UsageError(f"budget {budget!r} is not a time; write it as 2h, 30m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def run_plan(plan: Plan, *, budget: float | None = None, say: Say = lambda line: None) -> bool:
    """Train and test what the plan lacks; returns whether everything is measured now.

    When `budget` (seconds) is over, the current run saves itself and stops; the same call resumes it.

    Raises:
        UserError: a run failed; earlier ones keep what they measured.
        Interrupted: SIGINT or SIGTERM came; the current training run has been saved.
    """
    deadline = None if budget is None else time.monotonic() + budget
    todo = [run for run in plan.runs if run.status != "measured"]
    done = len(plan.runs) - len(todo)
    if done:
        say(f"{done} of {len(plan.runs)} runs are measured already")
    for number, run in enumerate(todo, done + 1):
        if deadline is not None and time.monotonic() >= deadline:
            return False
        verb = "resuming" if run.status == "begun" else "training"
        say(f"[{number}/{len(plan.runs)}] {verb} {run.net.label}, seed {run.net.seed}, in {run.folder}")
        if not _run_one(run, deadline):
            return False
    return True


def _run_one(run: PlannedRun, deadline: float | None) -> bool:
    """Whether it came to its end before the deadline."""
    # A session of its own: Ctrl-C reaches this process alone, which passes it on exactly once.
    with subprocess.Popen(
        _command(run), stdout=subprocess.PIPE, text=True, errors="surrogateescape", start_new_session=True
    ) as process:
        try:
            with _signals():
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                words, _ = process.communicate(timeout=left)
        except subprocess.TimeoutExpired:
            words = _stop(process)
            # Saved and stopped, or stopped before or after its training, with nothing to save.
            if process.returncode in (128 + signal.SIGTERM, -signal.SIGTERM):
                return False
        except Interrupted as interrupted:
            _stop(process)
            raise Interrupted(
                f"stopped in {run.folder}; run the same command again to resume", interrupted.exit_code - 128
            ) from None
    if process.returncode in (128 + signal.SIGINT, 128 + signal.SIGTERM):  # somebody stopped it alone
        raise Interrupted(_last_words(words, run, process.returncode), process.returncode - 128)
    if process.returncode != 0:
        wrong = UsageError if process.returncode == UsageError.exit_code else UserError
        raise wrong(_last_words(words, run, process.returncode))
    return True


def _command(run: PlannedRun) -> list[str]:
    return [sys.executable, "-m", "keras_resnet.paper.one_run", run.to_json(), *sys.argv[1:]]


def _stop(process: subprocess.Popen[str]) -> str:
    """Ask the training to save itself, and wait for it."""
    process.send_signal(signal.SIGTERM)
    words, _ = process.communicate()
    return words


def _last_words(words: str, run: PlannedRun, code: int) -> str:
    lines: Sequence[str] = words.strip().splitlines()
    if lines:
        instead = f" (instead of --fresh, remove {run.folder})" if "--fresh" in lines[-1] else ""
        return f"{run.net.label}: {lines[-1]}{instead}"
    reason = (
        "was killed, perhaps for lack of memory" if code == -signal.SIGKILL else f"ended with code {code}"
    )
    return f"{run.net.label}: its training in {run.folder} {reason}; run the same command again to resume"


@contextmanager
def _signals() -> Iterator[None]:
    """SIGINT and SIGTERM raise Interrupted inside the block."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise Interrupted("stopped", number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

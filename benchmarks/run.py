"""All benchmarks, one after the other: one table of ratios with the goals beside them (`make bench`).

    python benchmarks/run.py                             # all; a quarter to half an hour
    python benchmarks/run.py --only training startup     # some
    python benchmarks/run.py --markdown                  # the table as markdown
    python benchmarks/run.py --show benchmarks/results/2026-11-25-….json    # a stored table, nothing is run

The table goes to stdout, progress to stderr. What was measured is stored in benchmarks/results/ after every
benchmark, with hardware and versions; another run of the same day on the same hardware and versions goes into
the same file. A benchmark that fails is said to have failed, the others still run, and the exit code is 1. A
goal that is not reached is not a failure.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import machine
import table
from turns import stop_on_sigterm

HERE = Path(__file__).resolve().parent
BENCHMARKS = {name: HERE / f"{name}.py" for name in ("startup", "training", "pipeline", "inference", "deep")}


def measure(name: str, script: Path, options: Sequence[str]) -> list[table.Row]:
    """The rows of one benchmark, run as a process; a single `failure` where it brings none."""
    command = [sys.executable, str(script), "--json", *options]
    last = ""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        with subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            try:
                for line in process.stderr:
                    print(f"  {line.rstrip()}", file=sys.stderr, flush=True)
                    last = line.strip() or last
            except KeyboardInterrupt:
                process.terminate()
                raise
        if process.returncode:
            return [table.failure(name, f"exit code {process.returncode}: {last}")]
        output.seek(0)
        try:
            rows = json.load(output)
        except ValueError as error:
            return [table.failure(name, f"its answer is not JSON: {error}")]
    return rows or [table.failure(name, f"nothing was measured: {last}")]


def failed(rows: Sequence[table.Row]) -> bool:
    """Whether these are the rows of a benchmark that failed."""
    return any("failed" in row for row in rows)


class Results:
    """A file of results: one per day, hardware and set of versions; later runs replace what they repeat."""

    def __init__(self, folder: Path):
        hardware, versions = machine.hardware(), machine.versions()
        date = f"{datetime.now(UTC):%Y-%m-%d}"
        self.data: dict[str, Any] = {"date": date, "hardware": hardware, "versions": versions}
        self.data["benchmarks"] = {}
        for number in itertools.count(1):
            suffix = "" if number == 1 else f"-{number}"
            self.path = folder / f"{date}-{machine.cpu_slug(hardware['cpu'])}{suffix}.json"
            if not self.path.exists():
                break
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            if (stored["hardware"], stored["versions"]) == (hardware, versions):
                self.data = stored
                break

    def add(self, name: str, entry: dict[str, Any]) -> None:
        """Store one benchmark. A failure does not replace what was measured earlier."""
        benchmarks = self.data["benchmarks"]
        if name in benchmarks and failed(entry["rows"]):
            return
        benchmarks[name] = entry
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.data, indent=1) + "\n", encoding="utf-8")


def run(names: Sequence[str], options: Sequence[str], results: Results) -> list[table.Row]:
    """Run the named benchmarks, store each as it ends; all their rows."""
    rows: list[table.Row] = []
    for index, name in enumerate(names, 1):
        print(f"[{index}/{len(names)}] {name}", file=sys.stderr, flush=True)
        entry = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": machine.commit(),
            "load_average": machine.load_average(),
            "options": list(options),
        }
        began = time.monotonic()
        found = measure(name, BENCHMARKS[name], options)
        results.add(name, {**entry, "seconds": round(time.monotonic() - began), "rows": found})
        rows += found
    return rows


def summary(rows: Sequence[table.Row]) -> str:
    """One line below the table."""
    goals = [row["reached"] for row in rows if row.get("reached") is not None]
    failures = [row["case"].split()[0] for row in rows if "failed" in row]
    line = f"{sum(goals)} of {len(goals)} goals reached"
    return f"{line}; failed: {', '.join(failures)}" if failures else line


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 where a benchmark failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", choices=list(BENCHMARKS), metavar="NAME", help=", ".join(BENCHMARKS)
    )
    parser.add_argument(
        "--rounds", type=int, help="turns of every contestant (default: each benchmark's own)"
    )
    parser.add_argument("--markdown", action="store_true", help="print the table as markdown")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder that results go to")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print a stored table, run nothing")
    options = parser.parse_args(arguments)
    if options.show:
        stored = json.loads(options.show.read_text(encoding="utf-8"))["benchmarks"]
        rows = [row for name in options.only or stored if name in stored for row in stored[name]["rows"]]
    else:
        stop_on_sigterm()
        results = Results(options.results)
        passed_on = [] if options.rounds is None else ["--rounds", str(options.rounds)]
        rows = run(options.only or list(BENCHMARKS), passed_on, results)
        print(f"stored in {results.path}", file=sys.stderr)
    print((table.markdown_table if options.markdown else table.text_table)(rows))
    print(summary(rows), file=sys.stderr)
    return int(failed(rows))


if __name__ == "__main__":
    sys.exit(main())

"""What a measurement was taken on: hardware, versions, commit, load."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

FLAGS = ("avx2", "avx512", "amx")


def hardware() -> dict[str, Any]:
    """CPU model, cores that this process may use, memory (GiB), the instruction sets that matter here."""
    info = _read("/proc/cpuinfo")
    model = _field(info, "model name") or platform.processor() or platform.machine()
    flags = {flag for flag in _field(info, "flags").split() if flag.startswith(FLAGS)}
    kilobytes = int((_field(_read("/proc/meminfo"), "MemTotal") or "0").split()[0])
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(kilobytes / 2**20, 1),
        "flags": sorted(flags),
    }


def cpu_slug(model: str) -> str:
    """Intel(R) Xeon(R) Platinum 8480+ → intel-xeon-platinum-8480."""
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", model.lower())).strip("-") or "cpu"


def versions() -> dict[str, str]:
    """Python and every installed package."""
    packages = sorted({(package.name.lower(), package.version) for package in distributions()})
    return {"python": platform.python_version(), **dict(packages)}


def commit() -> str | None:
    """The commit of this checkout, with "-dirty" where tracked files differ; None outside of git."""
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    folder = Path(__file__).resolve().parent
    try:
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def load_average() -> list[float]:
    """Processes at work in the last 1, 5 and 15 minutes."""
    return [round(load, 2) for load in os.getloadavg()]


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:  # not Linux
        return ""


def _field(text: str, name: str) -> str:
    match = re.search(rf"^{name}\s*:\s*(.*)$", text, re.M)
    return match[1] if match else ""

"""The report of training runs as one page: what was trained, how well, against what the paper prints."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

from keras_resnet.pages import plots
from keras_resnet.pages.blocks import Page
from keras_resnet.pages.writing import page_format, require_writable, write_page
from keras_resnet.paper.folders import RunFolder, find_runs, read_run
from keras_resnet.report import sections
from keras_resnet.report.measuring import measure


def write_report(
    runs: Sequence[str | Path],
    output: str | Path,
    *,
    kind: str | None = None,
    data_dir: str | None = None,
    skip_limit: float = 0.05,
    evaluate: bool = True,
    title: str = "Residual networks: a report of training runs",
) -> Path:
    """Write a page about run folders.

    Args:
        runs: run folders, or folders with run folders below them.
        output: the file. Markdown puts its images into a folder beside it, named NAME_files.
        kind: "html" or "markdown"; None: what the file's name ends in.
        data_dir: where TFDS keeps the data that the runs were trained on.
        skip_limit: the largest share of unreadable images that a test accepts.
        evaluate: test finished runs that have not been tested, and measure the responses of CIFAR
            networks, where their data can be opened. Results are kept in the run folders.
        title: of the page.

    Raises:
        UsageError: unknown kind, or a name that tells none.
        UserError: no run folder, matplotlib is missing, or the file cannot be written.
    """
    found = find_runs(runs)
    # Not after minutes of testing.
    plots.require()
    kind = page_format(output, kind)
    require_writable(output)
    if evaluate:
        measure(found, data_dir, skip_limit)
        found = [read_run(run.path) for run in found]
    return write_page(build_page(found, title, data_dir), output, kind)


def build_page(runs: Sequence[RunFolder], title: str, data_dir: str | None = None) -> Page:
    """The page about `runs`, whatever it is then written as."""
    data = ", ".join(dict.fromkeys(str(run.settings["dataset"]) for run in runs))
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    count = f"{len(runs)} run{'s' if len(runs) != 1 else ''}"
    made = [
        sections.summary(runs),
        sections.curves(runs),
        sections.against_paper(runs),
        sections.responses(runs),
        sections.mistakes(runs, data_dir),
        sections.settings(runs),
        sections.hardware(runs),
    ]
    return Page(title, f"{count} on {data}; written on {today}", [section for section in made if section])

"""The report in a real browser, as wide as a phone, light and dark."""

from __future__ import annotations

import browser
import pytest
from run_folders import write_run

from keras_resnet.report.report import write_report

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.skipif(browser.find() is None, reason="needs Chromium")

# The right edges of network, seed, test, training and validation error in the first row of the first table.
EDGES = """[...document.querySelector("tbody tr").children].slice(0, 5).map(
    cell => cell.getBoundingClientRect().right)"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    runs = [
        write_run(folder / f"{name}-{seed}", name, final_train=error, seed=seed)
        for name, error in (("plain20", 2.0), ("resnet110", 41.0))
        for seed in (0, 1)
    ]
    return write_report(runs, folder / "report.html", evaluate=False).as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_the_errors_without_scrolling(report, scheme, tmp_path):
    with browser.Browser(tmp_path) as page:
        page.call(
            "Emulation.setDeviceMetricsOverride", width=375, height=800, deviceScaleFactor=1, mobile=True
        )
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        page.call("Emulation.setEmulatedMedia", features=media)
        page.call("Page.navigate", url=report)
        page.wait_for("document.readyState == 'complete' && document.querySelector('table') != null")
        assert page.evaluate("document.documentElement.scrollWidth") == 375
        assert max(page.evaluate(EDGES)) <= 375 - 16
        ink, paper = (
            sum(map(int, page.evaluate(f"getComputedStyle(document.body).{name}").strip("rgb()").split(",")))
            for name in ("color", "backgroundColor")
        )
        assert (ink > paper) == (scheme == "dark")
        labels = "getComputedStyle(document.querySelector('svg text')).fill"
        assert page.evaluate(labels) == page.evaluate("getComputedStyle(document.body).color")
        assert page.complaints() == []

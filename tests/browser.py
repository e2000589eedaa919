"""A headless Chromium driven over its DevTools pipe: JSON messages that end in a zero byte."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find() -> str | None:
    """The path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page in one browser; a context manager."""

    def __init__(self, profile: Path):
        self.to_browser, self.from_browser = os.pipe(), os.pipe()
        command = [
            *(find(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--remote-debugging-pipe", "--no-first-run", f"--user-data-dir={profile}", "about:blank"),
        ]

        # Chromium reads commands from descriptor 3 and writes answers to 4. Both ends are moved out of the
        # way first: one of them may be 3 or 4 itself.
        def place() -> None:
            incoming, outgoing = os.dup(self.to_browser[0]), os.dup(self.from_browser[1])
            high = [os.dup2(incoming, 200), os.dup2(outgoing, 201)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.process = subprocess.Popen(
            command, preexec_fn=place, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(self.to_browser[0])
        os.close(self.from_browser[1])
        self.number, self.rest, self.session = 0, b"", None
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Browser:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.to_browser[1])
        os.close(self.from_browser[0])

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Run a DevTools command and return its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to_browser[1], json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            data = os.read(self.from_browser[0], 1 << 16)
            assert data, "the browser has ended"
            self.rest += data
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 30) -> Any:
        """Wait until the expression is true, and return its value."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if value := self.evaluate(expression):
                return value
            time.sleep(0.05)
        raise AssertionError(f"{expression} did not become true within {seconds} s")

    def complaints(self) -> list[str]:
        """Errors that the page has logged, scripts that were blocked among them."""
        entries = [
            event["params"]["entry"] for event in self.events if event.get("method") == "Log.entryAdded"
        ]
        thrown = [
            str(event["params"]) for event in self.events if "exceptionThrown" in event.get("method", "")
        ]
        return [entry["text"] for entry in entries if entry["level"] == "error"] + thrown

"""Load on `keras-resnet serve`, on the loopback: answers/s, p50, p99, malformed requests mixed in, memory.

    python benchmarks/serving.py exports/NAME photos/                       # 1, 8 and 32 clients, 10 s each
    python benchmarks/serving.py exports/NAME photos/ --seconds 200 --json  # ten minutes in all

Starts the server itself, on a free port of 127.0.0.1, and talks to nothing else. Every tenth request is
malformed (broken JSON, wrong shapes, bytes that are no image, unknown paths): it must be refused with a 4xx,
and the others must be answered with a 200. Some connections are aborted, which nobody can be told; they are
not counted. Memory is the server's resident set, every
ten seconds.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

MALFORMED = 10  # one request in so many
SAMPLE = 10.0  # seconds between looks at the memory


class Server:
    """`keras-resnet serve` in a process of its own."""

    def __init__(self, model: str):
        program = (
            "import sys; from keras_resnet.serving.server import serve; serve(sys.argv[1], port=0, name='m')"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, model],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith("serving m"):
                self.port = int(line.split("127.0.0.1:")[1].split("/")[0])
                break
        else:
            raise SystemExit("the server did not start")
        self.complaints: deque[str] = deque(maxlen=20)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.complaints.append(line.rstrip())

    def memory(self) -> float:
        """Resident set in MB."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return round(int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(60)


def good_requests(files: list[Path]) -> list[bytes]:
    bodies = []
    for file in files:
        image = {"b64": base64.b64encode(file.read_bytes()).decode()}
        bodies.append(json.dumps({"signature_name": "classify_bytes", "instances": [image]}).encode())
    return bodies


PREDICT = "/v1/models/m:predict"
BAD = [
    ("POST", PREDICT, b"{"),
    ("POST", PREDICT, b'{"instances": [[1, 2]]}'),
    ("POST", PREDICT, b'{"signature_name": "classify_bytes", "instances": [{"b64": "aGVsbG8="}]}'),
    ("POST", PREDICT, b'{"signature_name": "x", "instances": []}'),
    ("POST", "/v1/models/other:predict", b"{}"),
    ("GET", PREDICT, b""),
    ("POST", "/look", b"\xff\xd8\xff and no more"),
    ("abort", "", b""),
]


def abort(port: int) -> None:
    """Promise a body and leave."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"POST /look HTTP/1.1\r\nHost: m\r\nContent-Length: 1000\r\n\r\nabc")


def client(
    port: int, good: list[bytes], start: int, deadline: float, log: list[tuple[bool, int, float]]
) -> None:
    """Ask until the deadline; log (malformed, status, seconds) of each request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for number in itertools.count(start):
        if time.perf_counter() > deadline:
            break
        malformed = number % MALFORMED == 0
        method, path, body = "POST", PREDICT, good[number % len(good)]
        if malformed:
            method, path, body = BAD[number // MALFORMED % len(BAD)]
        if method == "abort":
            abort(port)
            continue
        began = time.perf_counter()
        try:
            connection.request(method, path, body)
            reply = connection.getresponse()
            reply.read()
            status = reply.status
        except (OSError, http.client.HTTPException):
            connection.close()
            status = 0
        log.append((malformed, status, time.perf_counter() - began))
    connection.close()


def measure(server: Server, good: list[bytes], clients: int, seconds: float) -> dict:
    log: list[tuple[bool, int, float]] = []
    began = time.perf_counter()
    threads = [
        threading.Thread(target=client, args=(server.port, good, 7 * number, began + seconds, log))
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    memory = []
    while (left := began + seconds - time.perf_counter()) > 0:
        time.sleep(min(SAMPLE, left))
        memory.append(server.memory())
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    answered = sorted(spent for malformed, status, spent in log if not malformed and status == 200)
    if not answered:
        raise SystemExit(f"nothing was answered; the server says: {list(server.complaints)}")
    return {
        "clients": clients,
        "seconds": round(took, 1),
        "answers_per_second": round(len(answered) / took, 1),
        "p50_ms": round(1e3 * answered[len(answered) // 2], 1),
        "p99_ms": round(1e3 * answered[int(len(answered) * 0.99)], 1),
        "answered": len(answered),
        "refused_malformed": sum(400 <= status < 500 for malformed, status, _ in log if malformed),
        "malformed": sum(malformed for malformed, _, _ in log),
        "failed": sum(status != 200 for malformed, status, _ in log if not malformed),
        "memory_mb": memory,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("images", type=Path, help="a folder of JPEG or PNG files")
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=10, help="for each number of clients")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    suffixes = {".jpg", ".jpeg", ".png"}
    files = sorted(p for p in options.images.rglob("*") if p.suffix.lower() in suffixes)[:50]
    if not files:
        parser.error(f"no {', '.join(sorted(suffixes))} files in {options.images}")
    server = Server(options.model)
    rows = []
    try:
        measure(server, good_requests(files), 2, 2)  # warm-up
        for clients in options.clients:
            rows.append(measure(server, good_requests(files), clients, options.seconds))
            if not options.json:
                print(rows[-1], flush=True)
    finally:
        code = server.stop()
    if options.json:
        print(json.dumps(rows, indent=1))
    for line in server.complaints:
        print(f"server: {line}", file=sys.stderr)
    if code not in (0, -15) or any(r["failed"] or r["refused_malformed"] < r["malformed"] for r in rows):
        raise SystemExit(f"the server failed requests or ended with {code}")


if __name__ == "__main__":
    main()

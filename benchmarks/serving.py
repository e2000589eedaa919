"""Load on `keras-resnet serve`, on the loopback: answers/s, p50, p99, malformed requests mixed in, memory.

    python benchmarks/serving.py exports/NAME photos/                       # 1, 8 and 32 clients, 10 s each
    python benchmarks/serving.py exports/NAME photos/ --seconds 200 --json  # ten minutes in all

Starts the server itself, on a free port of 127.0.0.1, and talks to nothing else. Every tenth request is
malformed (broken JSON, wrong shapes, bytes that are not an image, a decompression bomb, unknown paths): it
must be refused with a 4xx, and the others must be answered with a 200. Some connections are aborted, which
nobody can be told; they are not counted. Beside them, one client sends its body byte by byte and another one
never sends it: the server must give them up with a 408, which takes its 30 seconds; then they come again.
Memory is the server's resident set, every ten seconds.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import itertools
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
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


def classify_bytes(contents: bytes) -> bytes:
    image = {"b64": base64.b64encode(contents).decode()}
    return json.dumps({"signature_name": "classify_bytes", "instances": [image]}).encode()


def bomb(side: int = 20_000) -> bytes:
    """A whole PNG of 50 kB that decodes to 1.2 GB: black, one bit per pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(side * (1 + side // 8)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


BOMB = bomb()
PREDICT = "/v1/models/m:predict"
BAD = [
    ("POST", PREDICT, b"{"),
    ("POST", PREDICT, b'{"instances": [[1, 2]]}'),
    ("POST", PREDICT, classify_bytes(b"hello")),
    ("POST", PREDICT, classify_bytes(BOMB)),
    ("POST", PREDICT, b'{"signature_name": "x", "instances": []}'),
    ("POST", "/v1/models/other:predict", b"{}"),
    ("GET", PREDICT, b""),
    ("POST", "/look", b"\xff\xd8\xff and no more"),
    ("POST", "/look", BOMB),
    ("abort", "", b""),
]
PROMISE = b"POST /look HTTP/1.1\r\nHost: m\r\nContent-Length: 1000\r\n\r\nabc"
Log = list[tuple[bool, int, float]]  # malformed, status, seconds


def abort(port: int) -> None:
    """Promise a body and leave."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(PROMISE)


def hold_on(port: int, trickle: bool, deadline: float, given_up: list[int]) -> None:
    """Promise a body, send a byte of it each half second or none at all; log the status that ends it."""
    while time.perf_counter() < deadline:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5) as client:
            client.sendall(PROMISE)
            while time.perf_counter() < deadline:
                try:
                    reply = client.recv(100)
                except TimeoutError:
                    if trickle:
                        client.sendall(b"x")
                    continue
                except OSError:
                    reply = b""
                given_up.append(int(reply.split()[1]) if reply else 0)
                break


def client(port: int, good: list[bytes], start: int, deadline: float, log: Log) -> None:
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
    log: Log = []
    given_up: list[int] = []
    began = time.perf_counter()
    deadline = began + seconds
    threads = [
        threading.Thread(target=client, args=(server.port, good, 7 * number, deadline, log))
        for number in range(clients)
    ]
    threads += [
        threading.Thread(target=hold_on, args=(server.port, trickle, deadline, given_up))
        for trickle in (True, False)
    ]
    for thread in threads:
        thread.start()
    memory = []
    while (left := deadline - time.perf_counter()) > 0:
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
        "given_up": sum(status == 408 for status in given_up),
        "slow": len(given_up),
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
    good = [classify_bytes(file.read_bytes()) for file in files]
    server = Server(options.model)
    rows = []
    try:
        measure(server, good, 2, 2)  # warm-up
        for clients in options.clients:
            rows.append(measure(server, good, clients, options.seconds))
            if not options.json:
                print(rows[-1], flush=True)
    finally:
        code = server.stop()
    if options.json:
        print(json.dumps(rows, indent=1))
    for line in server.complaints:
        print(f"server: {line}", file=sys.stderr)
    wrong = any(
        row["failed"] or row["refused_malformed"] < row["malformed"] or row["given_up"] < row["slow"]
        for row in rows
    )
    if wrong or code not in (0, -15):
        raise SystemExit(f"the server failed requests or ended with {code}")


if __name__ == "__main__":
    main()

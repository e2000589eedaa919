"""The server over real HTTP on a free port of the loopback."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from saved_networks import bomb, picture, pixels, saved_network

from keras_resnet.errors import UserError
from keras_resnet.export import export_model
from keras_resnet.serving.endpoints import Endpoint, load_served

starlette = pytest.importorskip("starlette", reason="needs the extra keras-resnet[serve]")
uvicorn = pytest.importorskip("uvicorn", reason="needs the extra keras-resnet[serve]")

from keras_resnet.serving import server  # noqa: E402
from keras_resnet.serving.connections import bounded  # noqa: E402
from keras_resnet.serving.server import Limits, _listen, make_app, serve  # noqa: E402

pytestmark = pytest.mark.usefixtures("shallow_networks")
FILE = picture("JPEG", 2)
B64 = {"b64": base64.b64encode(FILE).decode()}


def wait_until(true, seconds=60):
    """Wait for what comes in a moment, or on a busy machine in several."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


class Running:
    """An application served in a thread."""

    def __init__(self, app, limits=None):
        limits = limits or Limits()
        protocol = bounded(limits.seconds, limits.connections)
        config = uvicorn.Config(app, port=0, log_level="critical", http=protocol)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        wait_until(lambda: self.server.started)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        data = json.dumps(body).encode() if isinstance(body, dict | list) else body
        connection.request(method, path, data, headers or {})
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        kind = reply.headers["content-type"]
        return reply.status, json.loads(content) if kind == "application/json" else content.decode()

    def stop(self):
        self.server.should_exit = True
        self.thread.join()


@pytest.fixture(scope="module")
def export(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("home")
    return Path(export_model(str(saved_network(home / "m.keras", classes=7)), str(home / "pets")).path).parent


@pytest.fixture(scope="module")
def served(export):
    return load_served(str(export))


@pytest.fixture(scope="module")
def running(served):
    running = Running(make_app(served, Limits(body=200_000, batch=4)))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def of_keras(export):
    running = Running(make_app(load_served(export.parent / "m.keras", "pets")))
    yield running
    running.stop()


def test_status(running):
    expected = {
        "model_version_status": [
            {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }
    assert running.ask("GET", "/v1/models/pets") == (200, expected)
    assert running.ask("GET", "/v1/models/pets/versions/1") == (200, expected)


def test_metadata_names_endpoints_inputs_and_outputs(running, of_keras):
    code, data = running.ask("GET", "/v1/models/pets/metadata")
    assert (code, data["model_spec"]["name"]) == (200, "pets")
    signatures = data["metadata"]["signature_def"]["signature_def"]
    assert sorted(signatures) == ["classify_bytes", "explain", "features", "serving_default"]
    assert signatures["classify_bytes"]["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    shape = signatures["serving_default"]["inputs"]["images"]["tensor_shape"]["dim"]
    assert [side["size"] for side in shape] == ["-1", "-1", "-1", "3"]
    outputs = signatures["classify_bytes"]["outputs"]
    assert {name: output["dtype"] for name, output in outputs.items()} == {
        "probabilities": "DT_FLOAT",
        "top_probabilities": "DT_FLOAT",
        "top_labels": "DT_STRING",
    }
    assert [side["size"] for side in outputs["top_labels"]["tensor_shape"]["dim"]] == ["-1", "5"]
    theirs = of_keras.ask("GET", "/v1/models/pets/metadata")[1]["metadata"]["signature_def"]["signature_def"]
    assert theirs == signatures


@pytest.mark.parametrize("path", ["/v1/models/pets:predict", "/v1/models/pets/versions/1:predict"])
def test_predict_on_pixels(running, served, path):
    images = np.stack([pixels(seed, 32, 32) for seed in range(2)])
    code, data = running.ask("POST", path, {"instances": images.tolist()})
    expected = served.endpoints["serving_default"].run({"images": images.astype(np.float32)})
    assert code == 200
    np.testing.assert_allclose(data["predictions"], expected["probabilities"], rtol=0, atol=1e-6)


def test_predict_on_files(running, served):
    body = {"signature_name": "classify_bytes", "instances": [B64, {"b64": B64["b64"]}]}
    code, data = running.ask("POST", "/v1/models/pets:predict", body)
    expected = served.endpoints["classify_bytes"].run({"image_bytes": np.array([FILE], object)})
    assert code == 200
    assert data["predictions"][0] == data["predictions"][1]
    assert data["predictions"][0]["top_labels"] == [x.decode() for x in expected["top_labels"][0]]
    np.testing.assert_allclose(
        data["predictions"][0]["probabilities"], expected["probabilities"][0], rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "message"),
    [
        ("GET", "/v1/models/cats", None, 404, "no model 'cats'"),
        ("GET", "/v1/models/pets/versions/7", None, 404, "version 7"),
        ("GET", f"/v1/models/pets/versions/{'7' * 5000}", None, 404, "version 7777"),
        ("POST", "/v1/models/cats:predict", {}, 404, "no model 'cats'"),
        ("GET", "/v1/models/pets:predict", None, 404, "no model 'pets:predict'"),
        ("POST", "/v1/models/pets", b"", 405, "Method Not Allowed"),
        ("GET", "/nowhere", None, 404, "Not Found"),
        ("POST", "/v1/models/pets:predict", b"{", 400, "not JSON"),
        ("POST", "/v1/models/pets:predict", {"instances": [[1]]}, 400, "shape"),
        ("POST", "/v1/models/pets:predict", {"instances": [[[[0, 0, 0]]]] * 5}, 400, "1 to 4 examples"),
        ("POST", "/v1/models/pets:predict", b"x" * 200_001, 413, "may have at most 200000 bytes"),
        ("POST", "/look", b"hello", 400, "not a readable"),
        ("POST", "/look", bomb(), 400, "not a readable"),
    ],
)
def test_refusals_are_json_with_the_reason(running, method, path, body, code, message):
    status, data = running.ask(method, path, body)
    assert status == code
    assert message in data["error"]


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"hello", "not a JPEG, PNG, BMP or GIF image"),
        (b"", "not a JPEG, PNG, BMP or GIF image"),
        (FILE[:100], "Invalid JPEG data, size 100"),
        (picture("PNG")[:60], "Invalid PNG data, size 60"),
        (picture("BMP")[:28] + b"\1" + picture("BMP")[29:], "BMP of an unsupported kind"),
        (bomb(), "not between 1 and 67,108,864 pixels: height and width 60000 60000"),
    ],
    ids=["text", "empty", "cut JPEG", "cut PNG", "1-bit BMP", "bomb"],
)
@pytest.mark.parametrize("form", ["export", "keras"])
def test_bad_files_are_refused_with_the_reason_and_the_next_one_is_answered(
    running, of_keras, form, contents, reason
):
    server = running if form == "export" else of_keras
    bad = {"b64": base64.b64encode(contents).decode()}
    body = {"signature_name": "classify_bytes", "instances": [B64, bad]}
    status, data = server.ask("POST", "/v1/models/pets:predict", body)
    assert (status, data["error"].startswith("example 1: ")) == (400, True)
    assert reason in data["error"] and "\n" not in data["error"] and "{" not in data["error"]
    body["instances"] = [B64]
    assert server.ask("POST", "/v1/models/pets:predict", body)[0] == 200


def test_a_body_without_a_length_is_limited_too(running):
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    connection.request("POST", "/look", iter([b"x" * 50_000] * 5), encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_compressed_body_is_refused_with_the_reason(running):
    body = gzip.compress(b'{"instances": []}')
    status, data = running.ask("POST", "/v1/models/pets:predict", body, {"Content-Encoding": "gzip"})
    assert (status, "without Content-Encoding" in data["error"]) == (415, True)


def test_the_page_and_what_it_asks_for(running, served):
    code, page = running.ask("GET", "/")
    assert code == 200
    assert "What is in this picture?" in page
    code, data = running.ask("POST", "/look", FILE)
    assert code == 200
    assert len(data["top"]) == 5
    assert data["top"][0]["probability"] >= data["top"][1]["probability"]
    for key in ("view", "overlay"):
        assert base64.b64decode(data[key].removeprefix("data:image/png;base64,"))[:4] == b"\x89PNG"
    assert data["view"] != data["overlay"]


def answering(run):
    """The endpoint of pixels, answered by that function."""
    return {"serving_default": Endpoint({"images": (np.dtype(np.float32), (None, None, None, 3))}, run)}


def test_what_takes_too_long_or_waits_too_long_is_refused(served):
    free = threading.Event()

    def held(arrays):
        free.wait()
        return {"probabilities": np.zeros((1, 7))}

    running = Running(make_app(replace(served, endpoints=answering(held)), Limits(seconds=0.3, waiting=3)))
    try:
        body = {"instances": [[[[0, 0, 0]]]]}
        codes = []

        def ask():
            codes.append(running.ask("POST", "/v1/models/pets:predict", body)[0])

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(codes) == [503] * 5 + [504] * 3
        assert running.ask("GET", "/v1/models/pets")[0] == 200
        # The threads are still at work for those who have gone.
        assert running.ask("POST", "/v1/models/pets:predict", body)[0] == 503
        free.set()
        wait_until(lambda: running.ask("POST", "/v1/models/pets:predict", body)[0] == 200)
    finally:
        free.set()
        running.stop()


def test_a_slow_body_is_given_up(served):
    running = Running(make_app(served, Limits(seconds=0.3)))
    try:
        with socket.create_connection(("127.0.0.1", running.port)) as client:
            client.sendall(b"POST /look HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
            client.settimeout(10)
            assert client.recv(1000).startswith(b"HTTP/1.1 408")
    finally:
        running.stop()


def closed(client, seconds=60):
    """Whether the other side ends the connection before it has said anything."""
    client.settimeout(seconds)
    try:
        return client.recv(1000) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_a_slow_head_is_given_up_however_it_trickles_in(served):
    limits = Limits(seconds=0.5)
    running = Running(make_app(served, limits), limits)
    try:
        silent, slow = (socket.create_connection(("127.0.0.1", running.port)) for _ in range(2))

        def ended_after_one_more_byte():
            with suppress(ConnectionError):
                slow.sendall(b"x")
            return closed(slow, 0.05)

        with silent, slow:
            slow.sendall(b"GET / HTTP/1.1\r\nX-Long: ")
            wait_until(ended_after_one_more_byte)
            assert closed(silent)
        assert running.ask("GET", "/v1/models/pets")[0] == 200
    finally:
        running.stop()


def test_a_client_that_takes_no_answer_is_given_up(served):
    endpoints = answering(lambda arrays: {"probabilities": np.zeros((1, 3_000_000))})
    # Half a second is for the client: on a busy machine the answer itself takes longer.
    running = Running(make_app(replace(served, endpoints=endpoints)), Limits(seconds=0.5))
    try:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", running.port))
            body = b'{"instances": [[[[0, 0, 0]]]]}'
            client.sendall(
                b"POST /v1/models/pets:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
            )
            client.sendall(body)
            state = running.server.server_state
            wait_until(lambda: state.total_requests and not state.connections)
    finally:
        running.stop()


def test_connections_and_bodies_are_counted(served):
    limits = Limits(held=1000, connections=2)
    running = Running(make_app(served, limits), limits)
    try:
        assert running.ask("POST", "/look", b"x" * 1001)[0] == 503
        for _ in range(3):  # what is refused or answered is held no longer
            assert running.ask("POST", "/look", b"x" * 600)[0] == 400
        first, second, third = (socket.create_connection(("127.0.0.1", running.port)) for _ in range(3))
        with first, second, third:
            assert closed(third)
    finally:
        running.stop()


def test_a_client_that_leaves_within_its_body_is_no_error_of_ours(running, monkeypatch):
    said = []
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "error", lambda *args, **_: said.append(args))
    with socket.create_connection(("127.0.0.1", running.port)) as client:
        client.sendall(b"POST /look HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        wait_until(lambda: running.server.server_state.tasks)
    wait_until(lambda: not running.server.server_state.tasks)
    assert running.ask("GET", "/v1/models/pets")[0] == 200
    assert said == []


def test_an_error_of_ours_is_500_and_the_server_goes_on(served):
    def broken(arrays):
        raise RuntimeError("out of order")

    running = Running(make_app(replace(served, endpoints=answering(broken))))
    try:
        body = {"instances": [[[[0, 0, 0]]]]}
        for _ in range(2):
            assert running.ask("POST", "/v1/models/pets:predict", body) == (
                500,
                {"error": "RuntimeError: out of order"},
            )
    finally:
        running.stop()


def test_a_client_that_is_busy_sending_reads_why_it_is_refused(running):
    """The connection does not end under its hands: 40 MiB are more than the sockets' buffers hold."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    connection.request("POST", "/v1/models/pets:predict", b"x" * (40 * 2**20))
    answer = connection.getresponse()
    assert (answer.status, list(json.loads(answer.read()))) == (413, ["error"])
    connection.close()


def test_answers_are_not_held_back():
    with _listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP  # what asyncio's TCP_NODELAY depends on


def test_a_taken_port_and_a_missing_model_are_named(export, served, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=rf"cannot serve on 127\.0\.0\.1:{port}: Address already in use"):
            serve(str(export), port=port)

    def meanwhile(path, name):
        others.append(socket.create_server(("127.0.0.1", port)))
        return served

    others = []
    monkeypatch.setattr(server, "load_served", meanwhile)
    with pytest.raises(UserError, match=rf"cannot serve on 127\.0\.0\.1:{port}: Address already in use"):
        serve(str(export), port=port)
    others[0].close()
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"cannot serve on 127\.0\.0\.1:99999"):
        serve(str(export), port=99999)
    with pytest.raises(UserError, match=r"no model at .*nowhere"):
        serve(str(tmp_path / "nowhere"), port=0)


def test_its_url_can_be_followed_whatever_the_name(served, monkeypatch, capsys):
    monkeypatch.setattr(server, "load_served", lambda path, name: replace(served, name="my pets?"))
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    serve("pets", port=0)
    assert "/v1/models/my%20pets%3F:predict" in capsys.readouterr().err


def test_a_signal_ends_it_after_the_request_under_way(export):
    program = (
        "import sys, time\n"
        "from keras_resnet.serving import server, rest\n"
        "parse = rest.parse\n"
        "def slow(*args):\n"
        "    print('at work', file=sys.stderr, flush=True)\n"
        "    time.sleep(1)\n"
        "    return parse(*args)\n"
        "rest.parse = slow\n"
        "server.serve(sys.argv[1], port=0)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(export)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )

    def line_of(start):
        return next(line for line in process.stderr if line.startswith(start))

    try:
        address = line_of("serving pets, version 1: page http://127.0.0.1:")
        port = int(address.split("127.0.0.1:")[1].split("/")[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        body = {"signature_name": "classify_bytes", "instances": [B64]}
        connection.request("POST", "/v1/models/pets:predict", json.dumps(body))
        line_of("at work")
        process.send_signal(signal.SIGTERM)
        assert connection.getresponse().status == 200
        connection.close()
        process.stderr.read()
        assert process.wait(60) in (0, -signal.SIGTERM)
    finally:
        process.kill()


def test_ctrl_c_is_no_error(export, monkeypatch):
    """uvicorn ends the requests under way, as at SIGTERM, and raises Ctrl-C again."""

    def interrupted(self, sockets):
        raise KeyboardInterrupt

    monkeypatch.setattr(uvicorn.Server, "run", interrupted)
    assert serve(str(export), port=0) is None

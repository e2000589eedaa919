"""`keras-resnet serve`: TensorFlow Serving's REST API at your desk, and a page to drop pictures on.

Production is TensorFlow Serving itself (docs/serving.md); this is its small twin for trying clients and
looking at pictures. Starlette and uvicorn do the HTTP (extra `serve`).
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import tensorflow as tf

from keras_resnet.data.faults import UNREADABLE, reason
from keras_resnet.data.loading import CORES
from keras_resnet.errors import UserError
from keras_resnet.serving import rest
from keras_resnet.serving.endpoints import Served, load_served
from keras_resnet.serving.page import PAGE, POLICY, look_at

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response


@dataclass(frozen=True)
class Limits:
    """What one request may take, and all of them.

    `body` in bytes; `seconds` for its head, its body, its answer, and for its client to take that; `batch`
    in examples. Of all requests: `held` are the bytes of bodies in memory, `waiting` the requests at work or
    in line, beyond which the answer is 503; more `connections` are closed as they come; `threads` work.
    """

    body: int = 32 * 2**20
    seconds: float = 30.0
    batch: int = 64
    held: int = 256 * 2**20
    waiting: int = 64
    connections: int = 512
    threads: int = min(8, CORES)


def serve(
    model_path: str | os.PathLike[str], host: str = "127.0.0.1", port: int = 8501, name: str | None = None
) -> None:
    """Serve a network until Ctrl-C or SIGTERM; requests under way are answered first.

    Args:
        model_path: an export, a run folder or a `.keras` file.
        host: address to bind to; the default is reachable from this machine only.
        port: 0 for any free one; the line that says where it serves names it.
        name: the model's name in the URL; that of its folder or file by default.

    Raises:
        UserError: the model cannot be read, the address is taken, or a package is missing.
    """
    try:
        import uvicorn

        from keras_resnet.serving.connections import bounded
    except ImportError as error:
        raise UserError(
            "serving needs starlette and uvicorn; install them with: pip install 'keras-resnet[serve]'"
        ) from error
    # TensorFlow reads this when its first layer runs: 3 to 8 % less time a request (docs/serving.md).
    os.environ.setdefault("TF_ONEDNN_THREADPOOL_USE_CALLER_THREAD", "1")
    listener = _listen(host, port)
    with listener:
        served = load_served(model_path, name)
        limits = Limits()
        config = uvicorn.Config(
            make_app(served, limits),
            http=bounded(limits.seconds, limits.connections),
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=int(limits.seconds),
            timeout_keep_alive=75,
        )
        try:
            listener.listen(128)  # before the line that says so
        except OSError as error:  # somebody else listens there since
            raise _not_bound(host, port, error) from error
        address = f"http://{_in_url(host)}:{listener.getsockname()[1]}"
        print(
            f"serving {served.name}, version {served.version}: page {address}/, REST "
            f"{address}/v1/models/{quote(served.name)}:predict; stop with Ctrl-C",
            file=sys.stderr,
            flush=True,
        )
        # uvicorn has ended the requests under way when it raises the Ctrl-C that it caught.
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol by name: asyncio sets TCP_NODELAY only then, and without it every answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise _not_bound(host, port, error) from error
    return listener


def _not_bound(host: str, port: int, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or error
    return UserError(f"cannot serve on {_in_url(host)}:{port}: {reason}; choose another --port or --host")


def _in_url(host: str) -> str:
    """An IPv6 address stands in brackets there."""
    return f"[{host}]" if ":" in host else host


class Refused(Exception):
    """A request that is answered with a status and a message instead of a result."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class Worker:
    """Runs requests on a few threads; refuses them where too many wait, or one is too long or too slow."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.threads = ThreadPoolExecutor(limits.threads, thread_name_prefix="predict")
        self.waiting = 0
        self.held = 0

    async def run(self, request: Request, function: Callable[[bytes], bytes]) -> bytes:
        """The result of `function` of the request's body, on one of the threads.

        Raises:
            Refused: 408, 413 or 415 for the body, 503 or 504 for lack of threads or time, 400 for values that
                make no sense.
        """
        body = await self._read(request)
        late = time.monotonic() + self.limits.seconds

        def work() -> bytes:
            if time.monotonic() >= late:
                raise TimeoutError  # nobody waits for it any more, or the clock below is just about to end it
            return function(body)

        if self.waiting >= self.limits.waiting:
            self.held -= len(body)
            raise Refused(503, "too many requests are waiting; try again later")
        self.waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self.threads, work)
        # Both count until its thread is free again, which may be long after its client was told 504.
        future.add_done_callback(partial(self._finished, len(body)))
        try:
            return await asyncio.wait_for(asyncio.shield(future), self.limits.seconds)
        except TimeoutError as error:
            raise Refused(504, f"no answer within {self.limits.seconds:g} seconds") from error
        except rest.BadRequest as error:
            raise Refused(400, str(error)) from error
        except tf.errors.ResourceExhaustedError as error:
            raise Refused(503, "not enough memory for this request; send fewer examples at once") from error
        except (*UNREADABLE, UserError) as error:
            raise Refused(400, reason(error)) from error

    def _finished(self, size: int, future: asyncio.Future[bytes]) -> None:
        self.waiting -= 1
        self.held -= size
        if not future.cancelled():
            future.exception()  # seen, so that nobody complains about one whose client has gone

    async def _read(self, request: Request) -> bytes:
        """The body, which counts as held from now on."""
        from starlette.requests import ClientDisconnect

        limits = self.limits
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refused(415, "compressed bodies are not read here: send it without Content-Encoding")
        too_long = Refused(413, f"the body may have at most {limits.body} bytes")
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > limits.body:
            raise too_long
        parts, size = [], 0
        try:
            async with asyncio.timeout(limits.seconds):
                async for part in request.stream():
                    size += len(part)
                    self.held += len(part)
                    if size > limits.body:
                        raise too_long
                    if self.held > limits.held:
                        raise Refused(503, "too many requests are waiting; try again later")
                    parts.append(part)
        except BaseException as error:
            self.held -= size
            if isinstance(error, TimeoutError):
                raise Refused(408, f"the body did not arrive within {limits.seconds:g} seconds") from error
            if isinstance(error, ClientDisconnect):
                raise Refused(400, "the body ended early") from error  # nobody is there to read it
            raise
        return b"".join(parts)


def make_app(served: Served, limits: Limits | None = None) -> Starlette:
    """The ASGI application for one network."""
    from starlette.applications import Starlette
    from starlette.responses import HTMLResponse, Response
    from starlette.routing import Route

    limits = limits or Limits()
    worker = Worker(limits)
    state = {
        "model_version_status": [
            {
                "version": str(served.version),
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }

    async def status(request: Request) -> Response:
        _check_name(request, served)
        return _json(rest.to_json(state))

    async def metadata(request: Request) -> Response:
        _check_name(request, served)
        return _json(rest.to_json(rest.metadata(served)))

    async def predict(request: Request) -> Response:
        _check_name(request, served)

        def run(body: bytes) -> bytes:
            parsed = rest.parse(body, served.endpoints, limits.batch)
            return rest.answer(served.endpoints[parsed.endpoint].answer(parsed.arrays), parsed.by_row)

        return _json(await worker.run(request, run))

    async def look(request: Request) -> Response:
        return _json(await worker.run(request, lambda body: rest.to_json(look_at(body, served))))

    async def page(request: Request) -> Response:
        return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})

    async def refused(request: Request, error: Any) -> Response:
        headers = {"Retry-After": "1"} if error.status == 503 else {}
        if error.status == 408:
            headers["Connection"] = "close"
        # Otherwise what is left of the body is still taken, within the time that a request has: a client that
        # is busy sending when the connection ends never reads the answer.
        return _json(rest.error_body(str(error)), error.status, headers)

    async def failed(request: Request, error: Any) -> Response:
        return _json(rest.error_body(f"{type(error).__name__}: {reason(error)}"), 500)

    async def not_found(request: Request, error: Any) -> Response:
        return _json(
            rest.error_body(f"{request.method} {request.url.path}: {error.detail}"), error.status_code
        )

    def _json(body: bytes, code: int = 200, headers: dict[str, str] | None = None) -> Response:
        return Response(body, code, headers, media_type="application/json")

    names = "/v1/models/{name}", "/v1/models/{name}/versions/{version}"
    routes = [Route("/", page), Route("/look", look, methods=["POST"])]
    for prefix in names:
        # The longer patterns first: {name} would match "resnet20:predict" as well.
        routes.append(Route(f"{prefix}:predict", predict, methods=["POST"]))
        routes.append(Route(f"{prefix}/metadata", metadata))
    routes += [Route(prefix, status) for prefix in names]
    handlers: dict[Any, Any] = {Refused: refused, 404: not_found, 405: not_found, 500: failed}
    return Starlette(routes=routes, exception_handlers=handlers)


def _check_name(request: Request, served: Served) -> None:
    there = str(served.version)  # compared as text: a number of thousands of digits is an error in itself
    name, version = request.path_params["name"], request.path_params.get("version", there)
    if (name, version) != (served.name, there):
        raise Refused(404, f"no model {name!r} of version {version}; there is {served.name!r}, {there}")

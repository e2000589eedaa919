"""`keras-resnet serve`: TensorFlow Serving's REST API at your desk, and a page to drop pictures on.

Production is TensorFlow Serving itself (docs/serving.md); this is its small twin for trying clients and
looking at pictures. Starlette and uvicorn do the HTTP (extra `serve`).
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tensorflow as tf

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
    """What one request may take.

    `body` in bytes; `seconds` for its body to arrive, and again for its answer; `batch` in examples;
    `waiting` is the number of requests at work or in line beyond which the server answers 503.
    """

    body: int = 32 * 2**20
    seconds: float = 30.0
    batch: int = 64
    waiting: int = 64


def serve(model_path: str, host: str = "127.0.0.1", port: int = 8501, name: str | None = None) -> None:
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
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=int(limits.seconds),
            timeout_keep_alive=75,
        )
        listener.listen(128)  # before the line that says so
        address = f"http://{host}:{listener.getsockname()[1]}"
        print(
            f"serving {served.name}, version {served.version}: page {address}/, REST "
            f"{address}/v1/models/{served.name}:predict; stop with Ctrl-C",
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
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot serve on {host}:{port}: {reason}; choose another --port") from error
    return listener


class Refused(Exception):
    """A request that is answered with a status and a message instead of a result."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class Worker:
    """Runs requests on a few threads, and refuses them where too many wait or one takes too long."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.threads = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="predict")
        self.waiting = 0

    async def run(self, function: Callable[[], bytes]) -> bytes:
        """The result of `function` on one of the threads.

        Raises:
            Refused: 503 or 504 for lack of threads or time, 400 for values that make no sense.
        """
        if self.waiting >= self.limits.waiting:
            raise Refused(503, "too many requests wait; try again later")
        self.waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self.threads, function)
        # It counts until its thread is free again, which may be long after its client was told 504.
        future.add_done_callback(self._finished)
        try:
            return await asyncio.wait_for(asyncio.shield(future), self.limits.seconds)
        except TimeoutError as error:
            future.cancel()  # takes it out of the line, where it has not begun
            raise Refused(504, f"no answer within {self.limits.seconds:g} seconds") from error
        except rest.BadRequest as error:
            raise Refused(400, str(error)) from error
        except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError, UserError) as error:
            raise Refused(400, _first_line(error)) from error

    def _finished(self, future: asyncio.Future[bytes]) -> None:
        self.waiting -= 1
        if not future.cancelled():
            future.exception()  # seen, so that nobody complains about one whose client has gone


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
        body = await _read(request, limits)

        def run() -> bytes:
            parsed = rest.parse(body, served.endpoints, limits.batch)
            return rest.answer(served.endpoints[parsed.endpoint].run(parsed.arrays), parsed.by_row)

        return _json(await worker.run(run))

    async def look(request: Request) -> Response:
        body = await _read(request, limits)
        return _json(await worker.run(lambda: rest.to_json(look_at(body, served))))

    async def page(request: Request) -> Response:
        return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})

    async def refused(request: Request, error: Any) -> Response:
        headers = {"Retry-After": "1"} if error.status == 503 else {}
        if error.status in (408, 413):
            headers["Connection"] = "close"  # the rest of the body is not read
        return _json(rest.error_body(str(error)), error.status, headers)

    async def failed(request: Request, error: Any) -> Response:
        return _json(rest.error_body(f"{type(error).__name__}: {_first_line(error)}"), 500)

    async def not_found(request: Request, error: Any) -> Response:
        return _json(
            rest.error_body(f"{request.method} {request.url.path}: {error.detail}"), error.status_code
        )

    def _json(body: bytes, code: int = 200, headers: dict[str, str] | None = None) -> Response:
        return Response(body, code, headers, media_type="application/json")

    names = "/v1/models/{name}", "/v1/models/{name}/versions/{version:int}"
    routes = [Route("/", page), Route("/look", look, methods=["POST"])]
    for prefix in names:
        # The longer patterns first: {name} would match "resnet20:predict" as well.
        routes.append(Route(f"{prefix}:predict", predict, methods=["POST"]))
        routes.append(Route(f"{prefix}/metadata", metadata))
    routes += [Route(prefix, status) for prefix in names]
    handlers: dict[Any, Any] = {Refused: refused, 404: not_found, 405: not_found, 500: failed}
    return Starlette(routes=routes, exception_handlers=handlers)


def _check_name(request: Request, served: Served) -> None:
    name, version = request.path_params["name"], request.path_params.get("version", served.version)
    if (name, version) != (served.name, served.version):
        raise Refused(
            404, f"no model {name!r} of version {version}; there is {served.name!r}, {served.version}"
        )


async def _read(request: Request, limits: Limits) -> bytes:
    """The body, unless it is too long or too slow."""
    message = f"the body may have {limits.body} bytes"
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limits.body:
        raise Refused(413, message)
    parts, size = [], 0
    try:
        async with asyncio.timeout(limits.seconds):
            async for part in request.stream():
                size += len(part)
                if size > limits.body:
                    raise Refused(413, message)
                parts.append(part)
    except TimeoutError as error:
        raise Refused(408, f"the body did not arrive within {limits.seconds:g} seconds") from error
    return b"".join(parts)


def _first_line(error: BaseException) -> str:
    lines = str(getattr(error, "message", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

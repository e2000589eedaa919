"""Small parts of the server that need no HTTP."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

pytest.importorskip("starlette", reason="needs the extra keras-resnet[serve]")

from keras_resnet.errors import UserError
from keras_resnet.serving import server


def test_what_waited_too_long_is_no_empty_answer(monkeypatch):
    """The thread comes after the deadline, before the waiting client's own clock has run out."""

    async def stream():
        yield b"body"

    times = iter([0.0, 31.0])  # when its body was there, when a thread is free
    monkeypatch.setattr(server, "time", SimpleNamespace(monotonic=lambda: next(times)))
    worker = server.Worker(server.Limits(seconds=30, threads=1))
    with pytest.raises(server.Refused, match="no answer within 30 seconds") as caught:
        asyncio.run(worker.run(SimpleNamespace(headers={}, stream=stream), lambda body: body))
    assert caught.value.status == 504
    assert (worker.waiting, worker.held) == (0, 0)


def test_an_address_of_ipv6_is_in_brackets():
    assert server._in_url("127.0.0.1") == "127.0.0.1"
    with pytest.raises(UserError, match=r"cannot serve on \[::1\]:99999"):
        server.serve("nowhere", host="::1", port=99999)

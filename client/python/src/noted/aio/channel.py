"""The connection to a server, and the calls over it, which are tried again as the core
says.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, AsyncIterator, Iterator, Optional, Tuple, TypeVar

import grpc
import grpc.aio

from ..core.calls import Call, seconds
from ..core.retry import Tries
from ..core.settings import Settings
from ..core.status import failure
from ..errors import Error
from ..transport import Process, credentials, process
from ..types import Seconds
from ..v1.noted_pb2_grpc import DedupeServiceStub

Answer = TypeVar("Answer")


class Channel:
    """The gRPC channel of the running event loop, made at the loop's first call. A client
    may be made before there is a loop, and used in one loop after the other.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened: Optional[Tuple[asyncio.AbstractEventLoop, grpc.aio.Channel]] = None
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        process("closing")
        if self._opened is not None and self._opened[0] is asyncio.get_running_loop():
            await self._opened[1].close()

    async def run(self, call: Call[Answer], timeout: Optional[Seconds]) -> Answer:
        """Makes one call, and tries again while it is UNAVAILABLE. Every request that notes
        has a request id, so a repeat after a lost reply gets the same answer.
        """
        length = self._settings.timeout if timeout is None else seconds(timeout)
        tries = Tries(self._settings.budget, call.repeatable, length, time.monotonic())
        rpc = getattr(self._stub(process(call.act)), call.rpc)
        while True:
            try:
                left = tries.left(time.monotonic())
                asked = rpc(call.request, timeout=left, metadata=self._settings.metadata(call.act))
                response = await _answer(call.act, asked)
                break
            except (grpc.RpcError, Error) as raised:
                failed = failure(call.act, raised)
                wait = tries.wait(failed, time.monotonic())
                if wait is None:
                    raise tries.telling(failed)
            await asyncio.sleep(wait)
        self._settings.budget.succeed()
        return call.answer(response)

    @contextlib.contextmanager
    def stream(self, requests: AsyncIterator[Any]) -> Iterator[Any]:
        """One stream of NoteDonations, which ends with the block."""
        open_stream = self._stub(process("noting")).NoteDonations
        stream = open_stream(requests, metadata=self._settings.metadata("noting"))
        try:
            yield stream
        finally:
            stream.cancel()

    def _stub(self, mine: Process) -> Any:
        loop = asyncio.get_running_loop()
        if self._opened is None or self._opened[0] is not loop:
            if self._closed:
                raise ValueError("the client was closed")
            mine.use()
            self._opened = loop, self._open()
        return DedupeServiceStub(self._opened[1])  # type: ignore[no-untyped-call]

    def _open(self) -> grpc.aio.Channel:
        trusted, settings = credentials(self._settings), self._settings
        if trusted is None:
            return grpc.aio.insecure_channel(settings.target, options=settings.options)
        return grpc.aio.secure_channel(settings.target, trusted, options=settings.options)


async def _answer(act: str, asked: Any) -> Any:
    """Awaits a call in a task of its own. gRPC cancels that task when the client is closed,
    and the caller's task must not take this for its own cancellation.
    """
    task = asyncio.ensure_future(asked)
    try:
        await asyncio.wait((task,))
    except asyncio.CancelledError:
        task.cancel()
        raise
    if task.cancelled():
        raise Error(act, "the client was closed", "CANCELLED")
    return task.result()

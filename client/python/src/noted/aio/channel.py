"""One connection to a server, and the calls over it, which are tried again as the core
says.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, AsyncIterator, Optional, TypeVar

import grpc
import grpc.aio

from ..core.calls import Call, Seconds, seconds
from ..core.retry import Tries
from ..core.settings import Settings
from ..core.status import failure
from ..errors import Error
from ..transport import credentials
from ..v1.noted_pb2_grpc import DedupeServiceStub

Answer = TypeVar("Answer")


class Channel:
    """A gRPC channel of one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        trusted = credentials(settings)
        if trusted is None:
            self._channel = grpc.aio.insecure_channel(settings.target, options=settings.options)
        else:
            self._channel = grpc.aio.secure_channel(settings.target, trusted, options=settings.options)
        self._stub: Any = DedupeServiceStub(self._channel)  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        await self._channel.close()

    async def run(self, call: Call[Answer], timeout: Optional[Seconds]) -> Answer:
        """Makes one call, and tries again while it is UNAVAILABLE. Every request that notes
        has a request id, so a repeat after a lost reply gets the same answer.
        """
        length = self._settings.timeout if timeout is None else seconds(timeout)
        tries = Tries(self._settings.budget, call.repeatable, length, time.monotonic())
        rpc = getattr(self._stub, call.rpc)
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
                    raise failed
            await asyncio.sleep(wait)
        self._settings.budget.succeed()
        return call.answer(response)

    def stream(self, requests: AsyncIterator[Any]) -> Any:
        """Opens one stream of NoteDonations."""
        return self._stub.NoteDonations(requests, metadata=self._settings.metadata("noting"))


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

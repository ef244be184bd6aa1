"""The connection to a server, and the calls over it, which are tried again as the core
says.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any, Dict, Iterator, Optional, TypeVar

import grpc

from .core.calls import Call, seconds
from .core.retry import Tries
from .core.settings import Settings
from .core.status import failure
from .errors import Error
from .transport import Process, credentials, process
from .types import Seconds
from .v1.noted_pb2_grpc import DedupeServiceStub

Answer = TypeVar("Answer")


class Channel:
    """The gRPC channel of this process, made at its first call. Any number of threads may
    use it. A channel of the process before a fork is kept and not closed, because closing
    it could hang.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened: Dict[Process, grpc.Channel] = {}
        self._closed = False

    def close(self) -> None:
        self._closed = True
        channel = self._opened.get(process("closing"))
        if channel is not None:
            channel.close()

    def run(self, call: Call[Answer], timeout: Optional[Seconds]) -> Answer:
        """Makes one call, and tries again while it is UNAVAILABLE. Every request that notes
        has a request id, so a repeat after a lost reply gets the same answer.
        """
        length = self._settings.timeout if timeout is None else seconds(timeout)
        tries = Tries(self._settings.budget, call.repeatable, length, time.monotonic())
        rpc = getattr(self._stub(process(call.act)), call.rpc)
        while True:
            try:
                left = tries.left(time.monotonic())
                response = rpc(call.request, timeout=left, metadata=self._settings.metadata(call.act))
                break
            except (grpc.RpcError, Error) as raised:
                failed = failure(call.act, raised)
                wait = tries.wait(failed, time.monotonic())
                if wait is None:
                    raise tries.telling(failed)
            time.sleep(wait)
        self._settings.budget.succeed()
        return call.answer(response)

    @contextlib.contextmanager
    def stream(self, requests: Iterator[Any]) -> Iterator[Any]:
        """One stream of NoteDonations, which ends with the block."""
        open_stream = self._stub(process("noting")).NoteDonations
        stream = open_stream(requests, metadata=self._settings.metadata("noting"))
        try:
            yield stream
        finally:
            stream.cancel()

    def _stub(self, mine: Process) -> Any:
        channel = self._opened.get(mine)
        if channel is None:
            if self._closed:
                raise ValueError("the client was closed")
            mine.use()
            made = self._open()
            channel = self._opened.setdefault(mine, made)  # another thread may have been first
            if channel is not made:
                made.close()
        return DedupeServiceStub(channel)  # type: ignore[no-untyped-call]

    def _open(self) -> grpc.Channel:
        trusted, settings = credentials(self._settings), self._settings
        if trusted is None:
            return grpc.insecure_channel(settings.target, options=settings.options)
        return grpc.secure_channel(settings.target, trusted, options=settings.options)

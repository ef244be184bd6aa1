"""The stream of the asyncio client, over as many gRPC streams as it takes. Its parts are those of
_stream.py.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, AsyncIterable, AsyncIterator, Deque, Iterable, List, Optional, Union

import grpc

from . import _calls
from ._retry import MAX_TRIES, retriable, wait_after
from ._status import failed, failure
from ._stream import WINDOW, act, breach, ended_early
from .errors import Error, WrongAnswer
from .types import NoteRequest, NoteResult
from .v1 import noted_pb2 as pb

if TYPE_CHECKING:
    from .aio import Client

_Source = Union[Iterable[NoteRequest], AsyncIterable[NoteRequest]]


class _Queue:
    """What is to be asked and what was asked, between three tasks: the one that reads the source,
    gRPC's that sends, and the consumer's.
    """

    def __init__(self) -> None:
        self.changed = asyncio.Event()  # set and cleared at each change; waiters look again
        self.waiting: Deque[NoteRequest] = deque()  # to be asked
        self.asked: Deque[NoteRequest] = deque()  # on the stream that is open, oldest first
        self.ended = False  # the source has no more
        self.trouble: Optional[Exception] = None  # the source raised

    def change(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    async def read(self, source: _Source) -> None:
        try:
            async for request in _each(source):
                request = _calls.with_request_id(request)
                _calls.to_request(
                    request
                )  # a request that cannot be sent is the source's trouble, and not the stream's
                while len(self.waiting) + len(self.asked) >= WINDOW:
                    await self.changed.wait()
                self.waiting.append(request)
                self.change()
        except Exception as trouble:
            self.trouble = trouble
        finally:
            self.ended = True
            self.change()

    async def more(self) -> bool:
        """Waits for something to ask, so that no stream is opened for nothing; False at the end
        of it all.
        """
        while not self.waiting and not self.ended:
            await self.changed.wait()
        return bool(self.waiting)

    async def requests(self, closed: asyncio.Event) -> AsyncIterator[pb.NoteDonationsRequest]:
        """What one gRPC stream sends, until the source ends or the stream is closed."""
        while True:
            while not self.waiting and not self.ended and not closed.is_set():
                await self.changed.wait()
            if closed.is_set() or not self.waiting:
                return
            request = self.waiting.popleft()
            self.asked.append(request)
            yield pb.NoteDonationsRequest(request=_calls.to_request(request))

    def answered(self) -> Optional[NoteRequest]:
        request = self.asked.popleft() if self.asked else None
        self.change()
        return request

    def close(self, closed: asyncio.Event) -> None:
        """Ends the sending; what was asked and not answered is to be asked again."""
        closed.set()
        self.waiting.extendleft(reversed(self.asked))
        self.asked.clear()
        self.change()

    def take(self) -> List[NoteRequest]:
        """Everything that was to be asked again."""
        requests = list(self.waiting)
        self.waiting.clear()
        self.change()
        return requests


async def _each(source: _Source) -> AsyncIterator[NoteRequest]:
    if isinstance(source, AsyncIterable):
        async for request in source:
            yield request
    else:
        for request in source:
            yield request


async def notes(client: Client, source: _Source) -> AsyncIterator[NoteResult]:
    queue = _Queue()
    reader = asyncio.ensure_future(queue.read(source))
    tries = 0  # since the last answer
    try:
        while await queue.more():
            closed = asyncio.Event()
            stream: Any = None
            broken: Optional[Error] = None
            try:
                stream = client._stub.NoteDonations(queue.requests(closed), metadata=client._settings.metadata())
                async for response in stream:
                    request = queue.answered()
                    if request is None:
                        broken = breach("the server answered what it was not asked")
                        break
                    tries = 0
                    result = await _result(client, request, response)
                    yield result
                    if isinstance(result.error, WrongAnswer):
                        broken = result.error  # the answers that follow may be those to other requests, too
                        break
                if broken is None and (queue.asked or queue.waiting):
                    broken = ended_early()
            except grpc.RpcError as error:
                broken = failure("noting", error)
            finally:
                queue.close(closed)
                if stream is not None:
                    stream.cancel()
            if broken is None or not queue.waiting:
                continue  # all is answered, or an idle stream was closed
            tries += 1
            if retriable(broken):
                if client._settings.budget.spend() and tries < MAX_TRIES:
                    await asyncio.sleep(wait_after(tries, broken))
                    continue
                tries = 0
                for request in queue.take():
                    yield NoteResult(request, None, broken)
            else:
                # One of them broke the stream for all: each is asked by itself, and only
                # that one fails.
                tries = 0
                for request in queue.take():
                    yield await _alone(client, request)
        if queue.trouble is not None:
            raise queue.trouble
    finally:
        reader.cancel()


async def _result(client: Client, request: NoteRequest, response: Any) -> NoteResult:
    """One that the store could not answer is asked again by itself, while the others wait their
    turn.
    """
    budget = client._settings.budget
    if response.WhichOneof("result") != "error":
        budget.succeed()
        try:
            return NoteResult(request, _calls.response_to(request, response.response), None)
        except WrongAnswer as wrong:
            return NoteResult(request, None, wrong)
    error = failed(act(request), response.error.code, response.error.message, response.error.reason)
    if not retriable(error) or not budget.spend():
        return NoteResult(request, None, error)
    await asyncio.sleep(wait_after(1, error))
    return await _alone(client, request)


async def _alone(client: Client, request: NoteRequest) -> NoteResult:
    try:
        response = await client._run(_calls.note(request), None)
    except Error as error:
        return NoteResult(request, None, error)
    return NoteResult(request, response, None)

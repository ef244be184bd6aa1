"""notes(): many requests over one stream, which is opened again when it breaks."""

from __future__ import annotations

import asyncio
from typing import AsyncIterable, AsyncIterator, Iterable, List, Optional, Union

import grpc

from ..core import calls
from ..core.retry import Budget
from ..core.status import failure
from ..core.stream import Backlog, Course, check, ended_early, prepare
from ..errors import Error
from ..types import NoteRequest, NoteResult
from ..v1 import noted_pb2 as pb
from .channel import Channel

_Source = Union[Iterable[NoteRequest], AsyncIterable[NoteRequest]]


class Queue:
    """The backlog of three tasks: one reads the source, gRPC's sends, the consumer's takes
    the answers.
    """

    def __init__(self) -> None:
        self._backlog = Backlog()
        self._changed = asyncio.Event()  # set and replaced at each change; waiters look again
        self._reader: Optional[asyncio.Future[None]] = None

    def start(self, source: _Source) -> None:
        """Begins to read the source."""
        self._reader = asyncio.ensure_future(self._read(source))

    def stop(self) -> None:
        """Ends the reading: the consumer has left."""
        if self._reader is not None:
            self._reader.cancel()

    async def _read(self, source: _Source) -> None:
        """Reads the source to its end, never far ahead of the answers."""
        backlog = self._backlog
        try:
            async for request in _each(source):
                request = prepare(request)
                while backlog.full:
                    await self._changed.wait()
                backlog.waiting.append(request)
                self._change()
        except Exception as trouble:
            backlog.trouble = trouble
        finally:
            backlog.ended = True
            self._change()

    async def more(self) -> bool:
        """Waits for a request, so that no stream is opened for nothing. False at the end.
        Raises what the source raised.
        """
        while not self._backlog.waiting and not self._backlog.ended:
            await self._changed.wait()
        if not self._backlog.waiting and self._backlog.trouble is not None:
            raise self._backlog.trouble
        return bool(self._backlog.waiting)

    async def requests(self, closed: asyncio.Event) -> AsyncIterator[pb.NoteDonationsRequest]:
        """The requests of one gRPC stream, until the source ends or the stream is closed."""
        backlog = self._backlog
        while True:
            while not backlog.waiting and not backlog.ended and not closed.is_set():
                await self._changed.wait()
            if closed.is_set() or not backlog.waiting:
                return
            yield backlog.send()

    def answered(self) -> NoteRequest:
        request = self._backlog.answered()
        self._change()
        return request

    def left(self) -> bool:
        """Whether requests are without an answer."""
        return bool(self._backlog.asked or self._backlog.waiting)

    def close(self, closed: asyncio.Event) -> None:
        """Ends a stream's sending. Its requests without an answer are to be asked again."""
        closed.set()
        self._backlog.put_back()
        self._change()

    def take(self) -> List[NoteRequest]:
        requests = self._backlog.take()
        self._change()
        return requests

    def _change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def _each(source: _Source) -> AsyncIterator[NoteRequest]:
    if isinstance(source, AsyncIterable):
        async for request in source:
            yield request
    else:
        for request in source:
            yield request


async def notes(channel: Channel, budget: Budget, source: _Source) -> AsyncIterator[NoteResult]:
    queue, course = Queue(), Course(budget)
    queue.start(source)
    try:
        while await queue.more():
            closed = asyncio.Event()
            broken: Optional[Error] = None
            try:
                with channel.stream(queue.requests(closed)) as responses:
                    async for response in responses:
                        request = queue.answered()
                        answer = course.answer(request, response)
                        result = answer.result
                        if answer.retry_in is not None:
                            await asyncio.sleep(answer.retry_in)
                            result = await _alone(channel, request)
                        yield result
                        check(result)
                if queue.left():
                    broken = ended_early()
            except (grpc.RpcError, Error) as raised:
                broken = failure("noting", raised)
            finally:
                queue.close(closed)
            if broken is None or not queue.left():
                continue  # all requests have answers, or an idle stream was closed
            wait = course.wait(broken)
            if wait is not None:
                await asyncio.sleep(wait)
                continue
            for request in queue.take():
                yield course.fails(request, broken) or await _alone(channel, request)
    finally:
        queue.stop()


async def _alone(channel: Channel, request: NoteRequest) -> NoteResult:
    """Asks one request by itself, outside the stream."""
    try:
        response = await channel.run(calls.note(request), None)
    except Error as error:
        return NoteResult(request, None, error)
    return NoteResult(request, response, None)

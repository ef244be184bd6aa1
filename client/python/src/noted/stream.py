"""notes(): many requests over one stream, which is opened again when it breaks."""

from __future__ import annotations

import threading
import time
from typing import Iterable, Iterator, List, Optional

import grpc

from .channel import Channel
from .core import calls
from .core.retry import Budget
from .core.status import failure
from .core.stream import Backlog, Course, check, ended_early, prepare
from .errors import Error
from .types import NoteRequest, NoteResult
from .v1 import noted_pb2 as pb


class Queue:
    """The backlog of three threads: one reads the source, gRPC's sends, the consumer's
    takes the answers.
    """

    def __init__(self) -> None:
        self._backlog = Backlog()
        self._changed = threading.Condition()
        self._stopped = False  # the consumer has left

    def start(self, source: Iterable[NoteRequest]) -> None:
        """Begins to read the source."""
        threading.Thread(target=self._read, args=(source,), name="noted-requests", daemon=True).start()

    def stop(self) -> None:
        """Ends the reading: the consumer has left."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _read(self, source: Iterable[NoteRequest]) -> None:
        """Reads the source to its end, never far ahead of the answers."""
        backlog = self._backlog
        try:
            for request in source:
                request = prepare(request)
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped or not backlog.full)
                    if self._stopped:
                        return
                    backlog.waiting.append(request)
                    self._changed.notify_all()
        except BaseException as trouble:
            backlog.trouble = trouble
        finally:
            with self._changed:
                backlog.ended = True
                self._changed.notify_all()

    def more(self) -> bool:
        """Waits for a request, so that no stream is opened for nothing. False at the end.
        Raises what the source raised.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._backlog.waiting or self._backlog.ended)
            if not self._backlog.waiting and self._backlog.trouble is not None:
                raise self._backlog.trouble
            return bool(self._backlog.waiting)

    def requests(self, closed: threading.Event) -> Iterator[pb.NoteDonationsRequest]:
        """The requests of one gRPC stream, until the source ends or the stream is closed."""
        backlog = self._backlog
        while True:
            with self._changed:
                self._changed.wait_for(lambda: backlog.waiting or backlog.ended or closed.is_set())
                if closed.is_set() or not backlog.waiting:
                    return
                message = backlog.send()
            yield message

    def answered(self) -> NoteRequest:
        with self._changed:
            request = self._backlog.answered()
            self._changed.notify_all()
            return request

    def left(self) -> bool:
        """Whether requests are without an answer."""
        with self._changed:
            return bool(self._backlog.asked or self._backlog.waiting)

    def close(self, closed: threading.Event) -> None:
        """Ends a stream's sending. Its requests without an answer are to be asked again."""
        with self._changed:
            closed.set()
            self._backlog.put_back()
            self._changed.notify_all()

    def take(self) -> List[NoteRequest]:
        with self._changed:
            requests = self._backlog.take()
            self._changed.notify_all()
            return requests


def notes(channel: Channel, budget: Budget, source: Iterable[NoteRequest]) -> Iterator[NoteResult]:
    queue, course = Queue(), Course(budget)
    queue.start(source)
    try:
        while queue.more():
            closed = threading.Event()
            broken: Optional[Error] = None
            try:
                with channel.stream(queue.requests(closed)) as responses:
                    for response in responses:
                        request = queue.answered()
                        answer = course.answer(request, response)
                        result = answer.result
                        if answer.retry_in is not None:
                            time.sleep(answer.retry_in)
                            result = _alone(channel, request)
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
                time.sleep(wait)
                continue
            for request in queue.take():
                yield course.fails(request, broken) or _alone(channel, request)
    finally:
        queue.stop()


def _alone(channel: Channel, request: NoteRequest) -> NoteResult:
    """Asks one request by itself, outside the stream."""
    try:
        response = channel.run(calls.note(request), None)
    except Error as error:
        return NoteResult(request, None, error)
    return NoteResult(request, response, None)

"""The stream of the blocking client, over as many gRPC streams as it takes."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Deque, Iterable, Iterator, List, Optional

import grpc

from . import _calls
from ._retry import MAX_TRIES, retriable, wait_after
from ._status import failed, failure, make
from .errors import Error, WrongAnswer
from .types import NoteRequest, NoteResult
from .v1 import noted_pb2 as pb

if TYPE_CHECKING:
    from .client import Client

# How many requests may be without an answer: enough to keep a server busy, few enough to
# be asked again.
WINDOW = 256


def act(request: NoteRequest) -> str:
    return "noting " + request.donation.series_id


def breach(message: str) -> Error:
    return make("noting", message, grpc.StatusCode.INTERNAL)


def ended_early() -> Error:
    return make("noting", "the server ended the stream", grpc.StatusCode.UNAVAILABLE)


class _Queue:
    """What is to be asked and what was asked, between three threads: the one that reads the
    source, gRPC's that sends, and the consumer's.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.waiting: Deque[NoteRequest] = deque()  # to be asked
        self.asked: Deque[NoteRequest] = deque()  # on the stream that is open, oldest first
        self.ended = False  # the source has no more
        self.trouble: Optional[BaseException] = None  # the source raised
        self.stopped = False  # the consumer wants no more

    def read(self, source: Iterable[NoteRequest]) -> None:
        try:
            for request in source:
                request = _calls.with_request_id(request)
                _calls.to_request(
                    request
                )  # a request that cannot be sent is the source's trouble, and not the stream's
                with self.changed:
                    self.changed.wait_for(lambda: self.stopped or len(self.waiting) + len(self.asked) < WINDOW)
                    if self.stopped:
                        return
                    self.waiting.append(request)
                    self.changed.notify_all()
        except BaseException as trouble:
            self.trouble = trouble
        finally:
            with self.changed:
                self.ended = True
                self.changed.notify_all()

    def more(self) -> bool:
        """Waits for something to ask, so that no stream is opened for nothing; False at the end
        of it all.
        """
        with self.changed:
            self.changed.wait_for(lambda: self.waiting or self.ended)
            return bool(self.waiting)

    def requests(self, closed: threading.Event) -> Iterator[pb.NoteDonationsRequest]:
        """What one gRPC stream sends, until the source ends or the stream is closed."""
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.waiting or self.ended or closed.is_set())
                if closed.is_set() or not self.waiting:
                    return
                request = self.waiting.popleft()
                self.asked.append(request)
            yield pb.NoteDonationsRequest(request=_calls.to_request(request))

    def answered(self) -> Optional[NoteRequest]:
        with self.changed:
            if not self.asked:
                return None
            self.changed.notify_all()
            return self.asked.popleft()

    def close(self, closed: threading.Event) -> None:
        """Ends the sending; what was asked and not answered is to be asked again."""
        with self.changed:
            closed.set()
            self.waiting.extendleft(reversed(self.asked))
            self.asked.clear()
            self.changed.notify_all()

    def take(self) -> List[NoteRequest]:
        """Everything that was to be asked again."""
        with self.changed:
            requests = list(self.waiting)
            self.waiting.clear()
            self.changed.notify_all()
            return requests

    def stop(self) -> None:
        with self.changed:
            self.stopped = True
            self.changed.notify_all()


def notes(client: Client, source: Iterable[NoteRequest]) -> Iterator[NoteResult]:
    queue = _Queue()
    threading.Thread(target=queue.read, args=(source,), name="noted-requests", daemon=True).start()
    tries = 0  # since the last answer
    try:
        while queue.more():
            closed = threading.Event()
            stream: Any = None
            broken: Optional[Error] = None
            try:
                stream = client._stub.NoteDonations(queue.requests(closed), metadata=client._settings.metadata())
                for response in stream:
                    request = queue.answered()
                    if request is None:
                        broken = breach("the server answered what it was not asked")
                        break
                    tries = 0
                    result = _result(client, request, response)
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
                    time.sleep(wait_after(tries, broken))
                    continue
                tries = 0
                for request in queue.take():
                    yield NoteResult(request, None, broken)
            else:
                # One of them broke the stream for all: each is asked by itself, and only
                # that one fails.
                tries = 0
                for request in queue.take():
                    yield _alone(client, request)
        if queue.trouble is not None:
            raise queue.trouble
    finally:
        queue.stop()


def _result(client: Client, request: NoteRequest, response: Any) -> NoteResult:
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
    time.sleep(wait_after(1, error))
    return _alone(client, request)


def _alone(client: Client, request: NoteRequest) -> NoteResult:
    try:
        response = client._run(_calls.note(request), None)
    except Error as error:
        return NoteResult(request, None, error)
    return NoteResult(request, response, None)

"""The rules of notes(): one result for each request, in order, over as many gRPC streams as
needed.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Deque, List, NamedTuple, Optional

from ..errors import Error, WrongAnswer
from ..types import NoteRequest, NoteResult
from ..v1 import noted_pb2 as pb
from .calls import response_to, to_request, with_request_id
from .retry import MAX_TRIES, Budget, retriable, wait_after
from .status import failed, make

# How many requests may wait for their answers: enough to keep a server busy, few enough to
# ask again.
WINDOW = 256


class Backlog:
    """The requests without an answer. A half guards it where threads share it."""

    def __init__(self) -> None:
        self.waiting: Deque[NoteRequest] = deque()  # not sent yet
        self.asked: Deque[NoteRequest] = deque()  # sent on the open stream, oldest first
        self.ended = False  # the source has no more
        self.trouble: Optional[BaseException] = None  # the source raised it

    @property
    def full(self) -> bool:
        return len(self.waiting) + len(self.asked) >= WINDOW

    def send(self) -> pb.NoteDonationsRequest:
        """The next request, which counts as asked from now on."""
        request = self.waiting.popleft()
        self.asked.append(request)
        return pb.NoteDonationsRequest(request=to_request(request))

    def answered(self) -> NoteRequest:
        """The request that the next answer on the stream belongs to."""
        if not self.asked:
            raise make("noting", "the server answered more than it was asked", "INTERNAL")
        return self.asked.popleft()

    def put_back(self) -> None:
        """The stream is over: its requests without an answer are to be asked again."""
        self.waiting.extendleft(reversed(self.asked))
        self.asked.clear()

    def take(self) -> List[NoteRequest]:
        """All requests that are to be asked again."""
        requests = list(self.waiting)
        self.waiting.clear()
        return requests


class Answer(NamedTuple):
    """One answer on a stream."""

    result: NoteResult
    retry_in: Optional[float]  # the wait after which the request is asked again by itself


class Course:
    """The course of one notes(): the meaning of an answer, and what follows a broken
    stream.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._tries = 0  # since the last answer

    def answer(self, request: NoteRequest, response: Any) -> Answer:
        """Takes the answer to a request. A request that the store could not answer is asked
        again by itself, while the others wait.
        """
        self._tries = 0
        if response.WhichOneof("result") != "error":
            self._budget.succeed()
            try:
                return Answer(NoteResult(request, response_to(request, response.response), None), None)
            except WrongAnswer as wrong:
                return Answer(NoteResult(request, None, wrong), None)
        act = "noting " + request.donation.series_id
        error = failed(act, response.error.code, response.error.message, response.error.reason)
        again = retriable(error) and self._budget.spend()
        return Answer(NoteResult(request, None, error), wait_after(1, error) if again else None)

    def wait(self, broken: Error) -> Optional[float]:
        """The wait before the next stream, or None where no other stream is tried. Then
        each request that is left fails, or is asked by itself.
        """
        self._tries += 1
        if retriable(broken) and self._budget.spend() and self._tries < MAX_TRIES:
            return wait_after(self._tries, broken)
        self._tries = 0
        return None

    def fails(self, request: NoteRequest, broken: Error) -> Optional[NoteResult]:
        """The result of a request that is left, or None where it is asked by itself: one
        request broke the stream for all, and only that one must fail.
        """
        return NoteResult(request, None, broken) if retriable(broken) else None


def prepare(request: NoteRequest) -> NoteRequest:
    """The request with a request_id. A request that cannot be sent raises here, in the
    reading of the source, and does not break the stream.
    """
    request = with_request_id(request)
    to_request(request)
    return request


def check(result: NoteResult) -> None:
    """Raises a WrongAnswer, which ends the stream: the answers behind it may belong to
    other requests too.
    """
    if isinstance(result.error, WrongAnswer):
        raise result.error


def ended_early() -> Error:
    return make("noting", "the server ended the stream", "UNAVAILABLE")

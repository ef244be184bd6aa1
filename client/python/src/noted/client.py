"""The blocking client."""

from __future__ import annotations

import time
from datetime import datetime
from types import TracebackType
from typing import Any, Iterable, Iterator, Optional, Type, TypeVar

import grpc

from . import _calls, _stream
from ._calls import Call, Page, Seconds, seconds
from ._once import Once
from ._settings import Options, Settings, Token, hold_of_once
from ._status import failure
from .types import Donation, Existence, Message, Note, NoteRequest, NoteResponse, NoteResult, State
from .v1.noted_pb2_grpc import DedupeServiceStub

Answer = TypeVar("Answer")


class Client:
    """Asks one Noted server, or several behind one name. Any number of threads may use one; a
    server that forks makes its clients after the fork.

    It does not connect: the first call does, so a server that is away for the moment is that
    call's Unavailable. To this machine (127.0.0.1, ::1, localhost, a unix socket) it speaks
    plaintext, to every other TLS with this machine's certificates, unless told otherwise.

    target          such as "127.0.0.1:50051" or "dns:///noted.internal:50051"
    timeout         seconds that a call may take, its retries included, where it is given no
    timeout of its own hold            seconds that once() holds a donation at a time; it is
    extended while the block runs settle_timeout  seconds that once() tries to settle or release
    after the block ca              PEM certificates: the server's must be signed by one of them.
    Turns TLS on. credentials     grpc.ssl_channel_credentials(…), for all else that TLS can do,
    such as a certificate of one's own plaintext       no TLS, also to another machine. Whoever is
    between can then read, forge and suppress donations. token           the bearer token, or a
    function that returns it, so that it can be renewed. Needs TLS, except to this machine.
    options         gRPC's channel options, which outweigh the client's own
    """

    def __init__(
        self,
        target: str,
        *,
        timeout: Seconds = 5.0,
        hold: Seconds = 60.0,
        settle_timeout: Seconds = 15.0,
        ca: Optional[bytes] = None,
        credentials: Optional[grpc.ChannelCredentials] = None,
        plaintext: bool = False,
        token: Optional[Token] = None,
        options: Options = (),
    ) -> None:
        self._settings = Settings(target, timeout, hold, settle_timeout, ca, credentials, plaintext, token, options)
        if self._settings.credentials is None:
            self._channel = grpc.insecure_channel(target, options=self._settings.options)
        else:
            self._channel = grpc.secure_channel(target, self._settings.credentials, options=self._settings.options)
        self._stub: Any = DedupeServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Closes the connection. Calls under way fail."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def once(self, donation: Donation, message: Optional[Message] = None, *, hold: Optional[Seconds] = None) -> Once:
        """Runs a block that may process the donation, and sees to it that nobody else does
        meanwhile:

            with client.once(donation, message) as turn:
                if turn.first:
                    book(turn.note.donation_id, donation)

        It notes with a hold and a fresh request id, extends the hold at every third of it while
        the block runs, settles when the block has ended, and releases when it has raised (the
        exception goes on). What can happen, and what to tell PayPal:

            turn.verdict FIRST       process it; settled at the end of the block
            200 turn.verdict DUPLICATE   nothing to do: it is done, or was noted before
            200 turn.verdict HELD        another is processing it; PayPal comes again
            503 raises Error at with     nothing is known, the block did not run
            503, or see below raises in the block      released: the next message is FIRST (if
            even the release fails,    503
                                     that is logged, and it is FIRST when the hold has run out)
            raises NotSettled        processed, but the note is not final
            503, or see below

        InvalidRequest, OccurredTooEarly, OccurredTooLate, ReceivedTooEarly and SeriesFull would
        be the answer every time: keep the message for a person and answer 200.

        NotSettled has the reason SETTLED_BY_ANOTHER when another attempt has processed the
        donation too, HOLD_RELEASED or NOTE_NOT_FOUND when an operator intervened: PayPal's next
        try would be a duplicate, or double it, so answer 200 and tell a person. It has the reason
        HOLD_LOST when another is at it, and that of an Unavailable when the server was away for
        longer than settle_timeout: PayPal's next try may be FIRST again, under the same
        donation_id, and settles it then. A downstream that takes turn.note.donation_id as its
        idempotency key, and refuses a turn.note.attempt below the last it saw, makes that
        harmless. The reason's own class is the __cause__. Note that NotSettled is an Error too:
        catch it first.
        """
        return Once(self, donation, message, self._settings.hold if hold is None else hold_of_once(hold))

    def note(
        self,
        donation: Donation,
        message: Optional[Message] = None,
        *,
        hold: Seconds = 0.0,
        request_id: str = "",
        timeout: Optional[Seconds] = None,
    ) -> NoteResponse:
        """Decides whether the donation has been noted already, and notes it, in one step.

        With a hold, FIRST comes with a receipt, and the caller must settle or release it: once()
        does that. Without one the note is final at once, and a caller that dies before it has
        processed the donation has lost it. A program that repeats a note by itself, after a
        restart for instance, must give the same request_id.
        """
        request = NoteRequest(donation, message, seconds(hold), request_id)
        return self._run(_calls.note(_calls.with_request_id(request)), timeout)

    def notes(self, requests: Iterable[NoteRequest]) -> Iterator[NoteResult]:
        """Notes many, over one stream: one result for each request, in the order of the requests.
        An error belongs to that request alone, and is not raised but in its result.

        The requests are read in a thread of their own, up to 256 ahead of the results. A stream
        that breaks is opened again, and what was not answered is asked again with the same
        request_id. After a WrongAnswer the answers behind it may be those to other requests, so
        what was asked by then is asked again, each by itself. Leaving the loop early ends the
        stream; whether what was not answered yet has been noted is then unknown.
        """
        return _stream.notes(self, requests)

    def exists(
        self, donation: Donation, message: Optional[Message] = None, *, timeout: Optional[Seconds] = None
    ) -> Existence:
        """Decides as note() does, and notes nothing. It is for looking: between a look and a note
        another caller may come.
        """
        return self._run(_calls.exists(donation, message), timeout)

    def settle(self, receipt: str, reason: str = "", *, timeout: Optional[Seconds] = None) -> Note:
        """Makes the note of a receipt final. Twice is as good as once. SettledByAnother means
        that the donation has been processed twice.
        The reason is for the server's audit, where a person settles by hand; a receiver gives
        none.
        """
        return self._run(_calls.settle(receipt, reason), timeout)

    def release(self, receipt: str, reason: str = "", *, timeout: Optional[Seconds] = None) -> Note:
        """Gives a hold up: the next message of the donation is FIRST again. The reason is for the
        server's log, without personal data.
        """
        return self._run(_calls.release(receipt, reason), timeout)

    def extend(self, receipt: str, hold: Seconds, *, timeout: Optional[Seconds] = None) -> Note:
        """Makes a hold last until now plus hold, even one that has run out, as long as nobody has
        taken over.
        """
        return self._run(_calls.extend(receipt, hold), timeout)

    def list(
        self,
        ledger: str = "",
        series_id: str = "",
        *,
        state: State = State.UNSPECIFIED,
        seen_only_on: str = "",
        transaction_id: str = "",
        noted_after: Optional[datetime] = None,
        noted_before: Optional[datetime] = None,
        page_size: int = 0,
        timeout: Optional[Seconds] = None,
    ) -> Iterator[Note]:
        """Yields every note of the ledger, or of one series, for which all conditions hold, page
        by page. The timeout bounds each page.
        """
        token = ""
        while True:
            page: Page = self._run(
                _calls.page(
                    ledger, series_id, state, seen_only_on, transaction_id, noted_after, noted_before, page_size, token
                ),
                timeout,
            )
            yield from page.notes
            token = page.next_page_token
            if not token:
                return

    def forget(
        self, series_id: str, donation_id: str, reason: str, *, ledger: str = "", timeout: Optional[Seconds] = None
    ) -> Note:
        """Undoes a note and returns it as it was: the next message of the donation is FIRST. It
        is tried once: after Unavailable, look before asking
        again, since a repeat would find no note."""
        return self._run(_calls.forget(series_id, donation_id, reason, ledger), timeout)

    def _run(self, call: Call[Answer], timeout: Optional[Seconds]) -> Answer:
        """Makes one call, and again while it is UNAVAILABLE. Every request that notes bears a
        request id, so a repeat of one whose reply was lost
        gets the same answer again."""
        deadline = time.monotonic() + (self._settings.timeout if timeout is None else seconds(timeout))
        rpc, budget, tries = getattr(self._stub, call.rpc), self._settings.budget, 0
        while True:
            tries += 1
            try:
                response = rpc(
                    call.request, timeout=max(deadline - time.monotonic(), 0.0), metadata=self._settings.metadata()
                )
            except grpc.RpcError as error:
                failed = failure(call.act, error)
                wait = budget.wait_after(tries, failed, deadline) if call.repeatable else None
                if wait is None:
                    raise failed from error
                time.sleep(wait)
            else:
                budget.succeed()
                return call.answer(response)

"""The blocking client."""

from __future__ import annotations

from datetime import datetime
from types import TracebackType
from typing import Iterable, Iterator, Optional, Type

import grpc

from .channel import Channel
from .core import calls
from .core.calls import seconds
from .core.once import Course
from .core.settings import Options, Settings, Token, hold_of_once
from .once import Calls, Once
from .stream import notes
from .types import Donation, Existence, Message, Note, NoteRequest, NoteResponse, NoteResult, Seconds, State


class Client:
    """Asks one Noted server, or several behind one name. Any number of threads may share a
    client. A server that forks may make its client before the fork and makes its first call
    after it. Otherwise every call in the forked process raises an Error at once.

    The constructor does not connect. The first call does, so an absent server is that
    call's Unavailable. The client speaks plaintext to this machine (127.0.0.1, ::1,
    localhost, a unix socket), and TLS with this machine's certificates to every other,
    unless the arguments say otherwise.

    target:          such as "127.0.0.1:50051" or "dns:///noted.internal:50051"
    timeout:         seconds for a call and its retries, where the call has no timeout of its own
    hold:            seconds of a hold of once(), which extends it while the block runs
    settle_timeout:  seconds for settling or releasing after the block of once()
    ca:              PEM certificates; one of them must have issued the server's. Turns TLS on
    credentials:     grpc.ssl_channel_credentials(…), for everything else of TLS, such as a client
                     certificate
    plaintext:       no TLS, even to another machine. Whoever is between can then read, forge and
                     suppress donations
    token:           the bearer token, or a function that returns it, so that it can be renewed.
                     Needs TLS, except to this machine
    options:         gRPC channel options, which override the client's own
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
        self._channel = Channel(self._settings)

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
        """Runs a block that may process the donation, and keeps other receivers from
        processing it meanwhile:

            with client.once(donation, message) as turn:
                if turn.first:
                    book(turn.note.donation_id, donation)

        once() notes with a hold and a new request id, and extends the hold at every third
        of it while the block runs. It settles when the block ends. It releases when the
        block raises, and the exception goes on. The outcomes, and the answer to PayPal:

            outcome                 meaning                                          answer
            turn.verdict FIRST      process it; the end of the block settles it      200
            turn.verdict DUPLICATE  it is done, or was noted before                  200
            turn.verdict HELD       another receiver is processing it                503
            with raises an Error    its state is unknown; the block did not run      503, or below
            the block raises        released: the next message is FIRST              503
            NotSettled is raised    processed, but the note is not final             503, or below

        If the release fails too, the log says so, and the next message is FIRST when the
        hold has run out.

        An Undecidable would be the answer every time: keep the message for a person and
        answer 200.

        NotSettled has the reason of the failed settling, and that Error is its __cause__:

            SETTLED_BY_ANOTHER              another attempt has processed the donation too
            HOLD_RELEASED, NOTE_NOT_FOUND   an operator intervened
            HOLD_LOST                       another attempt is processing it
            that of an Unavailable          the server was away for longer than settle_timeout

        The Error of the first three is a NoteGone. PayPal's next try would be a duplicate,
        or would double the donation: answer 200 and tell a person. After the others it may
        be FIRST again, under the same donation_id, and settles the note then. That is
        harmless where the downstream takes turn.note.donation_id as its idempotency key and
        refuses a turn.note.attempt below the last. NotSettled is an Error too: catch it
        first.
        """
        course = Course(donation, message, self._settings.hold if hold is None else hold_of_once(hold), self._settings)
        return Once(Calls(self.note, self.extend, self.settle, self.release), course)

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

        With a hold, FIRST comes with a receipt, and the caller must settle or release it,
        as once() does. Without a hold the note is final at once: if the caller dies before
        it processes the donation, the donation is lost. A program that repeats a note, for
        instance after a restart, must give the same request_id.
        """
        request = NoteRequest(donation, message, seconds(hold), request_id)
        return self._channel.run(calls.note(calls.with_request_id(request)), timeout)

    def notes(self, requests: Iterable[NoteRequest]) -> Iterator[NoteResult]:
        """Notes many requests over one stream. The results come in the order of the
        requests. An error belongs to one request: it is in that result and is not raised.

        A thread reads the requests, up to 256 ahead of the results. A stream that breaks is
        opened again, and requests without an answer are asked again with the same
        request_id. After a WrongAnswer the next answers may belong to other requests, so
        each request on the stream is asked again by itself. A caller that leaves the loop
        early ends the stream, and cannot know whether requests without an answer have been
        noted.
        """
        return notes(self._channel, self._settings.budget, requests)

    def exists(
        self, donation: Donation, message: Optional[Message] = None, *, timeout: Optional[Seconds] = None
    ) -> Existence:
        """Decides as note() does, and notes nothing. Between this call and a note, another
        caller may note the donation.
        """
        return self._channel.run(calls.exists(donation, message), timeout)

    def settle(self, receipt: str, reason: str = "", *, timeout: Optional[Seconds] = None) -> Note:
        """Makes the note of a receipt final. A repeat is harmless. SettledByAnother means
        that the donation has been processed twice. The reason is for the server's audit
        when a person settles by hand; a receiver gives no reason.
        """
        return self._channel.run(calls.settle(receipt, reason), timeout)

    def release(self, receipt: str, reason: str = "", *, timeout: Optional[Seconds] = None) -> Note:
        """Ends a hold: the next message of the donation is FIRST again. The reason is for
        the server's log and must hold no personal data.
        """
        return self._channel.run(calls.release(receipt, reason), timeout)

    def extend(self, receipt: str, hold: Seconds, *, timeout: Optional[Seconds] = None) -> Note:
        """Makes a hold last until now plus hold. That also works after the hold has run
        out, until another caller takes the donation over.
        """
        return self._channel.run(calls.extend(receipt, hold), timeout)

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
        """Yields the notes of the ledger, or of one series, that meet all conditions, page
        by page. The timeout is for each page.
        """
        token = ""
        while True:
            page = self._channel.run(
                calls.page(
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
        """Undoes a note and returns it as it was: the next message of the donation is
        FIRST. The client does not retry it. After Unavailable, call exists() before you
        repeat it, because a repeat would find no note.
        """
        return self._channel.run(calls.forget(series_id, donation_id, reason, ledger), timeout)

"""The asyncio client."""

from __future__ import annotations

from datetime import datetime
from types import TracebackType
from typing import AsyncIterable, AsyncIterator, Iterable, Optional, Type, Union

import grpc

from ..core import calls
from ..core.calls import seconds
from ..core.once import Course
from ..core.settings import Options, Settings, Token, hold_of_once
from ..types import Donation, Existence, Message, Note, NoteRequest, NoteResponse, NoteResult, Seconds, State
from .channel import Channel
from .once import Calls, Once
from .stream import notes


class Client:
    """Asks one Noted server, from one event loop at a time. It may be made before the loop
    runs. Its arguments and calls are those of
    noted.Client, whose comments say what they promise.
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

    async def close(self) -> None:
        """Closes the connection. Calls under way fail."""
        await self._channel.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.close()

    def once(self, donation: Donation, message: Optional[Message] = None, *, hold: Optional[Seconds] = None) -> Once:
        """Runs a block that may process the donation, and keeps other receivers from
        processing it meanwhile. Outcomes, and the answers to PayPal, are those of
        noted.Client.once. A block that is cancelled is released. A cancellation of the task
        does not interrupt settling or releasing. It goes on afterwards, and a NotSettled is
        then in the log.
        """
        course = Course(donation, message, self._settings.hold if hold is None else hold_of_once(hold), self._settings)
        return Once(Calls(self.note, self.extend, self.settle, self.release), course)

    async def note(
        self,
        donation: Donation,
        message: Optional[Message] = None,
        *,
        hold: Seconds = 0.0,
        request_id: str = "",
        timeout: Optional[Seconds] = None,
    ) -> NoteResponse:
        request = NoteRequest(donation, message, seconds(hold), request_id)
        return await self._channel.run(calls.note(calls.with_request_id(request)), timeout)

    def notes(self, requests: Union[Iterable[NoteRequest], AsyncIterable[NoteRequest]]) -> AsyncIterator[NoteResult]:
        return notes(self._channel, self._settings.budget, requests)

    async def exists(
        self, donation: Donation, message: Optional[Message] = None, *, timeout: Optional[Seconds] = None
    ) -> Existence:
        return await self._channel.run(calls.exists(donation, message), timeout)

    async def settle(self, receipt: str, reason: str = "", *, timeout: Optional[Seconds] = None) -> Note:
        return await self._channel.run(calls.settle(receipt, reason), timeout)

    async def release(self, receipt: str, reason: str = "", *, timeout: Optional[Seconds] = None) -> Note:
        return await self._channel.run(calls.release(receipt, reason), timeout)

    async def extend(self, receipt: str, hold: Seconds, *, timeout: Optional[Seconds] = None) -> Note:
        return await self._channel.run(calls.extend(receipt, hold), timeout)

    async def list(
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
    ) -> AsyncIterator[Note]:
        token = ""
        while True:
            page = await self._channel.run(
                calls.page(
                    ledger, series_id, state, seen_only_on, transaction_id, noted_after, noted_before, page_size, token
                ),
                timeout,
            )
            for note in page.notes:
                yield note
            token = page.next_page_token
            if not token:
                return

    async def forget(
        self, series_id: str, donation_id: str, reason: str, *, ledger: str = "", timeout: Optional[Seconds] = None
    ) -> Note:
        return await self._channel.run(calls.forget(series_id, donation_id, reason, ledger), timeout)

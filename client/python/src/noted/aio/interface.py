"""The type of an asyncio client, for programs that take one."""

from __future__ import annotations

from datetime import datetime
from typing import AsyncContextManager, AsyncIterable, AsyncIterator, Iterable, Optional, Protocol, Union

from ..core.turn import Turn
from ..types import Donation, Existence, Message, Note, NoteRequest, NoteResponse, NoteResult, Seconds, State


class ClientInterface(Protocol):
    """The calls of Noted in asyncio. Client makes them, and so does every object with the
    same calls. The comments of noted.Client say what each call does and how it fails.
    """

    def once(
        self, donation: Donation, message: Optional[Message] = None, *, hold: Optional[Seconds] = None
    ) -> AsyncContextManager[Turn]: ...

    async def note(
        self,
        donation: Donation,
        message: Optional[Message] = None,
        *,
        hold: Seconds = 0.0,
        request_id: str = "",
        timeout: Optional[Seconds] = None,
    ) -> NoteResponse: ...

    def notes(
        self, requests: Union[Iterable[NoteRequest], AsyncIterable[NoteRequest]]
    ) -> AsyncIterator[NoteResult]: ...

    async def exists(
        self, donation: Donation, message: Optional[Message] = None, *, timeout: Optional[Seconds] = None
    ) -> Existence: ...

    async def settle(self, receipt: str, reason: str = "", *, timeout: Optional[Seconds] = None) -> Note: ...

    async def release(self, receipt: str, reason: str = "", *, timeout: Optional[Seconds] = None) -> Note: ...

    async def extend(self, receipt: str, hold: Seconds, *, timeout: Optional[Seconds] = None) -> Note: ...

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
    ) -> AsyncIterator[Note]: ...

    async def forget(
        self, series_id: str, donation_id: str, reason: str, *, ledger: str = "", timeout: Optional[Seconds] = None
    ) -> Note: ...

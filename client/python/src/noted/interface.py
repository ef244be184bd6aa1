"""The type of a client, for programs that take one."""

from __future__ import annotations

from datetime import datetime
from typing import ContextManager, Iterable, Iterator, Optional, Protocol

from .core.turn import Turn
from .types import Donation, Existence, Message, Note, NoteRequest, NoteResponse, NoteResult, Seconds, State


class ClientInterface(Protocol):
    """The calls of Noted. Client makes them, and so does every object with the same calls.
    Client's comments say what each call does and how it fails.
    """

    def once(
        self, donation: Donation, message: Optional[Message] = None, *, hold: Optional[Seconds] = None
    ) -> ContextManager[Turn]: ...

    def note(
        self,
        donation: Donation,
        message: Optional[Message] = None,
        *,
        hold: Seconds = 0.0,
        request_id: str = "",
        timeout: Optional[Seconds] = None,
    ) -> NoteResponse: ...

    def notes(self, requests: Iterable[NoteRequest]) -> Iterator[NoteResult]: ...

    def exists(
        self, donation: Donation, message: Optional[Message] = None, *, timeout: Optional[Seconds] = None
    ) -> Existence: ...

    def settle(self, receipt: str, reason: str = "", *, timeout: Optional[Seconds] = None) -> Note: ...

    def release(self, receipt: str, reason: str = "", *, timeout: Optional[Seconds] = None) -> Note: ...

    def extend(self, receipt: str, hold: Seconds, *, timeout: Optional[Seconds] = None) -> Note: ...

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
    ) -> Iterator[Note]: ...

    def forget(
        self, series_id: str, donation_id: str, reason: str, *, ledger: str = "", timeout: Optional[Seconds] = None
    ) -> Note: ...

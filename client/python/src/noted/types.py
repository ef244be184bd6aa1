"""The messages of the contract, as Python has them: frozen dataclasses, enums, aware datetimes
and timedeltas.

What each field means, and its limits, is written in api/noted/v1/noted.proto. These are not the
generated messages, so that a time is a datetime, absent is None, and noted.paypal needs nothing
but the standard library.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Optional, Tuple

if TYPE_CHECKING:
    from .errors import Error


class _Enum(enum.IntEnum):
    """An enum of the contract. A number that this release does not know is kept, under its number
    for a name.
    """

    @classmethod
    def _missing_(cls, value: Any) -> Any:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_, member._value_ = str(value), value
        return member

    def __str__(self) -> str:  # for logs, on every version of Python
        return self.name

    __format__ = enum.Enum.__format__


class Event(_Enum):
    """What happened. Donations of two events are never the same."""

    UNSPECIFIED = 0  # means PAYMENT
    PAYMENT = 1
    PAYMENT_PENDING = 2
    PAYMENT_FAILED = 3
    REFUND = 4
    REVERSAL = 5
    REVERSAL_CANCELED = 6
    ADJUSTMENT = 7
    SIGNUP = 8
    CHANGE = 9
    SUSPENSION = 10
    REACTIVATION = 11
    CANCELLATION = 12
    EXPIRY = 13
    DISPUTE = 14


class Verdict(_Enum):
    """The answer to "is this donation mine to process?"."""

    UNSPECIFIED = 0  # never sent
    FIRST = 1  # yes, process it
    DUPLICATE = 2  # no, it is done or was noted before
    HELD = 3  # not now, somebody is processing it


class Evidence(_Enum):
    """The rule that decided, strongest first."""

    UNSPECIFIED = 0  # of exists(), where there is no note
    NEW = 1
    SAME_REQUEST = 2
    SAME_MESSAGE = 3
    SAME_TRANSACTION = 4
    PAIRED = 5
    TAKEN_OVER = 6


class State(_Enum):
    """Where a note is in its life."""

    UNSPECIFIED = 0  # in list(), every state
    HELD = 1
    OPEN = 2
    SETTLED = 3


@dataclass(frozen=True)
class Donation:
    """One occurrence of an event in a series: the thing that must be processed once. Only
    series_id is required.
    """

    series_id: str
    ledger: str = ""
    event: Event = Event.PAYMENT
    occurred_at: Optional[datetime] = None
    amount: str = ""
    currency_code: str = ""
    transaction_id: str = ""

    def __post_init__(self) -> None:
        # A time without a zone would be taken for UTC, and be hours off: a donation could
        # then miss its twin.
        if self.occurred_at is not None and self.occurred_at.tzinfo is None:
            raise ValueError("occurred_at has no time zone; give it one, such as tzinfo=timezone.utc")


@dataclass(frozen=True)
class Message:
    """One notification of a donation: the channel it came over and its id there."""

    channel: str = ""
    id: str = ""
    received_at: Optional[datetime] = None  # when it first arrived, where it waited since, as in a queue

    def __post_init__(self) -> None:
        if self.received_at is not None and self.received_at.tzinfo is None:
            raise ValueError("received_at has no time zone; give it one, such as tzinfo=timezone.utc")


@dataclass(frozen=True)
class Sighting:
    """A message that Noted has seen for a donation, and when."""

    message: Message
    transaction_id: str = ""
    seen_at: Optional[datetime] = None


@dataclass(frozen=True)
class Note:
    """What Noted remembers of a donation. Hand donation_id downstream as the idempotency key, and
    attempt as the fencing token.
    """

    donation_id: str
    donation: Donation
    sightings: Tuple[Sighting, ...] = ()
    state: State = State.UNSPECIFIED
    noted_at: Optional[datetime] = None
    held_until: Optional[datetime] = None
    forget_at: Optional[datetime] = None
    attempt: int = 0


@dataclass(frozen=True)
class NoteRequest:
    """A whole request of note(), for notes(). A request without a request_id is given one when it
    is asked.
    """

    donation: Donation
    message: Optional[Message] = None
    hold: float = 0.0  # seconds; 0 notes finally at once
    request_id: str = ""


@dataclass(frozen=True)
class NoteResponse:
    """The answer to note(). The receipt comes only with FIRST and a hold, retry_after only with
    HELD.
    """

    verdict: Verdict
    note: Optional[Note]
    evidence: Evidence
    receipt: str = ""
    retry_after: Optional[timedelta] = None
    differences: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Existence:
    """The answer to exists(). The note is what was found, an open one too."""

    exists: bool
    note: Optional[Note]
    evidence: Evidence

    def __bool__(self) -> bool:
        return self.exists


@dataclass(frozen=True)
class NoteResult:
    """The answer to one request of notes(): either a response or an error."""

    request: NoteRequest  # as it was asked: with a request_id
    response: Optional[NoteResponse]
    error: Optional[Error]

"""The messages of the contract in Python: frozen dataclasses, enums, aware datetimes and
timedeltas.

api/noted/v1/noted.proto says what each field means, and its limits. These classes stand for
the generated messages, so that a time is a datetime, an absent value is None, and
noted.paypal needs only the standard library.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Optional, Tuple, Union

if TYPE_CHECKING:
    from .errors import Error

# A length of time in arguments: a number of seconds, or a timedelta.
Seconds = Union[float, timedelta]


class _Enum(enum.IntEnum):
    """An enum of the contract. An unknown number is kept, and its name is the number."""

    @classmethod
    def _missing_(cls, value: Any) -> Any:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_, member._value_ = str(value), value
        return member

    def __str__(self) -> str:  # the same on every version of Python
        return self.name

    __format__ = enum.Enum.__format__


class Event(_Enum):
    """The kind of a donation. Donations with different events are never the same."""

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
    DUPLICATE = 2  # no, it is done, or was noted before
    HELD = 3  # not now, another receiver is processing it


class Evidence(_Enum):
    """The rule that decided, strongest first."""

    UNSPECIFIED = 0  # of exists(), if there is no note
    NONE = 0  # the same, under the other libraries' name
    NEW = 1
    SAME_REQUEST = 2
    SAME_MESSAGE = 3
    SAME_TRANSACTION = 4
    PAIRED = 5
    TAKEN_OVER = 6


class State(_Enum):
    """The state of a note."""

    UNSPECIFIED = 0  # in list(), every state
    ANY = 0  # the same, under the other libraries' name
    HELD = 1
    OPEN = 2
    SETTLED = 3


@dataclass(frozen=True)
class Donation:
    """One occurrence of an event in a series, which must be processed once. Only series_id
    is required.
    """

    series_id: str
    ledger: str = ""
    event: Event = Event.PAYMENT
    occurred_at: Optional[datetime] = None
    amount: str = ""
    currency_code: str = ""
    transaction_id: str = ""

    if TYPE_CHECKING:
        # An event may be given by its name or number, an amount as a Decimal or an int.
        def __init__(
            self,
            series_id: str,
            ledger: str = "",
            event: Union[Event, int, str] = Event.PAYMENT,
            occurred_at: Optional[datetime] = None,
            amount: Union[str, Decimal, int] = "",
            currency_code: str = "",
            transaction_id: str = "",
        ) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "event", _event(self.event))
        object.__setattr__(self, "amount", _amount(self.amount))
        for field in ("series_id", "ledger", "currency_code", "transaction_id"):
            _check_text(field, getattr(self, field))
        # A time without a zone would be taken for UTC and be hours off. The donation could
        # then miss the note of its other message.
        _check_time("occurred_at", self.occurred_at)


@dataclass(frozen=True)
class Message:
    """One notification of a donation: its channel, and its id on that channel."""

    channel: str = ""
    id: str = ""
    received_at: Optional[datetime] = None  # the first arrival of a message that waited, as in a queue

    def __post_init__(self) -> None:
        _check_text("channel", self.channel)
        _check_text("id", self.id)
        _check_time("received_at", self.received_at)


@dataclass(frozen=True)
class Sighting:
    """A message that Noted has seen for a donation, and the time."""

    message: Message
    transaction_id: str = ""
    seen_at: Optional[datetime] = None


@dataclass(frozen=True)
class Note:
    """Noted's memory of a donation. Give donation_id to downstream systems as the
    idempotency key, and attempt as the fencing token.
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
    """The arguments of note() as a value, for notes(). A request without a request_id gets
    an id when it is sent.
    """

    donation: Donation
    message: Optional[Message] = None
    hold: float = 0.0  # seconds; 0 makes the note final at once
    request_id: str = ""


@dataclass(frozen=True)
class NoteResponse:
    """The answer to note(). receipt comes only with FIRST and a hold, retry_after only with
    HELD. In a ledger in shadow verdict is FIRST for every message, and shadow_verdict is the
    true verdict; in other ledgers shadow_verdict is UNSPECIFIED.
    """

    verdict: Verdict
    note: Optional[Note]
    evidence: Evidence
    receipt: str = ""
    retry_after: Optional[timedelta] = None
    differences: Tuple[str, ...] = ()
    shadow_verdict: Verdict = Verdict.UNSPECIFIED


@dataclass(frozen=True)
class Existence:
    """The answer to exists(). The note may also be an open note, which does not count as
    existing.
    """

    exists: bool
    note: Optional[Note]
    evidence: Evidence

    def __bool__(self) -> bool:
        return self.exists


@dataclass(frozen=True)
class NoteResult:
    """The answer to one request of notes(): either a response or an error."""

    request: NoteRequest  # as sent, with a request_id
    response: Optional[NoteResponse]
    error: Optional[Error]


def _event(given: Any) -> Event:
    if isinstance(given, str):
        if given.upper() not in Event.__members__:
            raise ValueError(f"event is {given!r}; give one of {', '.join(Event.__members__)}")
        return Event[given.upper()]
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"event has the type {type(given).__name__}; give a noted.Event, or its name")
    return Event(given)


def _amount(given: Any) -> str:
    if isinstance(given, str):
        return given
    if isinstance(given, Decimal) and given.is_finite():
        return format(given, "f")
    if isinstance(given, int) and not isinstance(given, bool):
        return str(given)
    if isinstance(given, Decimal):
        raise ValueError(f"amount is {given}; give a number")
    raise TypeError(f"amount has the type {type(given).__name__}; give a str, a Decimal or an int, which are exact")


def _check_text(field: str, given: Any) -> None:
    if not isinstance(given, str):
        raise TypeError(f"{field} has the type {type(given).__name__}; give a str")


def _check_time(field: str, given: Any) -> None:
    if given is None:
        return
    if not isinstance(given, datetime):
        raise TypeError(f"{field} has the type {type(given).__name__}; give a datetime")
    if given.tzinfo is None:
        raise ValueError(f"{field} has no time zone; give it one, such as tzinfo=timezone.utc")

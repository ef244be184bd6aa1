"""Asks Noted whether a donation has been noted already, so that each is processed once.

    client = noted.Client("127.0.0.1:50051")

    with client.once(donation, message) as turn:
        if turn.first:
            book(turn.note.donation_id, donation)

Most programs need only Client and Client.once. The comment of once lists every outcome and
the answer to PayPal. noted.aio.Client is the same for asyncio. noted.paypal turns PayPal's
messages into donations. noted.receiver is a WSGI application that does everything.

After an Error the donation's state is unknown: do not process it, and do not take it for a
duplicate. A call that is UNAVAILABLE is tried up to four times, within its timeout. That
can neither double nor lose a donation, because every note has a request id. Other failures
are not retried, and forget() never is.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any
from typing import List as _List

from .errors import (
    AlreadySettled,
    DeadlineExceeded,
    DurabilityNotReached,
    Error,
    HoldLost,
    HoldReleased,
    Internal,
    InvalidRequest,
    LedgerDenied,
    NoteGone,
    NoteNotFound,
    NotSettled,
    OccurredTooEarly,
    OccurredTooLate,
    OutcomeUnknown,
    Overloaded,
    PoolExhausted,
    RateLimited,
    ReceivedTooEarly,
    RequestIdReused,
    SeriesFull,
    SettledByAnother,
    StoreFull,
    StoreUnavailable,
    StoreUnsuitable,
    StoreWentBack,
    Unauthenticated,
    Unavailable,
    Undecidable,
    VerbDenied,
    Violation,
    WrongAnswer,
)
from .interface import ClientInterface
from .types import (
    Donation,
    Event,
    Evidence,
    Existence,
    Message,
    Note,
    NoteRequest,
    NoteResponse,
    NoteResult,
    Sighting,
    State,
    Verdict,
)

if _TYPE_CHECKING:
    from .client import Client
    from .core.calls import new_request_id
    from .core.turn import Turn

__version__ = "0.1.0"

__all__ = [
    "AlreadySettled", "Client", "ClientInterface", "DeadlineExceeded", "Donation", "DurabilityNotReached", "Error",
    "Event", "Evidence", "Existence", "HoldLost", "HoldReleased", "Internal", "InvalidRequest", "LedgerDenied",
    "Message", "NotSettled", "Note", "NoteGone", "NoteNotFound", "NoteRequest", "NoteResponse", "NoteResult",
    "OccurredTooEarly", "OccurredTooLate", "OutcomeUnknown", "Overloaded", "PoolExhausted", "RateLimited",
    "ReceivedTooEarly", "RequestIdReused", "SeriesFull", "SettledByAnother", "Sighting", "State", "StoreFull",
    "StoreUnavailable", "StoreUnsuitable", "StoreWentBack", "Turn", "Unauthenticated", "Unavailable", "Undecidable",
    "VerbDenied", "Verdict", "Violation", "WrongAnswer", "new_request_id",
]  # fmt: skip


def __dir__() -> _List[str]:
    """The names that are imported at their first use, too."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> _Any:
    """Imports names that need gRPC at their first use, so that noted.paypal and
    noted.identify run with the standard library alone.
    """
    if name == "Client":
        from .client import Client

        return Client
    if name == "Turn":
        from .core.turn import Turn

        return Turn
    if name == "new_request_id":
        from .core.calls import new_request_id

        return new_request_id
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

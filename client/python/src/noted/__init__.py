"""Asks Noted whether a donation has been noted already, so that each is processed once.

    client = noted.Client("127.0.0.1:50051")

    with client.once(donation, message) as turn:
        if turn.first:
            book(turn.note.donation_id, donation)

Most programs need Client and Client.once and nothing else; the comment of once lists every
outcome and what to tell PayPal. noted.aio.Client is the same for asyncio, noted.paypal turns what
PayPal sent into donations and messages, noted.receiver is a WSGI application that does it all.

On an Error nothing is known of the donation: do not process it, and do not take it for a
duplicate. A call that is UNAVAILABLE is made up to four times in all, within its timeout; that
can neither double nor lose a donation, because every note bears a request id. Nothing else is
repeated, and forget() never is.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

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
    VerbDenied,
    Violation,
    WrongAnswer,
)
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

__all__ = [
    "AlreadySettled", "Client", "DeadlineExceeded", "Donation", "DurabilityNotReached", "Error", "Event", "Evidence", "Existence", "HoldLost",
    "HoldReleased", "Internal", "InvalidRequest", "LedgerDenied", "Message", "NotSettled", "Note", "NoteNotFound", "NoteRequest", "NoteResponse", "NoteResult",
    "OccurredTooEarly", "OccurredTooLate", "OutcomeUnknown", "Overloaded", "PoolExhausted", "RateLimited", "ReceivedTooEarly", "RequestIdReused",
    "SeriesFull", "SettledByAnother", "Sighting", "State", "StoreFull", "StoreUnavailable", "StoreUnsuitable", "StoreWentBack", "Turn", "Unauthenticated",
    "Unavailable", "VerbDenied", "Verdict", "Violation", "WrongAnswer", "new_request_id",
]  # fmt: skip


def __getattr__(name: str) -> _Any:
    """What needs gRPC is imported when it is first used, so that noted.paypal and noted.identify
    run on the standard library alone.
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

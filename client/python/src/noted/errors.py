"""What a call can fail with: one class for each reason in the head of noted.proto, all of them
subclasses of Error.

On an error nothing is known of the donation: do not process it, and do not take it for a
duplicate. The one exception is NotSettled: there the donation IS processed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Dict, Optional, Tuple, Type

if TYPE_CHECKING:
    from grpc import StatusCode


@dataclass(frozen=True)
class Violation:
    """One field of a request that the server refused."""

    field: str  # its path, such as "donation.amount"
    description: str  # what is wrong with it


class Error(Exception):
    """A call failed. The exception of gRPC, where there is one, is the __cause__."""

    def __init__(
        self,
        act: str,
        message: str,
        code: Optional[StatusCode] = None,
        reason: str = "",
        retry_after: Optional[timedelta] = None,
        violations: Tuple[Violation, ...] = (),
    ) -> None:
        why = reason or (code.name if code else "")
        super().__init__(": ".join(part for part in (act, why, message) if part))
        self.act = act  # what was being done, such as "noting I-ABC"
        self.message = message  # what the server, or gRPC, says of it
        self.code = code  # the gRPC status code; None for what the client itself found
        self.reason = reason  # of the contract, such as "RATE_LIMITED"; empty for what did not come from Noted, such as a refused connection
        self.retry_after = retry_after  # how long the server asks to wait, if it does
        self.violations = violations  # every field that the server refused


class Unavailable(Error):
    """Another try may cure it: the server cannot be reached, or says UNAVAILABLE for whichever
    reason.
    """


class StoreUnavailable(Unavailable):
    """The store cannot be asked. Nothing was noted."""


class OutcomeUnknown(Unavailable):
    """It may have been noted: ask again with the same request_id."""


class DurabilityNotReached(Unavailable):
    """Fewer replicas than asked for have what the answer rests on: ask again with the same
    request_id.
    """


class StoreWentBack(Unavailable):
    """The store has lost notes and waits for an operator. Not retried."""


class PoolExhausted(Unavailable):
    """Every connection of the server to the store is in use. Nothing was noted: ask again soon."""


class InvalidRequest(Error):
    """A field is malformed; violations names all that are. The same request will be refused
    again.
    """


class RequestIdReused(Error):
    """The request_id belongs to another message. Nothing was noted: ask with an id of its own.
    once() does.
    """


class OccurredTooEarly(Error):
    """occurred_at is older than the notes reach back. Noted cannot decide: keep the message for a
    person.
    """


class OccurredTooLate(Error):
    """occurred_at is further ahead than clocks may disagree. Noted cannot decide: keep the
    message for a person.
    """


class ReceivedTooEarly(Error):
    """received_at is older than the notes reach back. Noted cannot decide: keep the message for a
    person.
    """


class HoldLost(Error):
    """Another attempt has taken over."""


class HoldReleased(Error):
    """The hold was released."""


class SettledByAnother(Error):
    """Another attempt has taken over and settled: the donation has been processed twice, if this
    attempt has processed it too.
    """


class AlreadySettled(Error):
    """This receipt has settled already; it can be neither released nor extended."""


class StoreUnsuitable(Error):
    """The store cannot run Noted, such as a Redis that is too old. Nothing was noted, and the
    operator must act.
    """


class NoteNotFound(Error):
    """The note is forgotten, or never was."""


class RateLimited(Error):
    """The caller is over its rate."""


class StoreFull(Error):
    """The store is full; known duplicates are still answered."""


class SeriesFull(Error):
    """The series holds more notes than a real one could: the series id looks like a constant.
    Keep the message for a person.
    """


class Overloaded(Error):
    """The server has too much to do."""


class Unauthenticated(Error):
    """No valid caller: is the token right?"""


class LedgerDenied(Error):
    """This caller may not use this ledger."""


class VerbDenied(Error):
    """This caller may not make this call."""


class DeadlineExceeded(Error):
    """The time for the call was over."""


class Internal(Error):
    """The server has a fault of its own."""


class WrongAnswer(Error):
    """The answer is about another series, ledger or donation than was asked about.

    Something between the client and the server mixes answers up, such as gRPC in a process that
    forked with its connections open. Nothing is known, as with every Error.
    """


class NotSettled(Error):
    """once()'s: the donation IS processed, but its note could not be made final; the donation's
    next message may be FIRST. The reason why is in
    `reason` and, as an Error, in __cause__."""


# A test compares the reasons with the head of noted.proto.
REASONS: Dict[str, Type[Error]] = {
    "INVALID_REQUEST": InvalidRequest,
    "REQUEST_ID_REUSED": RequestIdReused,
    "OCCURRED_TOO_EARLY": OccurredTooEarly,
    "OCCURRED_TOO_LATE": OccurredTooLate,
    "RECEIVED_TOO_EARLY": ReceivedTooEarly,
    "HOLD_LOST": HoldLost,
    "HOLD_RELEASED": HoldReleased,
    "SETTLED_BY_ANOTHER": SettledByAnother,
    "ALREADY_SETTLED": AlreadySettled,
    "STORE_UNSUITABLE": StoreUnsuitable,
    "NOTE_NOT_FOUND": NoteNotFound,
    "RATE_LIMITED": RateLimited,
    "STORE_FULL": StoreFull,
    "SERIES_FULL": SeriesFull,
    "OVERLOADED": Overloaded,
    "UNAUTHENTICATED": Unauthenticated,
    "LEDGER_DENIED": LedgerDenied,
    "VERB_DENIED": VerbDenied,
    "STORE_UNAVAILABLE": StoreUnavailable,
    "OUTCOME_UNKNOWN": OutcomeUnknown,
    "DURABILITY_NOT_REACHED": DurabilityNotReached,
    "STORE_WENT_BACK": StoreWentBack,
    "POOL_EXHAUSTED": PoolExhausted,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "INTERNAL": Internal,
}

"""The errors of a call: one class for each reason in the head of noted.proto. All are
subclasses of Error.

After an error the donation's state is unknown: do not process it, and do not take it for a
duplicate. The exception is NotSettled, after which the donation IS processed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Dict, Optional, Tuple, Type, Union

if TYPE_CHECKING:
    from grpc import StatusCode


@dataclass(frozen=True)
class Violation:
    """One field that the server refused."""

    field: str  # the path of the field, such as "donation.amount"
    description: str  # the problem with its value


class Error(Exception):
    """A call failed. Where gRPC raised an exception, it is the __cause__."""

    def __init__(
        self,
        act: str,
        message: str,
        code: Union[StatusCode, str, None] = None,
        reason: str = "",
        retry_after: Optional[timedelta] = None,
        violations: Tuple[Violation, ...] = (),
    ) -> None:
        self.code_name = code if isinstance(code, str) else code.name if code else ""
        super().__init__(": ".join(part for part in (act, reason or self.code_name, message) if part))
        self.act = act  # the failed act, such as "noting I-ABC"
        self.message = message  # the text of the server, of gRPC, or of this library
        self.reason = reason  # the contract's, such as "RATE_LIMITED"; empty for failures from elsewhere
        self.retry_after = retry_after  # the wait that the server asks for, if it does
        self.violations = violations  # every field that the server refused

    @property
    def code(self) -> Optional[StatusCode]:
        """The gRPC status code. None for a failure that this library found itself."""
        if not self.code_name:
            return None
        from grpc import StatusCode  # only here, because noted.paypal must run without gRPC

        return StatusCode[self.code_name]


class Unavailable(Error):
    """Another try may succeed. The server cannot be reached, or it answered UNAVAILABLE."""


class StoreUnavailable(Unavailable):
    """The server cannot reach its store. The last try of the call noted nothing; an
    earlier try may have noted.
    """


class OutcomeUnknown(Unavailable):
    """The donation may have been noted. Ask again with the same request_id."""


class DurabilityNotReached(Unavailable):
    """Too few replicas have the data that the answer depends on. Ask again with the same
    request_id.
    """


class StoreWentBack(Unavailable):
    """The store has lost notes and waits for its operator. The client does not retry."""


class PoolExhausted(Unavailable):
    """All of the server's connections to the store are in use. The last try of the call
    noted nothing; an earlier try may have noted. Ask again soon.
    """


class Undecidable(Error):
    """Noted cannot decide, and each further try with the same message would end in the same
    error. Nothing was noted. Keep the message for a person, and answer PayPal 200; otherwise
    the donation is lost when PayPal gives up.
    """


class NoteGone(Error):
    """The note is not this attempt's any more. After NotSettled, PayPal's next try would be a
    duplicate, or double the donation: tell a person, and answer 200.
    """


class InvalidRequest(Undecidable):
    """Fields are malformed. violations names them all. The same request will be refused
    again.
    """


class RequestIdReused(Error):
    """The request_id belongs to another message. Nothing was noted. Ask with a new id, as
    once() does.
    """


class OccurredTooEarly(Undecidable):
    """occurred_at is older than the oldest note can be. Noted cannot decide. Keep the
    message for a person.
    """


class OccurredTooLate(Undecidable):
    """occurred_at is further ahead than clocks may differ. Noted cannot decide. Keep the
    message for a person.
    """


class ReceivedTooEarly(Undecidable):
    """received_at is older than the oldest note can be. Noted cannot decide. Keep the
    message for a person.
    """


class HoldLost(Error):
    """Another attempt has taken the donation over."""


class HoldReleased(NoteGone):
    """The hold was released."""


class SettledByAnother(NoteGone):
    """Another attempt has taken the donation over and settled it. If this attempt processed
    it too, it has been processed twice.
    """


class AlreadySettled(Error):
    """This receipt has settled its note. It can be neither released nor extended."""


class StoreUnsuitable(Error):
    """The store cannot run Noted; for example, its Redis is too old. Nothing was noted. The
    operator must act.
    """


class NoteNotFound(NoteGone):
    """The note was forgotten, or never existed."""


class RateLimited(Error):
    """The caller has exceeded its rate."""


class StoreFull(Error):
    """The store is full. The server still answers known duplicates."""


class SeriesFull(Undecidable):
    """The series holds more notes than a real series could. The series id looks like a
    constant. Keep the message for a person.
    """


class Overloaded(Error):
    """The server is too busy."""


class Unauthenticated(Error):
    """The server does not know the caller. Check the token."""


class LedgerDenied(Error):
    """This caller may not use this ledger."""


class VerbDenied(Error):
    """This caller may not make this call."""


class DeadlineExceeded(Error):
    """The call took longer than its timeout."""


class Internal(Error):
    """The server has a fault."""


class WrongAnswer(Error):
    """The answer is about another series, ledger or donation than the request.

    A proxy mixes answers up, or a process forked with open gRPC connections. As after every
    Error, the donation's state is unknown.
    """


class NotSettled(Error):
    """once() raises it: the donation IS processed, but its note is not final. The
    donation's next message may be FIRST. `reason` says why, and the Error itself is the
    __cause__.
    """


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

"""What a message tells of, and how it is printed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple, Optional, Tuple

from ..types import Donation, Message


class MalformedError(ValueError):
    """A body cannot be read or names no series. The same bytes will never fare better, so asking
    for them again is no use.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field  # the field or fields at fault; "body" for all of it
        self.problem = problem  # what is wrong, and what to do


class Pair(NamedTuple):
    """A donation and the message that told of it."""

    donation: Donation
    message: Message


@dataclass(frozen=True)
class Identified:
    """What a message tells of: either pairs or a reason in skipped."""

    pairs: Tuple[Pair, ...] = ()  # one per donation, in the order of the message
    skipped: str = ""  # in a fixed sentence, why there is no donation in it
    unknown: bool = (
        False  # with skipped: the type or the status is not known. Say it loudly: it may have been a donation.
    )
    type: str = ""  # the txn_type or event_type, safe to be logged
    warnings: Tuple[str, ...] = ()  # what was left out, each beginning with the field's name
    # The nanoseconds of each pair's time that a datetime cannot hold. Noted keeps
    # milliseconds; only the printed line shows them.
    nanoseconds: Tuple[int, ...] = ()

    def in_ledger(self, ledger: str) -> Identified:
        """The same in a ledger: only the receiver knows its books."""
        return replace(self, pairs=tuple(Pair(replace(p.donation, ledger=ledger), p.message) for p in self.pairs))

    def lines(self) -> str:
        """What `python3 -m noted.identify` prints: the same bytes as the Go and PHP programs, a
        line for each pair.
        """
        if self.skipped:
            return '{"skipped":' + _quoted(self.skipped) + "}\n"
        return "".join(_line(pair, nanoseconds) for pair, nanoseconds in zip(self.pairs, self.nanoseconds))


def _line(pair: Pair, nanoseconds: int) -> str:
    donation, message = pair
    event = donation.event.name if donation.event.name.isdigit() else "EVENT_" + donation.event.name
    return '{"donation":{%s},"message":{%s}}\n' % (
        _fields(
            ledger=donation.ledger,
            series_id=donation.series_id,
            event=event,
            occurred_at=_timestamp(donation.occurred_at, nanoseconds),
            amount=donation.amount,
            currency_code=donation.currency_code,
            transaction_id=donation.transaction_id,
        ),
        _fields(channel=message.channel, id=message.id),
    )


def _fields(**fields: str) -> str:
    return ",".join(f'"{name}":{_quoted(value)}' for name, value in fields.items() if value)


def _timestamp(time: Optional[datetime], nanoseconds: int) -> str:
    """The JSON form of google.protobuf.Timestamp: UTC with the fewest of 0, 3, 6 and 9 digits
    that hold it.
    """
    if time is None:
        return ""
    fraction = "%06d%03d" % (time.microsecond, nanoseconds)
    while fraction.endswith("000"):
        fraction = fraction[:-3]
    return time.strftime("%Y-%m-%dT%H:%M:%S") + ("." + fraction if fraction else "") + "Z"


def _quoted(text: str) -> str:
    """What this package produces holds only " and \\ of all that needs an escape; the rest is for
    a ledger that a caller filled in.
    """
    return '"' + "".join("\\" + c if c in '"\\' else c if c >= " " else "\\u%04x" % ord(c) for c in text) + '"'

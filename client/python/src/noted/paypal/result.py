"""The donations of a message, and their printed form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple, Optional, Tuple

from ..types import Donation, Message


class MalformedError(ValueError):
    """A body cannot be read, or names no series. The same bytes will fail again, so a
    repeat is useless.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field  # the wrong field or fields; "body" for the whole body
        self.problem = problem  # the problem and the remedy


class Pair(NamedTuple):
    """A donation and its message."""

    donation: Donation
    message: Message


@dataclass(frozen=True)
class Identified:
    """The content of a message: either pairs, or a reason in skipped."""

    pairs: Tuple[Pair, ...] = ()  # one for each donation, in the order of the message
    skipped: str = ""  # a fixed sentence: why the message has no donation
    # With skipped: the type or the status is unknown. Raise an alarm, because the message may
    # have been a donation.
    unknown: bool = False
    type: str = ""  # the txn_type or event_type, safe for logs
    warnings: Tuple[str, ...] = ()  # the omissions; each begins with the name of its field
    # The nanoseconds of each pair's time that a datetime cannot hold. Noted keeps
    # milliseconds, so only the printed line shows them.
    nanoseconds: Tuple[int, ...] = ()

    def in_ledger(self, ledger: str) -> Identified:
        """The same in a ledger. Only the receiver knows its ledgers."""
        return replace(self, pairs=tuple(Pair(replace(p.donation, ledger=ledger), p.message) for p in self.pairs))

    def lines(self) -> str:
        """The output of `python3 -m noted.identify`: a line for each pair, the same bytes
        as the programs of the other languages.
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
    """The JSON form of google.protobuf.Timestamp: UTC, with 0, 3, 6 or 9 digits, as few as
    possible.
    """
    if time is None:
        return ""
    fraction = "%06d%03d" % (time.microsecond, nanoseconds)
    while fraction.endswith("000"):
        fraction = fraction[:-3]
    return time.strftime("%Y-%m-%dT%H:%M:%S") + ("." + fraction if fraction else "") + "Z"


def _quoted(text: str) -> str:
    """A JSON string. Of this package's own texts only " and \\ need an escape. The other escapes
    are for a caller's ledger.
    """
    return '"' + "".join("\\" + c if c in '"\\' else c if c >= " " else "\\u%04x" % ord(c) for c in text) + '"'

"""The rules for one field, which both channels share."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Callable, Dict, NamedTuple, Optional, Tuple

from .times import parse_time

# A field's text as written, and the problem if the field holds no text.
Lookup = Callable[[str], Tuple[str, str]]

_ID = re.compile(r"[\x21-\x7e]{1,128}")
# Both are limits of the contract. The amount's sign is removed before the match.
_AMOUNT = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,8})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_HARMFUL = re.compile(r'[^\x20-\x7e]|["\\]')


class Moment(NamedTuple):
    """A time, and the nanoseconds that a datetime cannot hold."""

    time: Optional[datetime] = None
    nanoseconds: int = 0


class Reader:
    """Reads the fields of one message and collects the warnings."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._warnings: Dict[str, str] = {}  # field name → its one warning

    @property
    def warnings(self) -> Tuple[str, ...]:
        return tuple(f"{field}: {problem}" for field, problem in self._warnings.items())

    def warn(self, field: str, problem: str) -> None:
        """Keeps one warning for each field, however many rules read it, so that all
        languages count the same warnings.
        """
        self._warnings.setdefault(field, problem)

    def text(self, field: str) -> str:
        """A field without the spaces around it. "" if it is absent or no text."""
        text, problem = self._lookup(field)
        if problem:
            self.warn(field, problem + "; taken as absent")
            return ""
        return text.strip(" ")

    def id(self, field: str) -> str:
        """A field that the contract accepts as an id, or ""."""
        text = self.text(field)
        if text and not fits(text):
            self.warn(
                field, "is not an id: more than 128 bytes, or bytes that are not printable ASCII; taken as absent"
            )
            return ""
        return text

    def series_id(self, field: str) -> str:
        """A field that can name a series, or "". An id that begins with B- names a means of
        payment and no series.
        """
        found = self.id(field)
        return "" if found.startswith("B-") else found

    def first_id(self, *fields: str) -> str:
        """The first field that is an id, or "". The fields after it are not read."""
        for field in fields:
            found = self.id(field)
            if found:
                return found
        return ""

    def time(self, field: str) -> Moment:
        """A field as a time. An empty Moment if it is absent or cannot be read."""
        text = self.text(field)
        if not text:
            return Moment()
        parsed = parse_time(text)
        if parsed is None:
            self.warn(field, "is not a time in a known format; left out")
            return Moment()
        return Moment(*parsed)

    def money(self, amount_field: str, currency_field: str) -> Tuple[str, str]:
        """An amount without its sign, and its currency. Both or neither, because Noted
        compares them together.
        """
        amount = self.text(amount_field)
        if not amount:
            return "", ""
        if amount[0] in "+-":
            amount = amount[1:]
        if not _AMOUNT.fullmatch(amount):
            self.warn(amount_field, "is no plain decimal number; left out, and the currency with it")
            return "", ""
        currency = self.text(currency_field)
        if not _CURRENCY.fullmatch(currency):
            self.warn(currency_field, "is not three capital letters; left out, and the amount with it")
            return "", ""
        return amount, currency


def fits(text: str) -> bool:
    """Reports whether the contract accepts the text as an id."""
    return _ID.fullmatch(text) is not None


def sanitised(text: str) -> str:
    """A message's text, made harmless for a log line and a skip reason. It is the same
    bytes in every language and needs no escapes.
    """
    return _HARMFUL.sub("?", text)[:64]


def lower(text: str) -> str:
    """str.lower for A to Z only. Some other letters of Unicode become ASCII letters, and
    languages disagree about them.
    """
    return text.encode("latin-1").lower().decode("latin-1")

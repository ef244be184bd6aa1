"""The rules that both channels share, for one field at a time."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Callable, Dict, NamedTuple, Optional, Tuple

from .times import parse_time

# A field's text as it is written, and what is wrong with what stands there instead of
# text.
Lookup = Callable[[str], Tuple[str, str]]

_ID = re.compile(r"[\x21-\x7e]{1,128}")
# Both are limits of the contract; the amount's sign is gone before it is tried.
_AMOUNT = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,8})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_HARMFUL = re.compile(r'[^\x20-\x7e]|["\\]')


class Moment(NamedTuple):
    """A time, and the nanoseconds of it that a datetime cannot hold."""

    time: Optional[datetime] = None
    nanoseconds: int = 0


class Reader:
    """Looks at the fields of one message and collects the warnings on the way."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._warnings: Dict[str, str] = {}  # field name → its one warning

    @property
    def warnings(self) -> Tuple[str, ...]:
        return tuple(f"{field}: {problem}" for field, problem in self._warnings.items())

    def warn(self, field: str, problem: str) -> None:
        """Says it once per field however many rules look at it, so that three languages count the
        same warnings.
        """
        self._warnings.setdefault(field, problem)

    def text(self, field: str) -> str:
        """A field without the spaces around it, or "" for one that is absent or no text."""
        text, problem = self._lookup(field)
        if problem:
            self.warn(field, problem + "; taken as absent")
            return ""
        return text.strip(" ")

    def id(self, field: str) -> str:
        """A field that can serve as an id in the contract, or ""."""
        text = self.text(field)
        if text and not fits(text):
            self.warn(field, "is no id: more than 128 bytes, or some that are not printable ASCII; taken as absent")
            return ""
        return text

    def series_id(self, field: str) -> str:
        """A field that can name a series, or "". An id that begins with B- names a means of
        payment.
        """
        found = self.id(field)
        return "" if found.startswith("B-") else found

    def first_id(self, *fields: str) -> str:
        """The first of the fields that is an id, or "". Those behind it are not looked at."""
        for field in fields:
            found = self.id(field)
            if found:
                return found
        return ""

    def time(self, field: str) -> Moment:
        """A field as a time, an empty Moment if it is absent or cannot be read."""
        text = self.text(field)
        if not text:
            return Moment()
        parsed = parse_time(text)
        if parsed is None:
            self.warn(field, "is no time in a spelling that is known; left out")
            return Moment()
        return Moment(*parsed)

    def money(self, amount_field: str, currency_field: str) -> Tuple[str, str]:
        """An amount without its sign and its currency: both, or neither, because Noted can
        compare neither without the other.
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
    """Whether the contract takes the text as an id."""
    return _ID.fullmatch(text) is not None


def sanitised(text: str) -> str:
    """Text from a message made harmless in a log line and in a skip reason: the same bytes in
    every language, and no escape in any.
    """
    return _HARMFUL.sub("?", text)[:64]


def lower(text: str) -> str:
    """str.lower for A to Z alone; Unicode has other letters that become ASCII ones, and languages
    do not agree on them.
    """
    return text.encode("latin-1").lower().decode("latin-1")

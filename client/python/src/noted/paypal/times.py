"""PayPal's four spellings of a time. Both Pacific spellings are on IPNs; the second, and
the dot after a month, come from a simulator. JavaScript's spelling is on IPNs of the other
simulator, and ISO 8601 on webhooks. Both channels accept all four. In all but the last, a
day or an hour may have one digit, and a run of spaces counts as one space.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Optional, Tuple

_CLOCK = r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_MONTH = r"(?P<month>[A-Za-z]{3,9})\.?"
_DAY = r"(?P<day>[0-9]{1,2})"
_YEAR = r"(?P<year>[0-9]{4})"
_SPELLINGS = [
    # 09:05:01 Mar 08, 2021 PST
    re.compile(_CLOCK + " +" + _MONTH + " +" + _DAY + ",? +" + _YEAR + " +(?P<zone>PST|PDT)"),
    # 09:05:01 8 Mar 2021 PST
    re.compile(_CLOCK + " +" + _DAY + " +" + _MONTH + ",? +" + _YEAR + " +(?P<zone>PST|PDT)"),
    # Mon Mar 08 2021 09:05:01 GMT-0800 (PST); the name in brackets is ignored
    re.compile(
        "[A-Za-z]{3,9} +"
        + _MONTH
        + " +"
        + _DAY
        + ",? +"
        + _YEAR
        + " +"
        + _CLOCK
        + r" +GMT(?P<zone>[+-][0-9]{2}:?[0-9]{2})(?: +\([^()]*\))?"
    ),
    # 2021-03-08T17:05:01.250Z
    re.compile(
        r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})T(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
        r"(?:\.(?P<fraction>[0-9]+))?(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})"
    ),
]

_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)


def parse_time(text: str) -> Optional[Tuple[datetime, int]]:
    """A time in any of the spellings, in UTC, and the nanoseconds that a datetime cannot
    hold.

    PST and PDT stand for their offsets, and not for Pacific time on that date. In the hour
    that autumn repeats, only the label tells the two apart, and PayPal wrote it. Years run
    from 1970 to 9998, so that every offset stays within a protobuf Timestamp. There are no
    leap seconds: a second 60 is unreadable.
    """
    for spelling in _SPELLINGS:
        found = spelling.fullmatch(text)
        if found is None:
            continue
        part = found.groupdict()
        month, offset, year = _month(part["month"]), _offset(part["zone"]), int(part["year"])
        if offset is None or not 1970 <= year <= 9998:
            return None
        fraction = ((part.get("fraction") or "") + "000000000")[:9]
        try:
            time = datetime(
                year,
                month,
                int(part["day"]),
                int(part["hour"]),
                int(part["minute"]),
                int(part["second"]),
                int(fraction[:6]),
                timezone(offset),
            )
        except ValueError:  # no date has that day, hour, minute or second
            return None
        return time.astimezone(timezone.utc), int(fraction[6:])
    return None


def _month(text: str) -> int:
    """The month of 01 to 12, or of at least three letters that begin its English name (Sep,
    Sept, September). 0 for all other texts.
    """
    if text.isdigit():
        return int(text)
    return next((n for n, name in enumerate(_MONTHS, 1) if name.startswith(text.lower())), 0)


def _offset(zone: str) -> Optional[timedelta]:
    """The offset of PST, PDT, Z, -07:00 or -0700. None for an offset of a day or more."""
    named = {"PST": -8, "PDT": -7, "Z": 0}
    if zone in named:
        return timedelta(hours=named[zone])
    hours, minutes = int(zone[1:3]), int(zone[-2:])
    if hours > 23 or minutes > 59:
        return None
    offset = timedelta(hours=hours, minutes=minutes)
    return -offset if zone[0] == "-" else offset

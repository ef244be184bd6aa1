"""The replies of PayPal's servers, and the URLs that may be asked."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from ..address import this_machine


class Reply(NamedTuple):
    status: int
    body: bytes


class Unanswered(Exception):
    """A server gave no reply. The text says why, and holds nothing of the message."""


def confidential(url: str) -> bool:
    """Reports whether only the server can read and change the traffic with a URL: https, or
    this machine.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    host = parts.hostname or ""
    return host != "" and (parts.scheme == "https" or parts.scheme == "http" and this_machine(host))

"""What the verifiers fetch, with urllib: bounded in time and size, and without following anybody elsewhere."""
from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from typing import Any, Dict, NamedTuple, Optional
from urllib.parse import urlsplit

from .._settings import this_machine


class Reply(NamedTuple):
    status: int
    body: bytes


class Unanswered(Exception):
    """There was no reply; why, without anything of the message."""


def confidential(url: str) -> bool:
    """Whether nobody between can read or change what goes to a URL: https, or this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    host = parts.hostname or ""
    return host != "" and (parts.scheme == "https" or parts.scheme == "http" and this_machine(host))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def fetch(
    url: str,
    timeout: float,
    most: int,
    context: ssl.SSLContext,
    post: Optional[bytes] = None,
    headers: Optional[Dict[str, str]] = None,
) -> Reply:
    """The status and the body of a reply; a body that is longer than most is cut."""
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=context))
    request = urllib.request.Request(url, data=post, headers={"User-Agent": "noted-receiver", **(headers or {})})
    try:
        with opener.open(request, timeout=timeout) as response:
            return Reply(response.status, response.read(most))
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, b"")
    except urllib.error.URLError as error:
        raise Unanswered(_why(error.reason)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unanswered(_why(error)) from error


def _why(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate cannot be trusted"
    return f"no connection: {type(error).__name__}"

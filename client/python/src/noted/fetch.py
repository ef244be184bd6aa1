"""Fetches over HTTP with urllib, bounded in time and size. Redirects are not followed."""

from __future__ import annotations

import functools
import http.client
import io
import socket
import ssl
import time
import urllib.error
import urllib.request
from typing import Any, Dict, List, Optional
from urllib.parse import urlsplit

from .core.address import this_machine
from .core.receiver.web import Reply, Unanswered


def fetch(
    url: str,
    timeout: float,
    most: int,
    context: ssl.SSLContext,
    post: Optional[bytes] = None,
    headers: Optional[Dict[str, str]] = None,
) -> Reply:
    """The status and the body of a reply. A body longer than most is cut. The timeout
    covers all but the resolution of the host's name.
    """
    until = time.monotonic() + timeout
    try:
        handlers: List[urllib.request.BaseHandler] = [_NoRedirect(), _Plain(until), _TLS(until, context)]
        if this_machine(urlsplit(url).hostname or ""):
            handlers.append(urllib.request.ProxyHandler({}))  # the environment's proxy is for other hosts
        request = urllib.request.Request(url, data=post, headers={"User-Agent": "noted-receiver", **(headers or {})})
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout) as response:
            return Reply(response.status, response.read(most))
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, b"")
    except urllib.error.URLError as error:
        raise Unanswered(_why(error.reason)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unanswered(_why(error)) from error


def _why(error: object) -> str:
    if isinstance(error, (TimeoutError, socket.timeout)):  # one class, from Python 3.10 on
        return "it did not answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate cannot be trusted"
    return f"no connection: {type(error).__name__}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


# A socket's timeout begins anew with each byte that arrives. Each step therefore sets it to
# the time that is left.


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Plain(urllib.request.HTTPHandler):
    def __init__(self, until: float) -> None:
        super().__init__()
        self._until = until

    def http_open(self, req: urllib.request.Request) -> Any:
        connection: Any = functools.partial(_Connection, until=self._until)
        return self.do_open(connection, req)


class _TLS(urllib.request.HTTPSHandler):
    def __init__(self, until: float, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._until, self._trusting = until, context

    def https_open(self, req: urllib.request.Request) -> Any:
        connection: Any = functools.partial(_TLSConnection, until=self._until)
        return self.do_open(connection, req, context=self._trusting)


class _Connection(http.client.HTTPConnection):
    def __init__(self, *args: Any, until: float, **more: Any) -> None:
        super().__init__(*args, **more)
        self._until = until
        self.response_class: Any = functools.partial(_Response, until=until)
        self._create_connection: Any = lambda address, *_: _connect(address[0], address[1], until)

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(_left(self._until))

    def send(self, data: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(_left(self._until))
        super().send(data)


class _TLSConnection(_Connection, http.client.HTTPSConnection):
    pass


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, until: float, **more: Any) -> None:
        super().__init__(sock, *args, **more)
        self.fp: Any = io.BufferedReader(_Received(self.fp.detach(), sock, until))


class _Received(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, sock: socket.socket, until: float) -> None:
        self._raw, self._sock, self._until = raw, sock, until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        self._sock.settimeout(_left(self._until))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _connect(host: str, port: int, until: float) -> socket.socket:
    """Tries the addresses of a host, each within its share of the time that is left,
    because the first may be an address that never answers.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for i, (*_, address) in enumerate(found):
        try:
            connected = socket.create_connection((str(address[0]), int(address[1])), _left(until) / (len(found) - i))
        except OSError:
            if i == len(found) - 1:
                raise
            continue
        connected.settimeout(_left(until))
        return connected
    raise OSError("the host has no address")

"""The verifiers' requests to slow and silent servers."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Iterable, Iterator, List, Optional

import pytest

from noted.core.receiver.web import Unanswered
from noted.fetch import fetch

from .authority import Authority
from .paypal_stand import Web

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n"


@contextlib.contextmanager
def server(
    say: Callable[[], Iterable[bytes]], wait: float, tls: Optional[ssl.SSLContext] = None, listens: bool = True
) -> Iterator[int]:
    """Sends one part after the other, with a wait between. Without listens it does not read
    the request.
    """
    over = threading.Event()

    def serve() -> None:
        with contextlib.suppress(OSError):
            near, _ = listener.accept()
            with tls.wrap_socket(near, server_side=True) if tls else near as near:
                if listens:
                    near.recv(1 << 16)
                for part in say():
                    near.sendall(part)
                    if over.wait(wait):
                        return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        over.set()


def drip(head: bytes = b"") -> Callable[[], Iterable[bytes]]:
    """More bytes than the timeout allows, then the end of the connection. A reader without a
    deadline would read them all, and report something else than a lack of time.
    """
    return lambda: itertools.chain([head], itertools.repeat(b"a", 40))


@pytest.mark.parametrize(
    "say",
    [
        drip(),
        drip(HEAD + b"X-More: "),
        drip(HEAD + b"\r\n"),
        drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n"),
        lambda: [b""] * 100,
        drip(b"HTTP/1.1 404 "),
    ],
    ids=["no line", "a header", "the body", "a chunk", "nothing", "a status"],
)
def test_a_server_that_drips(say: Callable[[], Iterable[bytes]]) -> None:
    """A socket's timeout starts again with each byte. The timeout of fetch() does not."""
    with server(say, 0.1) as port:
        with pytest.raises(Unanswered, match="did not answer in time"):
            fetch(f"http://127.0.0.1:{port}/", 0.5, 1000, ssl.create_default_context())


def test_a_server_that_drips_over_tls(tmp_path: Path) -> None:
    authority = Authority("Root")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*authority.files(tmp_path, "localhost"))
    trusting = ssl.create_default_context(cadata=authority.pem.decode())
    with server(drip(HEAD + b"\r\n"), 0.1, tls) as port:
        with pytest.raises(Unanswered, match="did not answer in time"):
            fetch(f"https://localhost:{port}/", 0.5, 1000, trusting)
    with server(drip(), 0.1) as port:  # it speaks no TLS
        with pytest.raises(Unanswered):
            fetch(f"https://localhost:{port}/", 0.5, 1000, trusting)
    with server(drip(b"\x16\x03\x03\x3f\xff"), 0.1) as port:  # a record of 16 KiB
        with pytest.raises(Unanswered, match="did not answer in time"):
            fetch(f"https://localhost:{port}/", 0.5, 1000, trusting)


def test_a_server_that_does_not_listen() -> None:
    with server(lambda: [b""] * 100, 0.1, listens=False) as port:
        with pytest.raises(Unanswered, match="did not answer in time"):
            fetch(f"http://127.0.0.1:{port}/", 0.5, 1000, ssl.create_default_context(), post=b"a" * (64 << 20))


@pytest.mark.parametrize("mute, answers, given", [(1, 1, [30, 30]), (3, 0, [20, 20, 20]), (4, 1, [12] * 5)])
def test_a_host_whose_addresses_do_not_answer(
    monkeypatch: pytest.MonkeyPatch, mute: int, answers: int, given: List[float]
) -> None:
    """The addresses share the timeout. The test does not wait for it: it cuts an attempt at a
    mute address short, and sets the clock forward by the timeout of the attempt.
    """
    clock, attempts = SimpleNamespace(now=0.0), []
    resolve, connect = socket.getaddrinfo, socket.create_connection
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = full.getsockname()[1]
        for _ in range(4):  # fills its queue, so that later connections wait
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        web = Web()
        stack.callback(web.close)
        web.replies["/"] = (200, b"here")

        def resolved(host: str, *rest: Any, **more: Any) -> Any:
            if host != "paypal.example.org":
                return resolve(host, *rest, **more)
            ports = [port] * mute + [web.port] * answers
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]

        def attempt(address: Any, timeout: float) -> socket.socket:
            attempts.append(timeout)
            if address[1] != port:
                return connect(address, timeout)
            try:
                return connect(address, 0.05)
            finally:
                clock.now += timeout

        monkeypatch.setattr(socket, "getaddrinfo", resolved)
        monkeypatch.setattr(socket, "create_connection", attempt)
        monkeypatch.setattr("noted.fetch.time", SimpleNamespace(monotonic=lambda: clock.now))
        if answers:
            assert fetch("http://paypal.example.org/", 60, 10, ssl.create_default_context()).body == b"here"
        else:
            with pytest.raises(Unanswered, match="did not answer in time"):
                fetch("http://paypal.example.org/", 60, 10, ssl.create_default_context())
    assert attempts == pytest.approx(given) and sum(attempts) == pytest.approx(60)


def test_nothing_on_this_machine_is_fetched_through_a_proxy() -> None:
    web = Web()
    web.replies["/"] = (200, b"VERIFIED")
    program = """
import ssl, sys
from noted.core.receiver.web import Unanswered
from noted.fetch import fetch
for url in sys.argv[1:]:
    try:
        print(fetch(url, 5, 64, ssl.create_default_context()).body.decode())
    except Unanswered as error:
        print(error)
"""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        environment.update(http_proxy="http://127.0.0.1:%d" % proxy.getsockname()[1], https_proxy="http://127.0.0.1:1")
        urls = [f"http://127.0.0.1:{web.port}/", f"http://localhost:{web.port}/", "https://example.org/"]
        done = subprocess.run(
            [sys.executable, "-c", program, *urls], env=environment, capture_output=True, text=True, timeout=60
        )
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()
    web.close()
    assert done.stdout == "VERIFIED\nVERIFIED\nno connection: ConnectionRefusedError\n", (
        "requests to other hosts go through the proxy"
    )

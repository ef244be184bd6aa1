"""Fixtures and messages for the tests of both receivers."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import urllib.error
import urllib.request
import uuid
from datetime import timedelta
from socketserver import ThreadingMixIn
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.validate import validator

import pytest

import noted
from noted.receiver import Delivery, Receiver, mount

from .authority import NOW
from .paypal_stand import WEBHOOK_ID, PayPal

ACCOUNT = "donations@example.org"


class Answered(NamedTuple):
    status: int
    reason: str
    headers: Dict[str, str]


class Books:
    """The user's code that a receiver calls."""

    def __init__(self) -> None:
        self.booked: List[Delivery] = []
        self.undecided: "List[tuple[Delivery, noted.Error]]" = []
        self.trouble: Optional[Exception] = None
        self.meanwhile: Callable[[], object] = lambda: None

    def book(self, delivery: Delivery) -> None:
        self.meanwhile()
        if self.trouble:
            raise self.trouble
        self.booked.append(delivery)

    def keep(self, delivery: Delivery, error: noted.Error) -> None:
        if self.trouble:
            raise self.trouble
        self.undecided.append((delivery, error))


@pytest.fixture(scope="module")
def paypal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PayPal]:
    paypal = PayPal(tmp_path_factory.mktemp("paypal"))
    yield paypal
    paypal.close()


@pytest.fixture
def books() -> Books:
    return Books()


def settings(paypal: PayPal, **changed: Any) -> Dict[str, Any]:
    return {
        "ledger": "paypal-live",
        "accounts": [ACCOUNT, "S8XGHLYDW9T3S"],
        "webhook_id": WEBHOOK_ID,
        "ipn_verify_url": f"http://127.0.0.1:{paypal.ipn.port}/ipn",
        "cert_hosts": [f"localhost:{paypal.certificates.port}"],
        "cert_roots": paypal.root.pem,
        "verify_timeout": 5,
        **changed,
    }


@pytest.fixture
def receiver(client: noted.Client, books: Books, paypal: PayPal) -> Receiver:
    return Receiver(client, books.book, books.keep, **settings(paypal))


class Threading(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64  # waiting connections; with the default of 5 a storm of messages gets resets


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


Post = Callable[..., Answered]


@pytest.fixture
def post(receiver: Receiver) -> Iterator[Post]:
    """Posts to the receiver. It is mounted beside another application."""

    def other(environ: Any, start_response: Any) -> List[bytes]:
        start_response("418 I'm a teapot", [("Content-Type", "text/plain")])
        return [b""]

    server = make_server("127.0.0.1", 0, validator(mount(other, "/paypal", validator(receiver))), Threading, Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def post(
        path: str, body: Optional[bytes], headers: Optional[Dict[str, str]] = None, content_type: Optional[str] = None
    ) -> Answered:
        content_type = content_type or (
            "application/x-www-form-urlencoded" if path.endswith("ipn") else "application/json"
        )
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.server_port}{path}", body, {"Content-Type": content_type, **(headers or {})}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return Answered(response.status, "", dict(response.headers))
        except urllib.error.HTTPError as error:
            with error:
                text = error.read()
            return Answered(error.code, json.loads(text)["reason"] if text else "", dict(error.headers))

    yield post
    server.shutdown()
    server.server_close()


def ipn(series: str, **fields: str) -> bytes:
    told = {
        "txn_type": "recurring_payment", "payment_status": "Completed", "recurring_payment_id": series, "txn_id": "T" + series[2:18],
        "payment_date": NOW.strftime("%H:%M:%S+%b+%d%%2C+%Y+PST"), "mc_gross": "25.00", "mc_currency": "EUR", "receiver_email": ACCOUNT,
        "first_name": "Jos%E9", "charset": "windows-1252", **fields,
    }  # fmt: skip
    return "&".join(f"{name}={value}" for name, value in told.items()).encode()


def webhook(series: str, **resource: Any) -> bytes:
    sale = {
        "id": "T" + series[2:18], "state": "completed", "billing_agreement_id": series, "amount": {"total": "25.00", "currency": "EUR"},
        "create_time": (NOW.replace(tzinfo=None) + timedelta(hours=8)).strftime("%Y-%m-%dT%H:%M:%SZ"), **resource,
    }  # fmt: skip
    return json.dumps({"id": "WH-" + series, "event_type": "PAYMENT.SALE.COMPLETED", "resource": sale}).encode()


@pytest.fixture
def series() -> str:
    return "I-" + uuid.uuid4().hex


class Silent:
    """A host of certificates that accepts connections and never answers."""

    def __init__(self) -> None:
        self.taken: List[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.taken.append(self._listener.accept()[0])

    def hang_up(self) -> None:
        for connection in self.taken:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        for connection in self.taken:
            connection.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    silent = Silent()
    yield silent
    silent.close()

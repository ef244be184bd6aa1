"""The asyncio receiver in real web servers, with a real Noted and a stand-in of PayPal. Its
rules are in the core, which the tests of the blocking receiver cover.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import urllib.error
import urllib.request
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest
import uvicorn
from fastapi import FastAPI

import noted
import noted.aio
from noted.aio.receiver import Delivery, Receiver, mount
from noted.core.receiver.answer import Answer

from .conftest import until
from .paypal_stand import PayPal, sign
from .peer import Peer
from .places import PROJECT
from .reasons import after_processing, before_processing, codes, fail, patience
from .receiving import Silent, ipn, paypal, series, settings, silent, webhook

__all__ = ["paypal", "series", "silent"]  # fixtures


class Books:
    """The user's code that a receiver calls, as coroutines."""

    def __init__(self) -> None:
        self.booked: List[Delivery] = []
        self.undecided: List[Tuple[Delivery, noted.Error]] = []
        self.trouble: Optional[Exception] = None

    async def book(self, delivery: Delivery) -> None:
        await asyncio.sleep(0)
        if self.trouble:
            raise self.trouble
        self.booked.append(delivery)

    async def keep(self, delivery: Delivery, error: noted.Error) -> None:
        await asyncio.sleep(0)
        self.undecided.append((delivery, error))


@pytest.fixture
def books() -> Books:
    return Books()


@contextlib.contextmanager
def served(application: Any) -> Iterator[str]:
    """An ASGI application in uvicorn."""
    config = uvicorn.Config(application, "127.0.0.1", 0, log_level="error", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield "http://127.0.0.1:%d" % server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def post(url: str, body: Optional[bytes], headers: Optional[Dict[str, str]] = None, kind: str = "") -> Tuple[int, str]:
    kind = kind or ("application/x-www-form-urlencoded" if url.endswith("ipn") else "application/json")
    request = urllib.request.Request(url, body, {"Content-Type": kind, **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, ""
    except urllib.error.HTTPError as error:
        with error:
            text = error.read()
        return error.code, json.loads(text).get("reason", "")


def in_fastapi(receiver: Receiver) -> Any:
    app = FastAPI()
    app.mount("/paypal", receiver)  # type: ignore[arg-type]
    return app


def in_asgi(receiver: Receiver) -> Any:
    return mount(FastAPI(), "/paypal", receiver)  # type: ignore[arg-type]


@pytest.mark.parametrize("mounted", [in_fastapi, in_asgi])
def test_in_a_server(
    address: str, client: noted.Client, books: Books, paypal: PayPal, series: str, mounted: Callable[[Receiver], Any]
) -> None:
    """The client exists before the server's loop runs."""
    receiver = Receiver(noted.aio.Client(address), books.book, books.keep, **settings(paypal))
    body, event = ipn(series), webhook(series)
    with served(mounted(receiver)) as url:
        assert post(url + "/paypal/ipn", body) == (200, "")
        assert paypal.ipn.posted[-1] == b"cmd=_notify-validate&" + body, "the exact bytes"
        assert post(url + "/paypal/webhook", event, sign(*paypal.certificate(), event)) == (200, "")
        (delivery,) = books.booked
        assert delivery.donation.series_id == series and delivery.body == body and delivery.donation_id
        held = client.note(noted.Donation(series + "h", "paypal-live"), hold=60)
        assert post(url + "/paypal/ipn", ipn(series + "h")) == (503, "held")
        client.settle(held.receipt)
        assert post(url + "/paypal/ipn", ipn(series + "h")) == (200, "")
        books.trouble = RuntimeError("the books are closed")
        assert post(url + "/paypal/ipn", ipn(series + "t")) == (503, "process")
        books.trouble = None
        assert post(url + "/paypal/ipn", ipn(series + "t")) == (200, "") and len(books.booked) == 2
        old = ipn(series + "o", payment_date="09:05:01+Mar+08%2C+2021+PST")
        assert [post(url + "/paypal/ipn", old) for _ in range(2)] == [(200, "")] * 2 and len(books.undecided) == 1
        assert post(url + "/paypal/webhook", event + b" ", sign(*paypal.certificate(), event)) == (400, "invalid")
        assert post(url + "/paypal/elsewhere", b"x") == (404, "not_found")
        assert post(url + "/paypal/ipn", None) == (405, "method")
        assert post(url + "/paypal/ipn", body, kind="text/plain") == (415, "content_type")
        assert post(url + "/paypal/ipn", b"a" * (256 * 1024 + 1)) == (413, "too_large")
        assert post(url + "/paypal/ipn", b"") == (400, "malformed")
        assert post(url + "/elsewhere", b"x")[0] == 404
    assert len(books.booked) == 2


def test_a_body_without_a_length(address: str, books: Books, paypal: PayPal, series: str) -> None:
    """A body in pieces is read up to the limit, and no further."""
    receiver = Receiver(noted.aio.Client(address), books.book, books.keep, **settings(paypal))
    taken: List[int] = []

    async def deliver(pieces: List[bytes], ends: bool) -> int:
        sent: List[Dict[str, Any]] = []

        async def receive() -> Dict[str, Any]:
            taken.append(1)
            if not pieces:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces) or not ends}

        async def send(event: Dict[str, Any]) -> None:
            sent.append(event)

        headers = [(b"content-type", b"application/x-www-form-urlencoded")]
        await receiver({"type": "http", "path": "/ipn", "method": "POST", "headers": headers}, receive, send)
        return int(sent[0]["status"])

    body = ipn(series)
    assert asyncio.run(deliver([body[:9], b"", body[9:]], True)) == 200
    assert asyncio.run(deliver([body[:9]], False)) == 400, "the body broke off"
    taken.clear()
    assert asyncio.run(deliver([b"a" * 100_000] * 10, True)) == 413 and len(taken) == 3
    assert len(books.booked) == 1


@pytest.mark.parametrize("reason", [*codes(), "WRONG_ANSWER"])
def test_what_each_reason_is_answered(address: str, books: Books, paypal: PayPal, series: str, reason: str) -> None:
    """Compares the README's table with the receiver, before and after processing."""
    readme = (PROJECT / "README.md").read_text()
    peer = Peer(address)
    expected = after_processing(readme, reason)

    async def deliver(body: bytes) -> Answer:
        async with noted.aio.Client(peer.address, settle_timeout=patience(expected)) as far:
            return await Receiver(far, books.book, books.keep, **settings(paypal)).receive("ipn", {}, body)

    peer.change = fail("NoteDonation", reason)
    status = asyncio.run(deliver(ipn(series))).status
    assert (status, bool(books.undecided)) == before_processing(readme, reason) and not books.booked
    peer.change = fail("SettleDonation", reason)
    assert asyncio.run(deliver(ipn(series + "-b"))).status == expected[0] and len(books.booked) == 1
    peer.close()


def test_a_host_of_certificates_that_hangs(
    address: str, books: Books, paypal: PayPal, silent: Silent, series: str
) -> None:
    """All messages that wait for one certificate share one fetch, even after one of their tasks
    is cancelled. Messages with another certificate do not wait.
    """
    hosts = [f"localhost:{silent.port}", f"localhost:{paypal.certificates.port}"]
    event, (url, key) = webhook(series), paypal.certificate()
    hanging = sign(f"https://localhost:{silent.port}/v1/notifications/certs/one", key, event)

    async def deliver() -> None:
        async with noted.aio.Client(address) as client:
            own = settings(paypal, cert_hosts=hosts, verify_timeout=60)
            receiver = Receiver(client, books.book, books.keep, **own)
            waiting = [asyncio.ensure_future(receiver.receive("webhook", hanging, event)) for _ in range(9)]
            while not silent.taken:
                await asyncio.sleep(0.02)
            waiting[0].cancel()
            assert (await receiver.receive("webhook", sign(url, key, event), event)).status == 200
            assert not any(one.done() for one in waiting[1:]) and len(silent.taken) == 1
            silent.hang_up()
            assert [(await one).status for one in waiting[1:]] == [503] * 8 and len(silent.taken) == 1
            again = asyncio.ensure_future(receiver.receive("webhook", hanging, event))
            while len(silent.taken) < 2:
                await asyncio.sleep(0.02)
            silent.hang_up()
            assert (await again).status == 503

    asyncio.run(deliver())

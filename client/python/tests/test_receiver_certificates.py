"""How the receiver fetches and keeps the certificates that sign webhooks."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, Dict, List
from urllib.parse import urlsplit

import pytest

import noted
from noted.fetch import fetch
from noted.receiver import Receiver

from .authority import NOW, Authority
from .conftest import until
from .paypal_stand import PayPal, sign
from .receiving import Books, Silent, books, paypal, receiver, series, settings, silent, webhook

__all__ = ["books", "paypal", "receiver", "series", "silent"]  # fixtures


def test_a_certificate_that_ended_since(receiver: Receiver, paypal: PayPal, series: str) -> None:
    """A message may be redelivered when the certificate that signed it has ended."""
    event = webhook(series)
    signed = sign(
        *paypal.certificate(begin=NOW - timedelta(days=9), end=NOW - timedelta(hours=1)),
        event,
        NOW - timedelta(hours=2),
    )
    assert receiver.receive("webhook", signed, event).status == 200


def test_a_certificate_has_one_address(receiver: Receiver, paypal: PayPal, series: str) -> None:
    """Capitals in the host make no other address, and no other fetch."""
    (url, key), event = paypal.certificate(), webhook(series)
    for address in (url, url.replace("localhost", "LocalHost"), url):
        assert receiver.receive("webhook", sign(address, key, event), event).status == 200
    assert paypal.certificates.asked.count(urlsplit(url).path) == 1


def test_a_certificate_that_was_renewed(receiver: Receiver, paypal: PayPal, series: str) -> None:
    """A certificate that has ended is fetched again from its address. If the fetched one has
    ended too, the next fetch waits.
    """
    event = webhook(series)
    url, key = paypal.certificate(begin=NOW - timedelta(days=9), end=NOW - timedelta(hours=1))
    before = sign(url, key, event, NOW - timedelta(hours=2))
    assert receiver.receive("webhook", before, event).status == 200
    asked = len(paypal.certificates.asked)
    for _ in range(5):
        assert receiver.receive("webhook", sign(url, key, event), event).status == 400
    assert len(paypal.certificates.asked) == asked + 1

    url, key = paypal.certificate(begin=NOW - timedelta(days=9), end=NOW - timedelta(hours=1))
    assert receiver.receive("webhook", sign(url, key, event, NOW - timedelta(hours=2)), event).status == 200
    renewed, next_key = paypal.certificate()
    path = urlsplit(url).path
    paypal.certificates.replies[path] = paypal.certificates.replies[urlsplit(renewed).path]
    assert receiver.receive("webhook", sign(url, next_key, event), event).status == 200


def test_certificates_are_kept_and_completed(receiver: Receiver, paypal: PayPal, series: str) -> None:
    url, key = paypal.certificate(chain=False, issuer_at=paypal.issuer_at)
    event = webhook(series)
    assert receiver.receive("webhook", sign(url, key, event), event).status == 503, "the issuer is not served yet"
    paypal.plain.replies["/between"] = (200, paypal.between.pem)
    for _ in range(3):
        assert receiver.receive("webhook", sign(url, key, event), event).status == 200
    assert len([path for path in paypal.certificates.asked if path in url]) == 2


def test_a_host_of_certificates_that_hangs(
    client: noted.Client, books: Books, paypal: PayPal, silent: Silent, series: str
) -> None:
    """All messages that wait for one certificate share one fetch and its outcome. Messages
    with another certificate do not wait.
    """
    read: List[bool] = []  # one for each message that is about to need its certificate

    def now() -> datetime:
        read.append(True)
        return NOW

    hosts = [f"localhost:{silent.port}", f"localhost:{paypal.certificates.port}"]
    own = settings(paypal, cert_hosts=hosts, verify_timeout=60, now=now)
    receiver = Receiver(client, books.book, books.keep, **own)
    event, (url, key) = webhook(series), paypal.certificate()
    hanging = sign(f"https://localhost:{silent.port}/v1/notifications/certs/one", key, event)

    def receive(headers: Dict[str, str]) -> int:
        return receiver.receive("webhook", headers, event).status

    def hang_up(waiting: "List[Future[int]]") -> bool:
        silent.hang_up()
        return all(one.done() for one in waiting)

    with ThreadPoolExecutor(10) as pool:
        waiting = [pool.submit(receive, hanging) for _ in range(9)]
        until(lambda: silent.taken and len(read) >= 9)
        assert pool.submit(receive, sign(url, key, event)).result() == 200
        assert not any(one.done() for one in waiting) and len(silent.taken) == 1
        until(lambda: hang_up(waiting))
        assert {one.result() for one in waiting} == {503}
        taken = len(silent.taken)
        again = pool.submit(receive, hanging)
        until(lambda: len(silent.taken) > taken)  # the next message tries again
        until(lambda: hang_up([again]))
        assert again.result() == 503


def test_many_certificates_that_hang(
    client: noted.Client, books: Books, paypal: PayPal, silent: Silent, series: str
) -> None:
    """A forger can name any number of certificates."""
    receiver = Receiver(
        client, books.book, books.keep, **settings(paypal, cert_hosts=[f"localhost:{silent.port}"], verify_timeout=1)
    )
    event, (_, key) = webhook(series), paypal.certificate()

    def receive(i: int) -> "tuple[int, str]":
        answer = receiver.receive(
            "webhook", sign(f"https://localhost:{silent.port}/v1/notifications/certs/{i}", key, event), event
        )
        return answer.status, json.loads(answer.body)["error"]

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(receive, range(20)))
    assert len(silent.taken) == 8
    assert {status for status, _ in answers} == {503} and sum("at once" in why for _, why in answers) == 12


def test_a_certificate_and_its_issuer_have_the_time_together(
    client: noted.Client,
    books: Books,
    paypal: PayPal,
    silent: Silent,
    series: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The host of the certificate takes 0.6 s. The host of its issuer gets the rest."""
    given: List[float] = []

    def timed(url: str, timeout: float, *rest: Any) -> Any:
        given.append(timeout)
        return fetch(url, timeout, *rest)

    monkeypatch.setattr("noted.receiver.certificates.fetch", timed)
    url, key = paypal.certificate(chain=False, issuer_at=f"http://127.0.0.1:{silent.port}/between")
    receiver = Receiver(client, books.book, books.keep, **settings(paypal, verify_timeout=60))
    paypal.certificates.pause = 0.6
    try:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(receiver.receive, "webhook", sign(url, key, webhook(series)), webhook(series))
            until(lambda: silent.taken)
            silent.hang_up()
            assert answer.result().status == 503
    finally:
        paypal.certificates.pause = 0
    assert len(given) == 2 and given[0] == 60 and given[1] <= 59.4 and len(silent.taken) == 1


def test_a_host_of_certificates_that_cannot_be_trusted(
    client: noted.Client, books: Books, paypal: PayPal, series: str
) -> None:
    receiver = Receiver(client, books.book, books.keep, **settings(paypal, cert_roots=Authority("Another").pem))
    event = webhook(series)
    assert receiver.receive("webhook", sign(*paypal.certificate(), event), event).status == 503

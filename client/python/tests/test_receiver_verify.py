"""Which messages the receiver believes: both verifiers beside a stand-in of PayPal."""

from __future__ import annotations

import csv
import json
import zlib
from datetime import datetime, timedelta, timezone
from typing import Any, Dict, List

import pytest

import noted
from noted.core.receiver.answer import Refusal
from noted.core.receiver.webhook import Transmissions
from noted.receiver import Receiver

from .authority import NOW, Authority
from .paypal_stand import NAME, PayPal, sign
from .places import payloads
from .receiving import ACCOUNT, Books, Post, books, ipn, paypal, post, receiver, series, settings, webhook

__all__ = ["books", "paypal", "post", "receiver", "series"]  # fixtures


@pytest.mark.parametrize(
    "reply, status, reason",
    [
        ((200, b"INVALID"), 400, "invalid"),
        ((200, b"<html>VERIFIED</html>"), 503, "verifier"),
        ((200, b""), 503, "verifier"),
        ((500, b"VERIFIED"), 503, "verifier"),
        ((302, b"/elsewhere"), 503, "verifier"),
    ],
)
def test_an_ipn_that_is_not_verified(
    post: Post, paypal: PayPal, books: Books, series: str, reply: Any, status: int, reason: str
) -> None:
    verified = paypal.ipn.replies["/ipn"]
    paypal.ipn.replies.update({"/ipn": reply, "/elsewhere": (200, b"VERIFIED")})
    try:
        answered = post("/paypal/ipn", ipn(series))
    finally:
        paypal.ipn.replies["/ipn"] = verified
    assert (answered.status, answered.reason) == (status, reason)
    assert ("Retry-After" in answered.headers) == (status == 503)
    assert post("/paypal/ipn", ipn(series)).status == 200 and len(books.booked) == 1, (
        "the refused message was not noted"
    )


def test_a_verifier_that_is_away(client: noted.Client, books: Books, paypal: PayPal, series: str) -> None:
    receiver = Receiver(client, books.book, books.keep, **settings(paypal, ipn_verify_url="http://127.0.0.1:1/"))
    assert receiver.receive("ipn", {}, ipn(series)).status == 503


@pytest.mark.parametrize(
    "fields, status",
    [
        ({"receiver_email": "thief@example.org"}, 403),
        ({"receiver_email": "thief@example.org", "business": ACCOUNT}, 403),
        ({"receiver_email": "", "business": "thief@example.org"}, 403),
        ({"receiver_email": "", "business": ACCOUNT.upper()}, 200),
        ({"receiver_email": "other@example.org", "receiver_id": "S8XGHLYDW9T3S"}, 200),
    ],
)
def test_accounts(post: Post, books: Books, series: str, fields: Any, status: int) -> None:
    assert post("/paypal/ipn", ipn(series, **fields)).status == status
    assert len(books.booked) == (1 if status == 200 else 0)


def test_tests_of_the_sandbox(client: noted.Client, books: Books, paypal: PayPal, series: str) -> None:
    closed = Receiver(client, books.book, books.keep, **settings(paypal))
    assert closed.receive("ipn", {}, ipn(series, test_ipn="1")).status == 403
    own = settings(paypal, sandbox_ledger="paypal-sandbox", sandbox_webhook_id="4JH86294D6297924G")
    taking = Receiver(client, books.book, books.keep, **own)
    assert taking.receive("ipn", {}, ipn(series, test_ipn="1")).status == 200
    event = webhook(series + "x")
    signed = sign(*paypal.certificate(), event, webhook_id="4JH86294D6297924G")
    assert closed.receive("webhook", signed, event).status == 400
    assert taking.receive("webhook", signed, event).status == 200
    event = webhook(series + "y")
    signed = sign(*paypal.certificate("messageverificationcerts.sandbox.paypal.com"), event)
    assert closed.receive("webhook", signed, event).status == 403
    assert taking.receive("webhook", signed, event).status == 200
    assert [(d.test, d.donation.ledger) for d in books.booked] == [(True, "paypal-sandbox")] * 3


def without(headers: Dict[str, str], name: str) -> Dict[str, str]:
    return {key: value for key, value in headers.items() if key != name}


def test_webhooks_that_are_not_verified(
    receiver: Receiver, paypal: PayPal, books: Books, client: noted.Client, series: str
) -> None:
    event, (url, key) = webhook(series), paypal.certificate()
    good = sign(url, key, event)
    for name in good:
        assert receiver.receive("webhook", without(good, name), event).status == 400
    _, other_key = paypal.certificate()
    stranger = Authority("Stranger").leaf(NAME)
    paypal.certificates.replies["/v1/notifications/certs/stranger"] = (200, stranger[0])
    host = f"https://localhost:{paypal.certificates.port}/v1/notifications/certs"
    bad = {
        "another body": (good, event + b" "),
        "another key": (sign(url, other_key, event), event),
        "another webhook": (sign(url, key, event, webhook_id="WEBHOOK_ID"), event),
        "too old": (sign(url, key, event, NOW - timedelta(hours=74)), event),
        "too new": (sign(url, key, event, NOW + timedelta(minutes=30)), event),
        "no base64": ({**good, "PAYPAL-TRANSMISSION-SIG": "*"}, event),
        "a bar": ({**good, "PAYPAL-TRANSMISSION-ID": "a|b"}, event),
        "another time": ({**good, "PAYPAL-TRANSMISSION-TIME": "yesterday"}, event),
        "another algorithm": ({**good, "PAYPAL-AUTH-ALGO": "SHA1withRSA"}, event),
        "another authority": (sign(host + "/stranger", stranger[1], event), event),
        "another name": (sign(*paypal.certificate("evil.example.org"), event), event),
        "not any more": (sign(*paypal.certificate(end=NOW - timedelta(hours=1)), event), event),
        "not yet": (sign(*paypal.certificate(begin=NOW + timedelta(hours=1)), event), event),
        "not there": (sign(host + "/nothing", key, event), event),
    }
    for address in (
        url.replace("https://", "http://"), url.replace("localhost", "evil.example.org"), url.replace("localhost", "evil.example.org@localhost"),
        url.replace("localhost", "localhost.evil.example.org"), url.replace("/v1", "\\@evil.example.org/v1"), url + "#x", "https://[", "file:///etc/passwd",
        url + "?n=1", url + "?", url + "/", url.replace("/v1", "/./v1"), url.replace("/v1", "//v1"), url.replace("certs", "%63erts"), url.replace("certs/", "certs/../certs/"),
    ):  # fmt: skip
        bad[address] = (sign(address, key, event), event)
    for what, (headers, body) in bad.items():
        assert receiver.receive("webhook", headers, body).status == 400, what
    assert books.booked == [] and not client.exists(noted.Donation(series, "paypal-live"))
    assert receiver.receive("webhook", good, event).status == 200 and len(books.booked) == 1


def same_checksum(prefix: bytes, suffix: bytes, crc: int) -> bytes:
    """A body with the given CRC-32. Four bytes between the parts set the checksum. The number
    before them is chosen so that they are printable.
    """
    table = []
    for entry in range(256):
        for _ in range(8):
            entry = entry >> 1 ^ (0xEDB88320 if entry & 1 else 0)
        table.append(entry)
    places = {entry >> 24: place for place, entry in enumerate(table)}
    after = crc ^ 0xFFFFFFFF  # the register before the suffix, computed backwards
    for byte in reversed(suffix):
        place = places[after >> 24]
        after = (after ^ table[place]) << 8 & 0xFFFFFFFF | place ^ byte
    path: List[int] = []
    for _ in range(4):
        path.insert(0, places[after >> 24])
        after = (after ^ table[path[0]]) << 8 & 0xFFFFFFFF
    for number in range(1_000_000):
        start = prefix + b"%d." % number
        register, patch = zlib.crc32(start) ^ 0xFFFFFFFF, b""
        for place in path:
            patch += bytes([register & 0xFF ^ place])
            register = register >> 8 ^ table[place]
        if all(0x20 <= byte < 0x7F and byte not in b'"\\' for byte in patch):
            return start + patch + suffix
    raise AssertionError("there is no such body")


def test_another_body_under_a_known_transmission(
    receiver: Receiver, paypal: PayPal, books: Books, client: noted.Client, series: str
) -> None:
    """The holder of a delivery can make another body with its checksum, and the signature
    covers the checksum only.
    """
    (url, key), event = paypal.certificate(), webhook(series)
    signed = sign(url, key, event)
    forged = same_checksum(webhook(series + "-forged")[:-1] + b',"note":"', b'"}', zlib.crc32(event))
    assert zlib.crc32(forged) == zlib.crc32(event) and json.loads(forged)
    assert receiver.receive("webhook", signed, event + b" ").status == 400  # not verified, so not remembered
    assert receiver.receive("webhook", signed, event).status == 200
    answer = receiver.receive("webhook", signed, forged)
    assert answer.status == 400 and json.loads(answer.body)["reason"] == "other_body"
    assert receiver.receive("webhook", signed, event).status == 200  # PayPal sends it again
    assert len(books.booked) == 1 and not client.exists(noted.Donation(series + "-forged", "paypal-live"))


def test_transmissions_are_forgotten() -> None:
    transmissions, until, later = Transmissions(most=2), NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    for id in ("1", "2", "3"):
        transmissions.admit(id, b"a", until, NOW)
    transmissions.admit("1", b"b", until, NOW)  # the first was dropped for the third
    transmissions.admit("3", b"a", later, NOW)  # signed again
    for now in (NOW, until + timedelta(seconds=1)):
        with pytest.raises(Refusal):
            transmissions.admit("3", b"b", later, now)
    transmissions.admit("1", b"a", later, until + timedelta(seconds=1))


@pytest.mark.skipif(payloads() is None, reason="no payloads beside the repository")
def test_what_paypal_has_signed(client: noted.Client, books: Books, paypal: PayPal) -> None:
    """Three messages of PayPal's simulator from 2024, with their certificate. Of its chain
    only the leaf was kept, so the test trusts the leaf.
    """
    folder = payloads()
    assert folder is not None
    pem = (folder / "webhook_cert.pem").read_bytes()
    path = "/v1/notifications/certs/genuine"
    paypal.certificates.replies[path] = (200, pem)
    with (folder / "webhook_headers.tsv").open() as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["transmission_sig"]]
    assert len(rows) == 3
    for row in rows:
        sent = datetime.strptime(row["transmission_time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
        headers = {
            "PayPal-Transmission-Id": row["transmission_id"],
            "PayPal-Transmission-Time": row["transmission_time"],
            "PayPal-Transmission-Sig": row["transmission_sig"],
            "PayPal-Cert-Url": f"https://localhost:{paypal.certificates.port}{path}",
            "PayPal-Auth-Algo": row["auth_algo"],
        }
        body = (folder / row["file"]).read_bytes()
        own = settings(
            paypal, cert_roots=pem + paypal.root.pem, webhook_id="WEBHOOK_ID", now=lambda: sent + timedelta(hours=70)
        )
        receiver = Receiver(client, books.book, books.keep, **own)
        assert receiver.receive("webhook", headers, body + b" ").status == 400
        assert receiver.receive("webhook", headers, body).status == 200
        now = Receiver(client, books.book, books.keep, **{**own, "now": lambda: datetime.now(timezone.utc)})
        assert now.receive("webhook", headers, body).status == 400
    # Two are too old for Noted, so they go to a person. The reversal has no time of its own.
    assert len(books.undecided) == 2 and len(books.booked) == 1

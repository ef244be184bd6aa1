"""The receiver in a real WSGI server, before the real Noted, beside a stand-in of PayPal."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import socket
import ssl
import threading
import urllib.error
import urllib.request
import uuid
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from socketserver import ThreadingMixIn
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.validate import validator

import pytest

import noted
from noted.core.receiver import work
from noted.core.receiver.answer import Refusal
from noted.core.receiver.webhook import Transmissions
from noted.fetch import fetch
from noted.receiver import Delivery, Receiver, mount

from .authority import NOW, Authority
from .conftest import until
from .paypal_stand import NAME, WEBHOOK_ID, PayPal, sign
from .peer import Peer
from .places import PROJECT, payloads
from .proxy import Proxy
from .reasons import after_processing, before_processing, codes, fail, patience

ACCOUNT = "donations@example.org"


class Answered(NamedTuple):
    status: int
    reason: str
    headers: Dict[str, str]


class Books:
    """What the receiver's own code does with a donation."""

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
    request_queue_size = 64  # connections that wait; the default of 5 resets those of a storm


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


Post = Callable[..., Answered]


@pytest.fixture
def post(receiver: Receiver) -> Iterator[Post]:
    """Posts to the receiver, which is mounted beside another application."""

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


def test_both_channels_of_one_donation(post: Post, paypal: PayPal, books: Books, series: str) -> None:
    body = ipn(series)
    assert post("/paypal/ipn", body).status == 200
    assert paypal.ipn.posted[-1] == b"cmd=_notify-validate&" + body, "the very bytes"
    event = webhook(series)
    assert post("/paypal/webhook", event, sign(*paypal.certificate(), event)).status == 200
    assert post("/paypal/ipn", body + b"&resend=true").status == 200
    (delivery,) = books.booked
    assert (delivery.donation.series_id, delivery.donation.ledger, delivery.donation.amount) == (
        series,
        "paypal-live",
        "25.00",
    )
    assert (delivery.body, delivery.type, delivery.test) == (body, "recurring_payment", False)
    assert delivery.note is not None and delivery.donation_id == delivery.note.donation_id


def test_the_same_moment(post: Post, paypal: PayPal, books: Books, client: noted.Client, series: str) -> None:
    """Twenty deliveries at once: one is booked, and PayPal comes again for what was held
    meanwhile.
    """
    busy = threading.Event()
    books.meanwhile = lambda: busy.wait(0.3)
    event = webhook(series)
    certificate = paypal.certificate()

    def deliver(i: int) -> int:
        return (
            post("/paypal/ipn", ipn(series)) if i % 2 else post("/paypal/webhook", event, sign(*certificate, event))
        ).status

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(deliver, range(20)))
        assert set(answers) <= {200, 503} and 503 in answers
        assert set(pool.map(deliver, range(20))) == {200}
    assert len(books.booked) == 1


def test_held_by_another(post: Post, client: noted.Client, books: Books, series: str) -> None:
    donation = noted.Donation(series, "paypal-live")
    held = client.note(donation, hold=60)
    answered = post("/paypal/ipn", ipn(series))
    assert (answered.status, answered.reason, answered.headers["Retry-After"]) == (503, "held", "30")
    client.settle(held.receipt)
    assert post("/paypal/ipn", ipn(series)).status == 200
    assert books.booked == []


def test_processing_that_fails_is_tried_again(
    post: Post, books: Books, series: str, caplog: pytest.LogCaptureFixture
) -> None:
    books.trouble = RuntimeError("the books are closed")
    assert post("/paypal/ipn", ipn(series)).reason == "process"
    assert "the books are closed" in caplog.text
    books.trouble = noted.NotSettled("of another Noted", "")  # whatever it is, it is not ours
    assert post("/paypal/ipn", ipn(series)).status == 503
    books.trouble = None
    assert post("/paypal/ipn", ipn(series)).status == 200
    assert [d.note.attempt for d in books.booked if d.note] == [3]


def test_processed_but_not_settled(
    address: str, books: Books, paypal: PayPal, series: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Noted is away for too long. The redelivery is processed again, under the same id, and
    settles it.
    """
    proxy = Proxy(address)
    with noted.Client(proxy.address, settle_timeout=0.5, hold=1) as far:
        books.meanwhile = proxy.down
        receiver = Receiver(far, books.book, books.keep, **settings(paypal))
        answer = receiver.receive("ipn", {}, ipn(series))
        assert (answer.status, json.loads(answer.body)["reason"]) == (503, "noted")
        assert "by hand" not in caplog.text
        assert receiver.receive("ipn", {}, ipn(series)).status == 503, "Noted cannot be asked"
        books.meanwhile = lambda: None
        proxy.up()
        until(lambda: receiver.receive("ipn", {}, ipn(series)).status == 200)  # when the hold has run out
        assert receiver.receive("ipn", {}, ipn(series)).status == 200
    proxy.close()
    assert len(books.booked) == 2 and len({delivery.donation_id for delivery in books.booked}) == 1


@pytest.mark.parametrize(
    "meanwhile, status",
    [("settled", 200), ("taken over", 503), ("released", 200), ("forgotten", 200)],
)
def test_what_became_of_the_note_meanwhile(
    address: str,
    client: noted.Client,
    books: Books,
    paypal: PayPal,
    series: str,
    meanwhile: str,
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where PayPal's next try would be another donation, or is done, it must not come, and
    a person is told.
    """
    donation = noted.Donation(series, "paypal-live")
    proxy = Proxy(address)

    def meddle() -> None:
        note = client.exists(donation).note
        assert note is not None
        if meanwhile == "forgotten":
            client.forget(series, note.donation_id, "a test", ledger="paypal-live")
        elif meanwhile == "released":
            client.release(receipts[0])
        else:
            proxy.down()
            until(lambda: not client.exists(donation))
            other = client.note(donation, hold=60)
            if meanwhile == "settled":
                client.settle(other.receipt)
            proxy.up()

    receipts: List[str] = []

    class Telling(noted.Client):
        def note(self, *asked: Any, **more: Any) -> noted.NoteResponse:
            response = super().note(*asked, **more)
            receipts.append(response.receipt)
            return response

    with Telling(proxy.address, hold=0.5) as far:
        books.meanwhile = meddle
        assert (
            Receiver(far, books.book, books.keep, **settings(paypal)).receive("ipn", {}, ipn(series)).status == status
        )
    proxy.close()
    assert ("by hand" in caplog.text) == (status == 200) and len(books.booked) == 1


@pytest.mark.parametrize("days, error", [(-60, noted.OccurredTooEarly), (30, noted.OccurredTooLate)])
def test_what_noted_cannot_decide(post: Post, books: Books, series: str, days: int, error: "type[noted.Error]") -> None:
    body = ipn(series, payment_date=(NOW + timedelta(days=days)).strftime("%H:%M:%S+%b+%d%%2C+%Y+PST"))
    books.trouble = RuntimeError("nobody is there")
    assert post("/paypal/ipn", body).reason == "undecided", "it must not vanish"
    books.trouble = None
    assert [post("/paypal/ipn", body).status for _ in range(2)] == [200, 200]
    ((delivery, why),) = books.undecided
    assert (
        type(why) is error and delivery.body == body and delivery.donation.series_id == series and delivery.note is None
    )
    assert books.booked == []


@pytest.mark.parametrize("reason", [*codes(), "WRONG_ANSWER"])
def test_what_each_reason_is_answered(
    address: str, books: Books, paypal: PayPal, series: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What the README's table says, before and after the donation is processed."""
    readme = (PROJECT / "README.md").read_text()
    peer = Peer(address)
    expected = after_processing(readme, reason)
    with noted.Client(peer.address, settle_timeout=patience(expected)) as far:
        receiver = Receiver(far, books.book, books.keep, **settings(paypal))
        peer.change = fail("NoteDonation", reason)
        status = receiver.receive("ipn", {}, ipn(series)).status
        assert (status, bool(books.undecided)) == before_processing(readme, reason) and not books.booked
        assert all((told.donation.series_id, error.reason) == (series, reason) for told, error in books.undecided)
        peer.change = fail("SettleDonation", reason)
        caplog.clear()
        status = receiver.receive("ipn", {}, ipn(series + "-b")).status
        assert (status, "by hand" in caplog.text) == expected and len(books.booked) == 1
    peer.close()


def test_what_once_says_is_undecidable() -> None:
    """One fact, two places: the comment of Client.once, and what the receiver hands to a
    person.
    """
    (names,) = re.findall(
        r"((?:[A-Z]\w+, )+[A-Z]\w+ and [A-Z]\w+) would be the answer every time",
        " ".join((noted.Client.once.__doc__ or "").split()),
    )
    assert set(re.findall(r"[A-Z]\w+", names)) == {error.__name__ for error in work.HOPELESS}


def test_a_message_that_names_no_receiver(post: Post, books: Books, series: str) -> None:
    assert post("/paypal/ipn", ipn(series, receiver_email="")).status == 200
    ((_, why),) = books.undecided
    assert why.reason == "RECEIVER_MISSING" and books.booked == []


def test_two_donations_in_one_message(post: Post, books: Books, series: str) -> None:
    body = ipn(
        series, txn_type="recurring_payment_profile_created", initial_payment_txn_id="T9", initial_payment_status="Completed",
        initial_payment_amount="5.00", currency_code="EUR",
    )  # fmt: skip
    assert post("/paypal/ipn", body).status == 200
    assert [d.donation.event for d in books.booked] == [noted.Event.SIGNUP, noted.Event.PAYMENT]


def test_skipped_and_unknown(post: Post, books: Books, series: str, caplog: pytest.LogCaptureFixture) -> None:
    for known in ("masspay", "payout", "mp_notification"):
        assert post("/paypal/ipn", ipn(series, txn_type=known)).status == 200
    assert "it may have been a donation" not in caplog.text
    assert post("/paypal/ipn", ipn(series, txn_type="never_heard_of")).status == 200
    assert "it may have been a donation" in caplog.text
    assert books.booked == []


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
    assert post("/paypal/ipn", ipn(series)).status == 200 and len(books.booked) == 1, "nothing had been noted"


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
    """A body with a CRC-32. Four bytes between its parts see to that, behind a number with
    which they are printable.
    """
    table = []
    for entry in range(256):
        for _ in range(8):
            entry = entry >> 1 ^ (0xEDB88320 if entry & 1 else 0)
        table.append(entry)
    places = {entry >> 24: place for place, entry in enumerate(table)}
    after = crc ^ 0xFFFFFFFF  # the register, back from the end to before the suffix
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
    """Whoever holds a delivery can make another body of its checksum, which the signature
    covers as well.
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
    transmissions.admit("3", b"a", later, NOW)  # signed anew
    for now in (NOW, until + timedelta(seconds=1)):
        with pytest.raises(Refusal):
            transmissions.admit("3", b"b", later, now)
    transmissions.admit("1", b"a", later, until + timedelta(seconds=1))


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
    """A host in capitals is no other one, and costs no other fetch."""
    (url, key), event = paypal.certificate(), webhook(series)
    for address in (url, url.replace("localhost", "LocalHost"), url):
        assert receiver.receive("webhook", sign(address, key, event), event).status == 200
    assert paypal.certificates.asked.count(urlsplit(url).path) == 1


def test_a_certificate_that_was_renewed(receiver: Receiver, paypal: PayPal, series: str) -> None:
    """One that has ended is fetched again from where it was, and while that brings nothing
    better no more often than now and then.
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
    assert receiver.receive("webhook", sign(url, key, event), event).status == 503, "the issuer's is not there yet"
    paypal.plain.replies["/between"] = (200, paypal.between.pem)
    for _ in range(3):
        assert receiver.receive("webhook", sign(url, key, event), event).status == 200
    assert len([path for path in paypal.certificates.asked if path in url]) == 2


class Silent:
    """A host of certificates that takes connections and says nothing."""

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


def test_a_host_of_certificates_that_hangs(
    client: noted.Client, books: Books, paypal: PayPal, silent: Silent, series: str
) -> None:
    """All who wait for one certificate share what comes of one fetch, and nobody else waits
    at all.
    """
    read: List[bool] = []  # for each message whose headers are read; the certificate comes next

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
        until(lambda: len(silent.taken) > taken)  # the next one tries again
        until(lambda: hang_up([again]))
        assert again.result() == 503


def test_many_certificates_that_hang(
    client: noted.Client, books: Books, paypal: PayPal, silent: Silent, series: str
) -> None:
    """Whoever forges webhooks names as many as he likes."""
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
    """The host of the certificate takes 0.6 s. They are gone when its issuer is asked."""
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


def test_what_is_no_message(post: Post, books: Books, series: str) -> None:
    assert post("/elsewhere", b"x").status == 418
    assert post("/paypal/elsewhere", b"x").status == 404
    assert post("/paypal/ipn", None).status == 405
    assert post("/paypal/ipn", ipn(series), content_type="text/plain").status == 415
    assert post("/paypal/ipn", ipn(series), {"Content-Encoding": "gzip"}).status == 415
    assert post("/paypal/ipn", b"a" * (256 * 1024 + 1)).status == 413
    assert post("/paypal/ipn", b"").status == 400
    assert (
        post(
            "/paypal/ipn", f"txn_type=recurring_payment&payment_status=Completed&receiver_email={ACCOUNT}".encode()
        ).reason
        == "malformed"
    )
    assert books.booked == []


def test_receive_is_as_strict_as_the_application(receiver: Receiver, paypal: PayPal, books: Books, series: str) -> None:
    """A framework without WSGI hands on what it got."""
    posted, type = len(paypal.ipn.posted), {"Content-Type": "application/x-www-form-urlencoded; charset=x"}
    assert receiver.receive("ipn", {}, b"a" * (256 * 1024 + 1)).status == 413
    assert receiver.receive("webhook", {}, b"a" * (256 * 1024 + 1)).status == 413
    assert receiver.receive("ipn", {}, b"").status == 400
    assert receiver.receive("ipn", {"content-type": "application/json"}, ipn(series)).status == 415
    assert receiver.receive("webhook", type, webhook(series)).status == 415
    assert receiver.receive("ipn", {**type, "Content-Encoding": "gzip"}, ipn(series)).status == 415
    assert len(paypal.ipn.posted) == posted and books.booked == [], "PayPal is not asked about what is not taken"
    assert receiver.receive("ipn", {**type, "Content-Encoding": ""}, ipn(series)).status == 200
    assert receiver.receive("ipn", {}, ipn(series + "x")).status == 200, "a framework may keep the headers to itself"


@pytest.mark.parametrize(
    "changed, problem",
    [
        ({"accounts": ACCOUNT}, "list"),
        ({"accounts": [], "webhook_id": ""}, "nothing to receive"),
        ({"sandbox_webhook_id": "X"}, "no ledger"),
        ({"sandbox_ledger": "paypal-live"}, "one"),
        ({"ipn_verify_url": "http://ipnpb.paypal.com/cgi-bin/webscr"}, "https"),
        ({"ipn_verify_url": "http://127.0.0.1@example.org/"}, "https"),
        ({"ipn_verify_url": "http://localhost.example.org/"}, "https"),
        ({"ipn_verify_url": "ftp://127.0.0.1/"}, "https"),
        ({"ipn_verify_url": "file:///etc/passwd"}, "https"),
        ({"ipn_verify_url": "https:///ipn"}, "https"),
        ({"ipn_verify_url": "https://["}, "https"),
        ({"ipn_verify_url": "127.0.0.1"}, "https"),
    ],
)
def test_settings_that_cannot_be(
    client: noted.Client, books: Books, paypal: PayPal, changed: Any, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        Receiver(client, books.book, books.keep, **settings(paypal, **changed))


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/ipn",
        "HTTPS://example.org",
        "http://localhost:8080/ipn",
        "http://127.0.0.1/",
        "http://[::1]:80/",
        "",
        None,
    ],
)
def test_where_an_ipn_may_be_posted_back(
    client: noted.Client, books: Books, paypal: PayPal, url: Optional[str]
) -> None:
    Receiver(client, books.book, books.keep, **settings(paypal, ipn_verify_url=url))


def test_the_roots_of_this_machine(client: noted.Client, books: Books) -> None:
    if not ssl.create_default_context().get_ca_certs():
        pytest.skip("this machine has none")
    Receiver(client, books.book, books.keep, webhook_id=WEBHOOK_ID)


@pytest.mark.skipif(payloads() is None, reason="no payloads beside the repository")
def test_what_paypal_has_signed(client: noted.Client, books: Books, paypal: PayPal) -> None:
    """Three messages of PayPal's simulator, of 2024, with the certificate of then; of its
    chain nothing but the leaf was kept, which is trusted here.
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
    # Two are too old for Noted, so they are a person's. The reversal names no time of its own.
    assert len(books.undecided) == 2 and len(books.booked) == 1

"""The receiver in a real WSGI server, with a real Noted and a stand-in of PayPal."""

from __future__ import annotations

import json
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, List, Optional

import pytest

import noted
from noted.receiver import Receiver

from .authority import NOW
from .conftest import until
from .paypal_stand import WEBHOOK_ID, PayPal, sign
from .peer import Peer
from .places import PROJECT
from .proxy import Proxy
from .reasons import after_processing, before_processing, codes, fail, patience
from .receiving import ACCOUNT, Books, Post, books, ipn, paypal, post, receiver, series, settings, webhook

__all__ = ["books", "paypal", "post", "receiver", "series"]  # fixtures


def test_both_channels_of_one_donation(post: Post, paypal: PayPal, books: Books, series: str) -> None:
    body = ipn(series)
    assert post("/paypal/ipn", body).status == 200
    assert paypal.ipn.posted[-1] == b"cmd=_notify-validate&" + body, "the exact bytes"
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
    """Of twenty deliveries at once one is booked. The others are held, and duplicates when
    PayPal comes again.
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
    books.trouble = noted.NotSettled("of another Noted", "")  # from the user's code, so a failure like any other
    assert post("/paypal/ipn", ipn(series)).status == 503
    books.trouble = None
    assert post("/paypal/ipn", ipn(series)).status == 200
    assert [d.note.attempt for d in books.booked if d.note] == [3]


def test_processed_but_not_settled(
    address: str, books: Books, paypal: PayPal, series: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Noted is away for too long. The redelivery is processed again, under the same id, and
    settled.
    """
    proxy = Proxy(address)
    with noted.Client(proxy.address, settle_timeout=0.5, hold=1) as far:
        books.meanwhile = proxy.down
        receiver = Receiver(far, books.book, books.keep, **settings(paypal))
        answer = receiver.receive("ipn", {}, ipn(series))
        assert (answer.status, json.loads(answer.body)["reason"]) == (503, "noted")
        assert "by hand" not in caplog.text
        assert receiver.receive("ipn", {}, ipn(series)).status == 503, "Noted is away"
        books.meanwhile = lambda: None
        proxy.up()
        until(lambda: receiver.receive("ipn", {}, ipn(series)).status == 200)  # once the hold has run out
        assert receiver.receive("ipn", {}, ipn(series)).status == 200
    proxy.close()
    assert len(books.booked) == 2 and len({delivery.donation_id for delivery in books.booked}) == 1


@pytest.mark.parametrize(
    "meanwhile, status",
    [("settled", 200), ("taken over", 503), ("released", 200), ("forgotten", 200)],
)
def test_a_note_that_changes_while_processing(
    address: str,
    client: noted.Client,
    books: Books,
    paypal: PayPal,
    series: str,
    meanwhile: str,
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """PayPal's next try may be a duplicate, or double the donation. Then the answer is 200,
    and a person is told.
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
    assert post("/paypal/ipn", body).reason == "undecided", "the message must not be lost"
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
    """Compares the README's table with the receiver, before and after processing."""
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
    """A framework without WSGI passes a request unchecked."""
    posted, type = len(paypal.ipn.posted), {"Content-Type": "application/x-www-form-urlencoded; charset=x"}
    assert receiver.receive("ipn", {}, b"a" * (256 * 1024 + 1)).status == 413
    assert receiver.receive("webhook", {}, b"a" * (256 * 1024 + 1)).status == 413
    assert receiver.receive("ipn", {}, b"").status == 400
    assert receiver.receive("ipn", {"content-type": "application/json"}, ipn(series)).status == 415
    assert receiver.receive("webhook", type, webhook(series)).status == 415
    assert receiver.receive("ipn", {**type, "Content-Encoding": "gzip"}, ipn(series)).status == 415
    assert len(paypal.ipn.posted) == posted and books.booked == [], "PayPal is not asked about a refused request"
    assert receiver.receive("ipn", {**type, "Content-Encoding": ""}, ipn(series)).status == 200
    assert receiver.receive("ipn", {}, ipn(series + "x")).status == 200, "a framework may pass no headers"


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

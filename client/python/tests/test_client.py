"""The calls against the real server: answers, errors, retries."""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Iterator, List

import grpc
import pytest

import noted
from noted import Donation, Event, Evidence, Message, NoteRequest, State, Verdict
from noted.core.status import failed, failure
from noted.errors import REASONS

from .conftest import until
from .places import ROOT
from .proxy import Proxy

NOW = datetime.now(timezone.utc).replace(microsecond=250_000)


def test_a_note_comes_back_as_it_was_told(client: noted.Client, donation: Donation) -> None:
    told = Donation(donation.series_id, "paypal-live", Event.REFUND, NOW, "25.00", "EUR", "T-1")
    message = Message("webhook", "w-1")
    response = client.note(told, message, hold=timedelta(seconds=30))
    assert (response.verdict, response.evidence, response.retry_after) == (Verdict.FIRST, Evidence.NEW, None)
    note = response.note
    assert note is not None and note.donation == told
    assert [(s.message, s.transaction_id) for s in note.sightings] == [(message, "T-1")]
    assert note.noted_at and note.held_until and note.forget_at
    assert note.held_until - note.noted_at == timedelta(seconds=30)
    assert client.extend(response.receipt, 60).held_until > note.held_until  # type: ignore[operator]
    assert client.release(response.receipt).state == State.OPEN
    found = client.exists(told, message)
    assert not found and found.note is not None and found.note.state == State.OPEN
    again = client.note(told, message, hold=30)
    assert again.evidence == Evidence.TAKEN_OVER
    assert client.settle(again.receipt).state == State.SETTLED
    other = client.note(Donation(donation.series_id, "paypal-live", Event.REFUND, NOW, "26.00", "EUR", "T-1"))
    assert (other.verdict, other.evidence, other.differences) == (
        Verdict.DUPLICATE,
        Evidence.SAME_TRANSACTION,
        ("amount",),
    )


def test_list_walks_through_pages(client: noted.Client) -> None:
    ledger = "list-" + uuid.uuid4().hex
    series = {f"I-{i}" for i in range(25)}
    for i in series:
        client.note(Donation(i, ledger), hold=60 if i == "I-7" else 0)
    assert {n.donation.series_id for n in client.list(ledger, page_size=4)} == series
    assert [n.donation.series_id for n in client.list(ledger, state=State.HELD)] == ["I-7"]
    assert list(client.list(ledger, noted_before=NOW - timedelta(days=1))) == []
    assert len(list(client.list(ledger, "I-3", noted_after=NOW - timedelta(days=1)))) == 1


def test_forget(client: noted.Client, donation: Donation) -> None:
    note = client.note(donation).note
    assert note is not None
    assert client.forget(donation.series_id, note.donation_id, "a test") == note
    with pytest.raises(noted.NoteNotFound):
        client.forget(donation.series_id, note.donation_id, "a test")
    assert client.note(donation).evidence == Evidence.NEW


def test_every_violation_is_named(client: noted.Client) -> None:
    with pytest.raises(noted.InvalidRequest) as raised:
        client.note(Donation("an id", amount="25.00"), Message("", "m-1"))
    error = raised.value
    assert {v.field for v in error.violations} >= {"donation.series_id", "donation.currency_code"}
    assert all(v.description for v in error.violations)
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert str(error).startswith("noting an id: INVALID_REQUEST: ")
    assert isinstance(error.__cause__, grpc.RpcError)


@pytest.mark.parametrize("days, error", [(-400, noted.OccurredTooEarly), (400, noted.OccurredTooLate)])
def test_times_that_cannot_be(client: noted.Client, donation: Donation, days: int, error: "type[noted.Error]") -> None:
    with pytest.raises(error):
        client.note(Donation(donation.series_id, occurred_at=NOW + timedelta(days=days)))


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Donation("I-1", occurred_at=datetime(2026, 1, 1))


def test_a_store_that_is_away(start: Callable[..., str], donation: Donation) -> None:
    with noted.Client(start("-redis", "redis://127.0.0.1:1"), timeout=1) as client:
        with pytest.raises(noted.StoreUnavailable) as raised:
            client.note(donation)
        assert raised.value.retry_after is not None and raised.value.retry_after > timedelta(0)
        assert isinstance(raised.value, noted.Unavailable)


def test_without_a_server_a_call_is_unavailable(donation: Donation) -> None:
    with noted.Client("127.0.0.1:1") as client:
        with pytest.raises(noted.Unavailable) as raised:
            client.exists(donation)
        assert raised.value.reason == ""


def test_a_server_that_does_not_answer(proxy: Proxy, donation: Donation) -> None:
    with noted.Client(proxy.address) as client:
        client.exists(donation)
        proxy.swallow()
        with pytest.raises(noted.DeadlineExceeded):
            client.note(donation, timeout=0.3)


def test_a_token_function_that_raises_is_unavailable(address: str, donation: Donation) -> None:
    """A call is tried again, as when the server is away. A stream fails each request."""
    tried: List[int] = []

    def token() -> str:
        tried.append(1)
        if len(tried) < 3:
            raise OSError("the token's file is being written")
        return "secret"

    with noted.Client(address, token=token) as client:
        assert client.note(donation).verdict == Verdict.FIRST
    with noted.Client(address, token=lambda: next(iter(()))) as client:
        with pytest.raises(noted.Unavailable, match="StopIteration") as raised:
            client.exists(donation)
        assert raised.value.code == grpc.StatusCode.UNAVAILABLE
        results = list(client.notes(requests("I", 3)))
    assert [type(r.error) for r in results] == [noted.Unavailable] * 3


def test_the_class_of_every_reason() -> None:
    head = (ROOT / "api/noted/v1/noted.proto").read_text().partition("syntax =")[0]
    lines = re.findall(r"^//   ([A-Z_]{8,})  +(.*(?:\n//    +.*)*)", head, re.MULTILINE)
    reasons = {reason for _, rest in lines for reason in re.findall(r"[A-Z_]{8,}", rest)}
    assert reasons == set(REASONS)
    for reason, error in REASONS.items():
        words = "".join(word.capitalize() for word in reason.split("_"))
        assert error.__name__ == words and issubclass(error, noted.Error) and getattr(noted, words) is error


def test_details_that_cannot_be_read_take_nothing_away() -> None:
    class Broken(grpc.RpcError):
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.UNAVAILABLE

        def details(self) -> str:
            return "oh"

        def trailing_metadata(self) -> Any:
            return [("grpc-status-details-bin", b"\x1a\xff\x01garbage")]

    error = failure("noting", Broken())
    assert type(error) is noted.Unavailable and str(error) == "noting: UNAVAILABLE: oh"


@pytest.mark.parametrize(
    "code, error",
    [
        (grpc.StatusCode.INVALID_ARGUMENT, noted.InvalidRequest),
        (grpc.StatusCode.UNAVAILABLE, noted.Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, noted.DeadlineExceeded),
        (grpc.StatusCode.FAILED_PRECONDITION, noted.Error),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, noted.Error),
    ],
)
def test_a_code_without_a_reason(code: grpc.StatusCode, error: "type[noted.Error]") -> None:
    """Such as an error of a proxy or of the transport. A malformed request is InvalidRequest
    even without a reason.
    """
    made = failed("noting", code.value[0], "oh", "")
    assert (type(made), made.code, made.reason, made.violations) == (error, code, "", ())


def test_an_unknown_number_is_kept() -> None:
    assert (Event(99), str(Event(99)), str(Verdict.FIRST)) == (99, "99", "FIRST")
    with pytest.raises(ValueError):
        Event("x")  # type: ignore[arg-type]


def requests(prefix: str, count: int) -> Iterator[NoteRequest]:
    return (NoteRequest(Donation(f"{prefix}-{i}"), hold=60) for i in range(count))


def test_a_stream_answers_in_order(client: noted.Client) -> None:
    prefix = uuid.uuid4().hex
    asked = [*requests(prefix, 600), NoteRequest(Donation("an id")), *requests(prefix, 2)]
    results = list(client.notes(asked))
    assert [r.request.donation for r in results] == [r.donation for r in asked]
    assert [r.request.donation.series_id for r in results if r.error] == ["an id"]
    assert isinstance(results[600].error, noted.InvalidRequest)
    verdicts = [r.response.verdict for r in results if r.response]
    assert verdicts == [Verdict.FIRST] * 600 + [Verdict.HELD] * 2


def test_a_stream_that_breaks_is_opened_again(proxy: Proxy) -> None:
    prefix = uuid.uuid4().hex
    results: List[noted.NoteResult] = []
    with noted.Client(proxy.address) as client:
        for result in client.notes(requests(prefix, 1500)):
            results.append(result)
            if len(results) in (100, 700):
                proxy.cut()
    assert [r.error for r in results if r.error] == []
    assert [r.request.donation.series_id for r in results] == [f"{prefix}-{i}" for i in range(1500)]
    # A repeat has the request_id of the first try, so it is FIRST again.
    assert {r.response.verdict for r in results if r.response} == {Verdict.FIRST}


def test_a_stream_without_a_server_fails_each_request() -> None:
    with noted.Client("127.0.0.1:1") as client:
        results = list(client.notes(requests("I", 3)))
    assert [type(r.error) for r in results] == [noted.Unavailable] * 3


def test_a_stream_answers_a_slow_source_at_once(client: noted.Client) -> None:
    prefix = uuid.uuid4().hex
    seen: List[noted.NoteResult] = []

    def source() -> Iterator[NoteRequest]:
        for i, request in enumerate(requests(prefix, 3)):
            until(lambda: len(seen) == i)  # the next request waits for this answer
            yield request

    for result in client.notes(source()):
        seen.append(result)
    assert len(seen) == 3


def test_a_source_that_raises(client: noted.Client) -> None:
    def source() -> Iterator[NoteRequest]:
        yield from requests(uuid.uuid4().hex, 2)
        raise ZeroDivisionError

    results = client.notes(source())
    assert next(results).error is None and next(results).error is None
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_leaving_a_stream_early(client: noted.Client) -> None:
    for _ in client.notes(requests(uuid.uuid4().hex, 10_000)):
        break

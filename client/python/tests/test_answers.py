"""Wrong answers, each reason of the contract, and the fields of requests."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Dict, Iterator, List, Optional

import grpc
import pytest

import noted
import noted.aio
from noted import Donation, Message, NoteRequest, Verdict

from .peer import Peer, Trouble, nothing

REFUSED = grpc.StatusCode.INTERNAL


@pytest.fixture
def peer(address: str) -> Iterator[Peer]:
    peer = Peer(address)
    yield peer
    peer.close()


@pytest.fixture
def far(peer: Peer) -> Iterator[noted.Client]:
    with noted.Client(peer.address, settle_timeout=0.4) as far:
        yield far


def another_series(note: Any) -> None:
    note.donation.series_id = "I-OTHER"


def another_ledger(note: Any) -> None:
    note.donation.ledger = "other"


def no_donation(note: Any) -> None:
    note.ClearField("donation")


def another_donation(note: Any) -> None:
    note.donation_id = "d-other"


def misdirecting(rpc: str, change: Callable[[Any], None]) -> Callable[[str, Any, Any], None]:
    """Changes the note of every answer to the RPC."""

    def misdirect(name: str, request: Any, answer: Any) -> None:
        if name == rpc:
            for note in answer.notes if rpc == "ListDonations" else [answer.note]:
                change(note)

    return misdirect


def asked(client: noted.Client, donation: Donation, donation_id: str) -> Dict[str, Callable[[], Any]]:
    def stream() -> Any:
        (result,) = client.notes([NoteRequest(donation)])
        assert (result.response is None) == (result.error is not None)
        if result.error:
            raise result.error
        return result.response

    return {
        "NoteDonation": lambda: client.note(donation),
        "NoteDonations": stream,
        "DonationExists": lambda: client.exists(donation),
        "ListDonations": lambda: list(client.list(donation.ledger, donation.series_id)),
        "ForgetDonation": lambda: client.forget(donation.series_id, donation_id, "a test", ledger=donation.ledger),
    }


def asked_of_asyncio(address: str, donation: Donation, donation_id: str) -> Dict[str, Callable[[], Any]]:
    def run(ask: Callable[[noted.aio.Client], Any]) -> Callable[[], Any]:
        async def asking() -> Any:
            async with noted.aio.Client(address) as client:
                return await ask(client)

        return lambda: asyncio.run(asking())

    async def stream(client: noted.aio.Client) -> Any:
        (result,) = [result async for result in client.notes([NoteRequest(donation)])]
        if result.error:
            raise result.error
        return result.response

    async def listed(client: noted.aio.Client) -> Any:
        return [note async for note in client.list(donation.ledger, donation.series_id)]

    return {
        "NoteDonation": run(lambda client: client.note(donation)),
        "NoteDonations": run(stream),
        "DonationExists": run(lambda client: client.exists(donation)),
        "ListDonations": run(listed),
        "ForgetDonation": run(lambda c: c.forget(donation.series_id, donation_id, "a test", ledger=donation.ledger)),
    }


@pytest.mark.parametrize("change", [another_series, another_ledger, no_donation])
@pytest.mark.parametrize("rpc", ["NoteDonation", "NoteDonations", "DonationExists", "ListDonations", "ForgetDonation"])
@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_an_answer_about_another_series_is_refused(
    peer: Peer,
    far: noted.Client,
    client: noted.Client,
    donation: Donation,
    kind: str,
    rpc: str,
    change: Callable[[Any], None],
) -> None:
    told = Donation(donation.series_id, "paypal-live")
    note = client.note(told).note
    assert note is not None
    id = note.donation_id
    calls = asked(far, told, id) if kind == "blocking" else asked_of_asyncio(peer.address, told, id)
    assert rpc == "ForgetDonation" or calls[rpc]()
    peer.change = misdirecting(rpc, change)
    with pytest.raises(noted.WrongAnswer, match="the answer is about series") as raised:
        calls[rpc]()
    assert (raised.value.code, raised.value.reason) == (REFUSED, "") and not isinstance(raised.value, noted.Unavailable)


def test_a_listing_of_a_ledger_takes_every_series(far: noted.Client) -> None:
    ledger = "list-" + uuid.uuid4().hex
    for i in range(3):
        far.note(Donation(f"I-{i}", ledger))
    assert len(list(far.list(ledger))) == 3


@pytest.mark.parametrize("verdict", [Verdict.FIRST, Verdict.DUPLICATE, Verdict.HELD])
def test_no_block_runs_on_an_answer_about_another_series(
    peer: Peer, far: noted.Client, donation: Donation, verdict: Verdict
) -> None:
    def misdirect(rpc: str, request: Any, answer: Any) -> None:
        answer.verdict = int(verdict)
        another_series(answer.note)

    peer.change = misdirect
    with pytest.raises(noted.WrongAnswer):
        with far.once(donation):
            raise AssertionError("the block ran")

    async def run() -> None:
        async with noted.aio.Client(peer.address) as client:
            async with client.once(donation):
                raise AssertionError("the block ran")

    with pytest.raises(noted.WrongAnswer):
        asyncio.run(run())


def test_settling_that_is_answered_about_another_note(peer: Peer, far: noted.Client, donation: Donation) -> None:
    peer.change = misdirecting("SettleDonation", another_donation)
    with pytest.raises(noted.NotSettled) as raised:
        with far.once(donation) as turn:
            assert turn.first
    assert isinstance(raised.value.__cause__, noted.WrongAnswer)

    async def run() -> None:
        async with noted.aio.Client(peer.address, settle_timeout=0.4) as client:
            async with client.once(Donation(donation.series_id + "-aio")) as turn:
                assert turn.first

    with pytest.raises(noted.NotSettled) as raised:
        asyncio.run(run())
    assert isinstance(raised.value.__cause__, noted.WrongAnswer)


def test_settling_is_asked_again_after_a_wrong_answer(peer: Peer, donation: Donation) -> None:
    settled: List[str] = []

    def misdirect(rpc: str, request: Any, answer: Any) -> None:
        if rpc == "SettleDonation":
            settled.append(request.receipt)
            if len(settled) == 1:
                another_series(answer.note)

    peer.change = misdirect
    with noted.Client(peer.address) as far:
        with far.once(donation) as turn:
            assert turn.first
    assert len(settled) == 2 and len(set(settled)) == 1


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_last_try_without_an_answer_does_not_hide_the_reason(peer: Peer, donation: Donation, kind: str) -> None:
    """The first try to settle gets a wrong answer. The second waits until time is up."""
    settled: List[str] = []
    over = threading.Event()

    def misdirect(rpc: str, request: Any, answer: Any) -> None:
        if rpc == "SettleDonation":
            settled.append(request.receipt)
            if len(settled) > 1:
                over.wait(60)
            another_donation(answer.note)

    async def run() -> None:
        async with noted.aio.Client(peer.address, settle_timeout=2) as client:
            async with client.once(donation) as turn:
                assert turn.first

    peer.change = misdirect
    try:
        with pytest.raises(noted.NotSettled) as raised:
            if kind == "asyncio":
                asyncio.run(run())
            else:
                with noted.Client(peer.address, settle_timeout=2) as far, far.once(donation) as turn:
                    assert turn.first
    finally:
        over.set()
    assert len(settled) > 1
    assert isinstance(raised.value.__cause__, noted.WrongAnswer)


def test_extensions_that_are_answered_about_another_note(peer: Peer, donation: Donation) -> None:
    peer.change = misdirecting("ExtendHold", another_series)
    with noted.Client(peer.address) as far:
        with far.once(donation, hold=3) as turn:
            assert turn.first
            with pytest.raises(noted.WrongAnswer, match="ran out"):
                end = time.monotonic() + 60
                while time.monotonic() < end:
                    turn.check()
                    time.sleep(0.02)


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_last_try_to_extend_does_not_hide_the_reason(peer: Peer, donation: Donation, kind: str) -> None:
    """The first try to extend gets a wrong answer. Later tries wait until the hold has run out."""
    extended: List[str] = []
    over = threading.Event()

    def misdirect(rpc: str, request: Any, answer: Any) -> None:
        if rpc == "ExtendHold":
            extended.append(request.receipt)
            if len(extended) > 1:
                over.wait(60)
            another_donation(answer.note)

    def loss(turn: noted.Turn) -> Optional[noted.Error]:
        try:
            turn.check()
        except noted.Error as error:
            return error
        return None

    async def run() -> Optional[noted.Error]:
        async with noted.aio.Client(peer.address) as client:
            async with client.once(donation, hold=6) as turn:
                while turn.first and loss(turn) is None and time.monotonic() < end:
                    await asyncio.sleep(0.02)
                return loss(turn)

    peer.change = misdirect
    end = time.monotonic() + 60
    try:
        if kind == "asyncio":
            error = asyncio.run(run())
        else:
            with noted.Client(peer.address) as far, far.once(donation, hold=6) as turn:
                while turn.first and loss(turn) is None and time.monotonic() < end:
                    time.sleep(0.02)
                error = loss(turn)
    finally:
        over.set()
    assert len(extended) > 1
    assert isinstance(error, noted.WrongAnswer) and "ran out" in str(error)


def test_a_release_that_is_answered_about_another_note(
    peer: Peer, far: noted.Client, donation: Donation, caplog: pytest.LogCaptureFixture
) -> None:
    peer.change = misdirecting("ReleaseDonation", another_series)
    with pytest.raises(ZeroDivisionError):
        with far.once(donation) as turn:
            assert turn.first
            raise ZeroDivisionError
    assert "the answer is about series 'I-OTHER'" in caplog.text


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_stream_that_mixes_answers_up_is_left(peer: Peer, far: noted.Client, kind: str) -> None:
    """After an answer to another request, later answers may be wrong too."""
    prefix, answers = uuid.uuid4().hex, iter(range(1000))
    results: List[noted.NoteResult] = []

    def misdirect(rpc: str, request: Any, answer: Any) -> None:
        if rpc == "NoteDonations":
            number = next(answers)
            if number >= 2:  # each is the answer to the request before
                answer.note.donation.series_id = f"{prefix}-{number - 1}"

    def keep(result: noted.NoteResult) -> None:
        if result.error:
            peer.change = nothing
        results.append(result)

    async def run() -> None:
        async with noted.aio.Client(peer.address) as client:
            async for result in client.notes(requests):
                keep(result)

    peer.change = misdirect
    requests = [NoteRequest(Donation(f"{prefix}-{i}"), hold=60) for i in range(20)]
    if kind == "asyncio":
        asyncio.run(run())
    else:
        for result in far.notes(requests):
            keep(result)
    assert [r.request.donation for r in results] == [r.donation for r in requests]
    assert [i for i, r in enumerate(results) if r.error] == [2] and isinstance(results[2].error, noted.WrongAnswer)
    assert {r.response.verdict for r in results if r.response} == {Verdict.FIRST}


@pytest.mark.parametrize(
    "code, reason, error",
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED", noted.RequestIdReused),
        (grpc.StatusCode.OUT_OF_RANGE, "RECEIVED_TOO_EARLY", noted.ReceivedTooEarly),
        (grpc.StatusCode.FAILED_PRECONDITION, "STORE_UNSUITABLE", noted.StoreUnsuitable),
    ],
)
def test_no_block_runs_for_a_reason(
    peer: Peer, far: noted.Client, donation: Donation, code: grpc.StatusCode, reason: str, error: "type[noted.Error]"
) -> None:
    calls: List[str] = []

    def fail(rpc: str, request: Any, answer: Any) -> None:
        calls.append(rpc)
        raise Trouble(code, reason)

    peer.change = fail
    with pytest.raises(noted.Error) as raised:
        with far.once(donation):
            raise AssertionError("the block ran")
    assert type(raised.value) is error and (raised.value.code, raised.value.reason) == (code, reason)
    assert calls == ["NoteDonation"], "a final refusal is not tried again"


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_all_tries_have_one_deadline(
    peer: Peer, donation: Donation, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server sees the timeout of each try. Each is shorter by the wait before it. gRPC
    rounds timeouts up to 10 ms, and repeats the last one if the two differ by less than 3 %.
    """
    monkeypatch.setattr("noted.core.retry.wait_after", lambda tries, error: 0.4)

    def fail(rpc: str, request: Any, answer: Any) -> None:
        raise Trouble(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")

    async def ask() -> None:
        async with noted.aio.Client(peer.address, timeout=9) as client:
            await client.note(donation)

    peer.change = fail
    with pytest.raises(noted.StoreUnavailable):
        if kind == "asyncio":
            asyncio.run(ask())
        else:
            with noted.Client(peer.address, timeout=9) as far:
                far.note(donation)
    assert len(peer.left) == 4
    assert all(left <= 9.01 - 0.4 * waits for waits, left in enumerate(peer.left)), peer.left


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_last_try_of_a_call_does_not_hide_the_reason(peer: Peer, donation: Donation, kind: str) -> None:
    """The first try is answered. The second waits until time is up. It may have noted, so
    the error is not the first try's.
    """
    over = threading.Event()

    def fail_then_hang(rpc: str, request: Any, answer: Any) -> None:
        if len(peer.left) > 1:
            over.wait(60)
        raise Trouble(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")

    async def ask() -> None:
        async with noted.aio.Client(peer.address, timeout=3) as client:
            await client.note(donation)

    peer.change = fail_then_hang
    try:
        with pytest.raises(noted.DeadlineExceeded, match="; an earlier try failed: STORE_UNAVAILABLE: ") as raised:
            if kind == "asyncio":
                asyncio.run(ask())
            else:
                with noted.Client(peer.address, timeout=3) as far:
                    far.note(donation)
    finally:
        over.set()
    assert len(peer.left) == 2 and raised.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert isinstance(raised.value.__cause__, grpc.RpcError)


def test_a_store_that_is_unsuitable_at_settling(peer: Peer, far: noted.Client, donation: Donation) -> None:
    def fail(rpc: str, request: Any, answer: Any) -> None:
        if rpc == "SettleDonation":
            raise Trouble(grpc.StatusCode.FAILED_PRECONDITION, "STORE_UNSUITABLE")

    peer.change = fail
    with pytest.raises(noted.NotSettled) as raised:
        with far.once(donation) as turn:
            assert turn.first
    assert isinstance(raised.value.__cause__, noted.StoreUnsuitable)


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_what_is_asked(peer: Peer, far: noted.Client, donation: Donation, kind: str) -> None:
    """The time of a queued message, and the reason of settling by hand, reach the server."""
    received = datetime.now(timezone.utc).replace(microsecond=250_000) - timedelta(hours=1)
    message = Message("ipn", "m-1", received)
    seen: Dict[str, Any] = {}

    def keep(rpc: str, request: Any, answer: Any) -> None:
        seen[rpc] = request
        if rpc == "NoteDonation":
            answer.note.sightings[0].message.received_at.CopyFrom(request.message.received_at)

    async def ask() -> noted.NoteResponse:
        async with noted.aio.Client(peer.address) as client:
            response = await client.note(donation, message, hold=60)
            await client.settle(response.receipt, "booked by hand")
            assert [note async for note in client.list(series_id=donation.series_id, transaction_id="T-9")] != None
        return response

    peer.change = keep
    if kind == "blocking":
        response = far.note(donation, message, hold=60)
        far.settle(response.receipt, "booked by hand")
        list(far.list(series_id=donation.series_id, transaction_id="T-9"))
    else:
        response = asyncio.run(ask())
    assert seen["NoteDonation"].message.received_at.ToDatetime() == received.replace(tzinfo=None)
    assert seen["SettleDonation"].reason == "booked by hand"
    assert seen["ListDonations"].transaction_id == "T-9"
    assert response.note is not None and response.note.sightings[0].message == message


def test_a_message_that_waited(client: noted.Client, donation: Donation) -> None:
    """A note keeps received_at of its message, and list() finds it by its transaction id."""
    received = datetime.now(timezone.utc).replace(microsecond=250_000) - timedelta(hours=1)
    for transaction in ("T-1", "T-2"):
        told = Donation(donation.series_id, donation.series_id, transaction_id=transaction)
        client.note(told, Message("ipn", transaction, received))
    (note,) = client.list(donation.series_id, transaction_id="T-2")
    assert note.donation.transaction_id == "T-2" and note.sightings[0].message == Message("ipn", "T-2", received)
    with pytest.raises(noted.ReceivedTooEarly):
        client.note(Donation(donation.series_id + "-old"), Message(received_at=received - timedelta(days=400)))


def test_a_time_of_arrival_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Message("ipn", "1", datetime(2026, 1, 1))

"""Refusals, the time that all tries of a call have, and the fields of requests."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime, timedelta, timezone
from typing import Any, Dict, List

import grpc
import pytest

import noted
import noted.aio
from noted import Donation, Message

from .peer import Peer, Trouble


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
            assert [note async for note in client.list(series_id=donation.series_id, transaction_id="T-9")] == []
        return response

    peer.change = keep
    if kind == "blocking":
        response = far.note(donation, message, hold=60)
        far.settle(response.receipt, "booked by hand")
        assert list(far.list(series_id=donation.series_id, transaction_id="T-9")) == []
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

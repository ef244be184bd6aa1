"""Wrong answers."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from typing import Any, Callable, Dict, List, Optional

import grpc
import pytest

import noted
import noted.aio
from noted import Donation, NoteRequest, Verdict
from noted.v1 import noted_pb2 as pb

from .peer import Peer, nothing

REFUSED = grpc.StatusCode.INTERNAL

# The calls whose request names a series, and no receipt.
NAMING_A_SERIES = [
    method.name
    for method in pb.DESCRIPTOR.services_by_name["DedupeService"].methods
    if "receipt" not in method.input_type.fields_by_name
]


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
@pytest.mark.parametrize("rpc", NAMING_A_SERIES)
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

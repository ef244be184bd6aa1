"""The asyncio client against the real server."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from dataclasses import replace
from typing import Any, AsyncIterator, Callable, Coroutine, Iterator, List

import grpc
import pytest

import noted
from noted import Donation, Evidence, NoteRequest, State, Verdict
from noted.aio import Client

from .proxy import Proxy


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs a coroutine as a test with the fixtures donation, address and proxy."""

    def run(donation: Donation, address: str, proxy: Proxy) -> None:
        asyncio.run(test(donation, address, proxy))

    return run


@in_a_loop
async def test_outcomes_of_once(donation: Donation, address: str, proxy: Proxy) -> None:
    async with Client(address) as client:
        async with client.once(donation) as turn:
            assert turn.first and turn.evidence == Evidence.NEW
            async with client.once(donation) as other:
                assert other.held
            with pytest.raises(RuntimeError, match="turn.first"):
                async with client.once(donation):
                    pass
        async with client.once(donation) as turn:
            assert turn.verdict == Verdict.DUPLICATE


@in_a_loop
async def test_shadow(donation: Donation, address: str, proxy: Proxy) -> None:
    dark = replace(donation, ledger="dark")
    async with Client(address) as client:
        async with client.once(dark) as turn:
            assert turn.first and turn.shadow_verdict == Verdict.FIRST
            async with client.once(dark) as other:
                assert other.first and other.shadow_verdict == Verdict.HELD
            held = (await client.exists(dark)).note
            assert held is not None and held.state == State.HELD
        response = await client.note(dark, hold=60)
        assert (response.verdict, response.shadow_verdict) == (Verdict.FIRST, Verdict.DUPLICATE)
        assert (await client.settle(response.receipt)).state == State.SETTLED


def test_a_client_that_is_made_before_the_loop(address: str, donation: Donation) -> None:
    """A client at a module's level exists before the loop. It works in one loop after another."""
    client = Client(address)

    async def look() -> None:
        assert not await client.exists(donation)

    for _ in range(2):
        asyncio.run(look())
    asyncio.run(client.close())
    with pytest.raises(ValueError, match="closed"):
        asyncio.run(look())


@in_a_loop
async def test_a_hold_that_cannot_be_sends_nothing(donation: Donation, address: str, proxy: Proxy) -> None:
    async with Client(address) as client:
        for hold in (0, 901):
            with pytest.raises(ValueError, match="hold"):
                async with client.once(donation, hold=hold) as turn:
                    turn.verdict
        assert (await client.exists(donation)).note is None


@in_a_loop
async def test_an_exception_or_a_cancellation_releases(donation: Donation, address: str, proxy: Proxy) -> None:
    async with Client(address) as client:
        with pytest.raises(ZeroDivisionError):
            async with client.once(donation) as turn:
                assert turn.first
                raise ZeroDivisionError

        entered = asyncio.Event()

        async def slow() -> None:
            async with client.once(donation) as turn:
                assert turn.first
                entered.set()
                await asyncio.sleep(60)

        task = asyncio.ensure_future(slow())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with client.once(donation) as turn:
            assert turn.first and turn.note.attempt == 3


@in_a_loop
async def test_settling_is_finished_in_spite_of_a_cancellation(donation: Donation, address: str, proxy: Proxy) -> None:
    async with Client(proxy.address) as far, Client(address) as client:
        leaving = asyncio.Event()

        async def process() -> None:
            async with far.once(donation) as turn:
                assert turn.first
                proxy.down()
                leaving.set()

        task = asyncio.ensure_future(process())
        await leaving.wait()
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.sleep(0.2)
        proxy.up()
        with pytest.raises(asyncio.CancelledError):
            await task
        note = (await client.exists(donation)).note
        assert note is not None and note.state == State.SETTLED


@in_a_loop
async def test_a_cancellation_goes_on_where_settling_fails(donation: Donation, address: str, proxy: Proxy) -> None:
    """NotSettled in its place would hide the cancellation from a task that handles it. The log
    has the failure.
    """
    told: List[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    keep, handled, leaving = Keep(logging.ERROR), [], asyncio.Event()
    logging.getLogger("noted").addHandler(keep)
    async with Client(proxy.address, settle_timeout=0.7) as far:

        async def process() -> None:
            try:
                async with far.once(donation) as turn:
                    assert turn.first
                    proxy.down()
                    leaving.set()  # no other task runs until settling waits
            except noted.NotSettled:
                handled.append(True)
            await asyncio.sleep(60)

        task = asyncio.ensure_future(process())
        await leaving.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    logging.getLogger("noted").removeHandler(keep)
    assert not handled and len(told) == 1 and "processed, but not settled" in told[0]


@in_a_loop
async def test_settling_gives_up_when_the_token_function_still_raises(
    donation: Donation, address: str, proxy: Proxy
) -> None:
    tokens = iter(["secret"])
    async with Client(address, token=lambda: next(tokens), settle_timeout=0.5) as client:
        with pytest.raises(noted.NotSettled, match="StopIteration") as raised:
            async with client.once(donation) as turn:
                assert turn.first
        assert isinstance(raised.value.__cause__, noted.Unavailable)


@in_a_loop
async def test_a_client_that_is_closed_before_it_has_settled(donation: Donation, address: str, proxy: Proxy) -> None:
    async def close_after(client: Client, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await client.close()

    for when in ("before", "meanwhile"):
        client = Client(proxy.address)
        with pytest.raises(noted.NotSettled, match="closed") as raised:
            async with client.once(Donation(f"{donation.series_id}-{when}")) as turn:
                assert turn.first
                if when == "before":
                    await client.close()
                else:
                    proxy.swallow()
                    closing = asyncio.ensure_future(close_after(client, 0.3))
        assert isinstance(raised.value.__cause__, noted.Error)
    await closing


@in_a_loop
async def test_a_client_that_is_closed_in_the_middle(donation: Donation, address: str, proxy: Proxy) -> None:
    """Calls under way fail with an Error. They do not cancel the task that waits for them."""
    client = Client(proxy.address)
    await client.exists(donation)
    once = client.once(donation, hold=3)
    turn = await once.__aenter__()
    proxy.swallow()
    asked = asyncio.ensure_future(client.note(donation))
    await asyncio.sleep(1.2)  # an extension is under way
    await client.close()
    with pytest.raises(noted.Error, match="closed"):
        await asked
    with pytest.raises(noted.Error, match="closed"):
        for _ in range(20):
            turn.check()
            await asyncio.sleep(0.02)


@in_a_loop
async def test_a_call_that_is_cancelled(donation: Donation, address: str, proxy: Proxy) -> None:
    async with Client(proxy.address) as client:
        await client.exists(donation)
        proxy.swallow()
        for closing in (False, True):
            asked = asyncio.ensure_future(client.note(donation))
            await asyncio.sleep(0.2)
            asked.cancel()
            if closing:
                await client.close()
            with pytest.raises(asyncio.CancelledError):
                await asked


@in_a_loop
async def test_the_hold_is_extended_and_lost(donation: Donation, address: str, proxy: Proxy) -> None:
    async with Client(proxy.address, timeout=0.3) as far, Client(address) as client:
        with pytest.raises(noted.NotSettled) as raised:
            async with far.once(donation, hold=0.6) as turn:
                assert turn.first
                await asyncio.sleep(1.2)
                turn.check()
                assert (await client.note(donation)).verdict == Verdict.HELD
                proxy.down()
                with pytest.raises(noted.Error, match="ran out"):
                    while True:
                        turn.check()
                        await asyncio.sleep(0.02)
                while await client.exists(donation):
                    await asyncio.sleep(0.02)
                await client.note(donation)
                proxy.up()
        assert raised.value.reason == "SETTLED_BY_ANOTHER"


@in_a_loop
async def test_the_end_of_a_hold_is_told(donation: Donation, address: str, proxy: Proxy) -> None:
    """Even if the loop is blocked, or every extension uses up its timeout."""
    tried: List[float] = []

    class Hanging(Client):
        async def extend(self, receipt: str, hold: Any, *, timeout: Any = None) -> noted.Note:
            tried.append(timeout)
            await asyncio.sleep(timeout)
            raise noted.DeadlineExceeded("extending a hold", "", grpc.StatusCode.DEADLINE_EXCEEDED)

    async with Hanging(address) as client:
        async with client.once(donation, hold=0.6) as turn:
            assert turn.first
            time.sleep(0.6)  # blocks the loop
            with pytest.raises(noted.Error, match="ran out"):
                turn.check()
        async with client.once(Donation(donation.series_id + "x"), hold=0.6) as turn:
            assert turn.first
            with pytest.raises(noted.Error, match="ran out"):
                while True:
                    turn.check()
                    await asyncio.sleep(0.02)
            while not tried:
                await asyncio.sleep(0.02)
    assert max(tried) <= 0.1, "a try has a sixth of the hold"


@in_a_loop
async def test_a_lost_reply_loses_nothing(donation: Donation, address: str, proxy: Proxy) -> None:
    async with Client(proxy.address) as far, Client(address) as client:
        await far.exists(donation)
        proxy.swallow()
        answer = asyncio.ensure_future(far.note(donation, hold=60))
        while not await client.exists(donation):
            await asyncio.sleep(0.02)
        while not proxy.swallowed.is_set():
            await asyncio.sleep(0.02)
        proxy.cut()
        response = await answer
        assert (response.verdict, response.evidence) == (Verdict.FIRST, Evidence.SAME_REQUEST)
        await client.release(response.receipt)


@in_a_loop
async def test_calls_and_errors(donation: Donation, address: str, proxy: Proxy) -> None:
    ledger = uuid.uuid4().hex
    async with Client(address) as client:
        for i in range(9):
            await client.note(Donation(f"I-{i}", ledger))
        assert len([note async for note in client.list(ledger, page_size=4)]) == 9
        note = (await client.exists(Donation("I-1", ledger))).note
        assert note is not None
        await client.forget("I-1", note.donation_id, "a test", ledger=ledger)
        response = await client.note(Donation("I-1", ledger), hold=5)
        await client.extend(response.receipt, 9)
        assert (await client.settle(response.receipt)).state == State.SETTLED
        with pytest.raises(noted.InvalidRequest):
            await client.note(Donation("an id"))
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(noted.Unavailable):
            await client.note(donation)


@in_a_loop
async def test_a_stream_that_breaks_is_opened_again(donation: Donation, address: str, proxy: Proxy) -> None:
    prefix, count = uuid.uuid4().hex, 0

    def plain() -> Iterator[NoteRequest]:
        return (NoteRequest(Donation(f"{prefix}-{i}" if i != 9 else "an id"), hold=60) for i in range(1000))

    async def slowly() -> AsyncIterator[NoteRequest]:
        for request in plain():
            await asyncio.sleep(0)
            yield request

    async with Client(proxy.address) as client:
        async for result in client.notes(plain()):
            count += 1
            if count in (100, 500):
                proxy.cut()
            if count == 10:
                assert isinstance(result.error, noted.InvalidRequest)
            else:
                assert result.response is not None and result.response.verdict == Verdict.FIRST, result.error
        assert count == 1000
        verdicts = {r.response.verdict if r.response else None async for r in client.notes(slowly())}
        assert verdicts == {Verdict.HELD, None}


@in_a_loop
async def test_a_source_that_raises(donation: Donation, address: str, proxy: Proxy) -> None:
    def source() -> Iterator[NoteRequest]:
        yield NoteRequest(donation)
        raise ZeroDivisionError

    async with Client(address) as client:
        results = client.notes(source())
        assert (await results.__anext__()).error is None
        with pytest.raises(ZeroDivisionError):
            await results.__anext__()

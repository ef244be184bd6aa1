"""once() against the real server, over a good and a bad network."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any, List, Optional

import grpc
import pytest

import noted
from noted import Donation, Evidence, Message, State, Verdict

from .conftest import until
from .proxy import Proxy


def test_first_then_duplicate(client: noted.Client, donation: Donation) -> None:
    with client.once(donation, Message("ipn", "m-1")) as turn:
        assert turn.first and not turn.held and turn.verdict == Verdict.FIRST
        assert (turn.evidence, turn.note.state, turn.note.attempt) == (Evidence.NEW, State.HELD, 1)
        first = turn.note.donation_id
    with client.once(donation, Message("webhook", "w-1")) as turn:
        assert not turn.first and turn.verdict == Verdict.DUPLICATE
        assert turn.note.donation_id == first
    assert [s.message for s in turn.note.sightings] == [Message("ipn", "m-1"), Message("webhook", "w-1")]


def test_held_while_another_is_processing(client: noted.Client, donation: Donation) -> None:
    with client.once(donation) as turn:
        assert turn.first
        with client.once(donation) as other:
            assert other.held and not other.first
            assert other.retry_after is not None and 0 < other.retry_after.total_seconds() <= 60
    assert client.exists(donation)


def test_shadow(client: noted.Client, donation: Donation) -> None:
    """In shadow each message is processed, and only the first holder settles."""
    dark = replace(donation, ledger="dark")
    with client.once(dark, Message("ipn", "m-1")) as turn:
        assert turn.first and turn.shadow_verdict == Verdict.FIRST
        with client.once(dark, Message("webhook", "w-1")) as other:
            assert other.first and other.shadow_verdict == Verdict.HELD
        held = client.exists(dark).note
        assert held is not None and held.state == State.HELD and len(held.sightings) == 2
    with client.once(dark, Message("ipn", "m-1")) as late:
        assert late.first and late.shadow_verdict == Verdict.DUPLICATE
        assert late.note.donation_id == turn.note.donation_id and late.evidence == Evidence.SAME_MESSAGE
    with pytest.raises(ZeroDivisionError):
        with client.once(dark, Message("webhook", "w-1")) as late:
            assert late.first and late.shadow_verdict == Verdict.DUPLICATE
            raise ZeroDivisionError
    settled = client.exists(dark).note
    assert settled is not None and settled.state == State.SETTLED

    for note, receipt in ((client.note(dark, hold=60), True), (client.note(dark), False)):
        assert (note.verdict, note.shadow_verdict, bool(note.receipt)) == (Verdict.FIRST, Verdict.DUPLICATE, receipt)
    assert client.note(donation).shadow_verdict == Verdict.UNSPECIFIED


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_exception_releases_and_goes_on(
    client: noted.Client, donation: Donation, error: "type[BaseException]"
) -> None:
    with pytest.raises(error):
        with client.once(donation) as turn:
            assert turn.first
            raise error
    with client.once(donation) as turn:
        assert turn.first and turn.evidence == Evidence.TAKEN_OVER and turn.note.attempt == 2


def test_release_without_an_exception(client: noted.Client, donation: Donation) -> None:
    with client.once(donation) as turn:
        if turn.first:
            turn.release("the books are closed")
    assert not client.exists(donation)


def test_return_from_the_block_settles(client: noted.Client, donation: Donation) -> None:
    def receive() -> int:
        with client.once(donation) as turn:
            if turn.first:
                return 200
        return 503

    assert receive() == 200
    found = client.exists(donation)
    assert found.note is not None and found.note.state == State.SETTLED


def test_a_block_that_does_not_read_the_verdict_raises(client: noted.Client, donation: Donation) -> None:
    with pytest.raises(RuntimeError, match="turn.first"):
        with client.once(donation):
            pass  # would process duplicates too
    assert client.exists(donation), "the block ran, so the note stays"
    with pytest.raises(RuntimeError, match="turn.first"):
        with client.once(donation):
            pass


def test_good_for_one_block(client: noted.Client, donation: Donation) -> None:
    once = client.once(donation)
    with once as turn:
        assert turn.first
    with pytest.raises(RuntimeError, match="anew"):
        with once:
            pass


def test_the_hold_is_extended(client: noted.Client, donation: Donation) -> None:
    with client.once(donation, hold=0.6) as turn:
        assert turn.first
        held_until = turn.note.held_until
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert client.note(donation, hold=1).verdict == Verdict.HELD
            time.sleep(0.1)
        turn.check()
        note = client.exists(donation).note
        assert note and note.held_until and held_until and note.held_until > held_until
    assert client.exists(donation).note.state == State.SETTLED  # type: ignore[union-attr]


@pytest.mark.parametrize("hold", [0, -1, 0.0009, 901, float("nan"), timedelta(0), timedelta(hours=1)])
def test_a_hold_that_cannot_be_sends_nothing(client: noted.Client, donation: Donation, hold: Any) -> None:
    with pytest.raises(ValueError, match="hold"):
        with client.once(donation, hold=hold) as turn:
            turn.verdict
    assert client.exists(donation).note is None, "the donation was noted without a hold to settle"


def test_only_one_of_many_is_first(client: noted.Client, donation: Donation) -> None:
    ready = threading.Barrier(30)

    def receive(_: int) -> bool:
        ready.wait()
        with client.once(donation, Message("ipn", "m-1")) as turn:
            return turn.first

    with ThreadPoolExecutor(30) as pool:
        assert sum(pool.map(receive, range(30))) == 1


def test_a_lost_reply_loses_nothing(address: str, proxy: Proxy, client: noted.Client, donation: Donation) -> None:
    with noted.Client(proxy.address) as far:
        far.exists(donation)  # the connection is open
        proxy.swallow()
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(far.note, donation, hold=60)
            until(lambda: client.exists(donation))  # the server has noted it
            assert proxy.swallowed.wait(5)
            proxy.cut()
            response = answer.result(10)
    assert (response.verdict, response.evidence) == (Verdict.FIRST, Evidence.SAME_REQUEST)
    assert response.note is not None and response.note.attempt == 1
    client.settle(response.receipt)


def test_settling_outwaits_an_outage(proxy: Proxy, client: noted.Client, donation: Donation) -> None:
    with noted.Client(proxy.address, timeout=0.5) as far:
        with far.once(donation) as turn:
            assert turn.first
            proxy.down()
            threading.Timer(1.5, proxy.up).start()
    assert client.exists(donation).note.state == State.SETTLED  # type: ignore[union-attr]


def test_settling_gives_up_in_the_end(proxy: Proxy, donation: Donation) -> None:
    with noted.Client(proxy.address, settle_timeout=0.7) as far:
        with pytest.raises(noted.NotSettled) as raised:
            with far.once(donation) as turn:
                assert turn.first
                proxy.down()
        assert isinstance(raised.value.__cause__, noted.Unavailable)


def test_a_release_that_fails_does_not_hide_the_exception(
    proxy: Proxy, donation: Donation, caplog: pytest.LogCaptureFixture
) -> None:
    with noted.Client(proxy.address, settle_timeout=0.5) as far:
        with pytest.raises(ZeroDivisionError):
            with far.once(donation) as turn:
                assert turn.first
                proxy.down()
                raise ZeroDivisionError
    assert "opens when its hold has run out" in caplog.text


@pytest.mark.parametrize("settled, reason", [(True, "SETTLED_BY_ANOTHER"), (False, "HOLD_LOST")])
def test_a_lost_hold_raises(proxy: Proxy, client: noted.Client, donation: Donation, settled: bool, reason: str) -> None:
    with noted.Client(proxy.address, timeout=0.3) as far:
        with pytest.raises(noted.NotSettled) as raised:
            with far.once(donation, hold=0.6) as turn:
                assert turn.first
                proxy.down()  # no extension arrives any more
                with pytest.raises(noted.Error, match="ran out"):
                    end = time.monotonic() + 10
                    while time.monotonic() < end:
                        turn.check()
                        time.sleep(0.02)
                until(lambda: not client.exists(donation))  # by our clock the hold ends earlier, on purpose
                other = client.note(donation, hold=60)
                assert other.verdict == Verdict.FIRST
                if settled:
                    client.settle(other.receipt)
                proxy.up()
    assert raised.value.reason == reason
    assert isinstance(raised.value.__cause__, noted.SettledByAnother if settled else noted.HoldLost)


def test_the_end_of_a_hold_is_told(client: noted.Client, donation: Donation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if every extension uses up its timeout. test_core.py has the times."""
    tried: List[float] = []

    def hangs(receipt: str, hold: float, *, timeout: float) -> None:
        tried.append(timeout)
        time.sleep(timeout)
        raise noted.DeadlineExceeded("extending a hold", "", grpc.StatusCode.DEADLINE_EXCEEDED)

    monkeypatch.setattr(client, "extend", hangs)
    with client.once(donation, hold=0.6) as turn:
        assert turn.first
        until(lambda: "ran out" in _loss(turn))
        until(lambda: tried)
    assert max(tried) <= 0.1, "a try has a sixth of the hold"


def test_a_hold_that_ends_under_an_extension(
    client: noted.Client, donation: Donation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the whole process was suspended."""
    under, over = threading.Event(), threading.Event()
    extend = client.extend

    def suspended(receipt: str, hold: float, *, timeout: float) -> noted.Note:
        under.set()
        over.wait(5)
        return extend(receipt, hold)

    monkeypatch.setattr(client, "extend", suspended)
    with client.once(donation, hold=0.3) as turn:
        assert turn.first and under.wait(5)
        time.sleep(0.3)
        with pytest.raises(noted.Error, match="ran out"):
            turn.check()
        over.set()  # no other attempt has taken over, so the hold is extended
        until(lambda: not _loss(turn))


def _loss(turn: noted.Turn) -> str:
    try:
        turn.check()
    except noted.Error as error:
        return str(error)
    return ""


def test_an_extension_that_is_refused_is_a_loss(client: noted.Client, donation: Donation) -> None:
    with pytest.raises(noted.NotSettled) as raised:
        with client.once(donation, hold=0.6) as turn:
            assert turn.first
            client.forget(donation.series_id, turn.note.donation_id, "a test")
            with pytest.raises(noted.NoteNotFound):
                while True:
                    turn.check()
                    time.sleep(0.02)
    assert raised.value.reason == "NOTE_NOT_FOUND"


def test_a_client_that_is_closed_in_the_middle(address: str, donation: Donation) -> None:
    client = noted.Client(address)
    turn = client.once(donation, hold=0.6).__enter__()
    client.close()
    until(lambda: "closed" in _loss(turn))


class Token:
    """A token function that can fail."""

    def __init__(self) -> None:
        self.trouble: Optional[Exception] = None

    def __call__(self) -> str:
        if self.trouble:
            raise self.trouble
        return "secret"


def test_settling_outwaits_a_token_function_that_raises(address: str, client: noted.Client, donation: Donation) -> None:
    token = Token()
    with noted.Client(address, token=token) as far:
        with far.once(donation) as turn:
            assert turn.first
            token.trouble = FileNotFoundError("token")
            threading.Timer(0.5, setattr, (token, "trouble", None)).start()
    assert client.exists(donation).note.state == State.SETTLED  # type: ignore[union-attr]


def test_settling_gives_up_when_the_token_function_still_raises(address: str, donation: Donation) -> None:
    token = Token()
    with noted.Client(address, token=token, settle_timeout=0.5) as far:
        with pytest.raises(noted.NotSettled, match="FileNotFoundError: token") as raised:
            with far.once(donation) as turn:
                assert turn.first
                token.trouble = FileNotFoundError("token")
        assert isinstance(raised.value.__cause__, noted.Unavailable)


def test_a_release_without_a_token_does_not_hide_the_exception(
    address: str, donation: Donation, caplog: pytest.LogCaptureFixture
) -> None:
    token = Token()
    with noted.Client(address, token=token, settle_timeout=0.5) as far:
        with pytest.raises(ZeroDivisionError):
            with far.once(donation) as turn:
                assert turn.first
                token.trouble = FileNotFoundError("token")
                raise ZeroDivisionError
    assert "opens when its hold has run out" in caplog.text


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_client_that_is_closed_before_it_has_settled(proxy: Proxy, donation: Donation, when: str) -> None:
    far = noted.Client(proxy.address)
    with pytest.raises(noted.NotSettled, match="closed") as raised:
        with far.once(donation) as turn:
            assert turn.first
            if when == "before":
                far.close()
            else:
                proxy.swallow()
                threading.Timer(0.3, far.close).start()
    assert isinstance(raised.value.__cause__, noted.Error)


def test_a_release_of_a_client_that_is_closed(address: str, donation: Donation) -> None:
    with pytest.raises(ZeroDivisionError):
        far = noted.Client(address)
        with far.once(donation) as turn:
            assert turn.first
            far.close()
            raise ZeroDivisionError


def test_nothing_runs_when_the_server_is_away(donation: Donation) -> None:
    with noted.Client("127.0.0.1:1", timeout=1) as client:
        with pytest.raises(noted.Unavailable):
            with client.once(donation):
                raise AssertionError("the block ran")

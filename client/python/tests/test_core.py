"""The core's rules about time. The tests set the clock, so they need not wait."""

from __future__ import annotations

from typing import Any, List

import pytest

import noted
from noted import Donation, Evidence, Note, NoteResponse, NotSettled, State, Turn, Verdict
from noted.core.once import Course
from noted.core.retry import MAX_TRIES, Budget, Tries
from noted.core.settings import Settings

AWAY = noted.Unavailable("noting", "connection refused", "UNAVAILABLE")
DONATION = Donation("I-1", "paypal-live")


def settings(**changed: Any) -> Settings:
    """The settings of a client, with 5 s for a call and 15 s for settling."""
    given = {"timeout": 5.0, "hold": 60.0, "settle_timeout": 15.0, **changed}
    return Settings("127.0.0.1:1", **given, ca=None, credentials=None, plaintext=False, token=None, options=())


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def begun(hold: float, clock: Clock) -> "tuple[Course, Turn]":
    """A once() whose note call was sent at 0 s, and is FIRST."""
    course = Course(DONATION, None, hold, settings())
    course.enter()
    note = Note("d-1", DONATION, state=State.HELD, attempt=1)
    return course, course.begin(NoteResponse(Verdict.FIRST, note, Evidence.NEW, "receipt"), 0.0, clock)


@pytest.mark.parametrize("timeout", [0.03, 0.3, 5.0, 60.0])
def test_all_tries_of_a_call_have_its_timeout_together(timeout: float) -> None:
    """Tries that use up their timeouts, and tries that fail at once."""
    for hang in (0.0, 0.1, 1.0):
        now, made = 0.0, 0
        tries = Tries(Budget(), True, timeout, now)
        while True:
            made += 1
            left = tries.left(now)
            assert now + left <= timeout
            now += left * hang
            wait = tries.wait(AWAY, now)
            if wait is None:
                break
            assert wait >= 0.05
            now += wait
            assert now < timeout, "the wait before the next try is too long"
        assert made <= MAX_TRIES and now <= timeout
        assert made == MAX_TRIES or timeout < 5 or hang == 1.0


def test_a_call_that_must_not_be_repeated_is_tried_once() -> None:
    assert Tries(Budget(), False, 5.0, 0.0).wait(AWAY, 0.0) is None


@pytest.mark.parametrize("hang", [0.0, 0.5, 1.0])
def test_settling_gives_up_when_its_time_is_over(hang: float) -> None:
    """Each try has at most the timeout of a call, and all together have settle_timeout."""
    clock = Clock()
    course, _ = begun(60.0, clock)
    settling = course.settling(clock.now)
    given: List[float] = []
    with pytest.raises(NotSettled, match="processed, but not settled"):
        while True:
            given.append(settling.timeout(clock.now))
            clock.now += given[-1] * hang
            clock.now += settling.wait(AWAY, clock.now)
            assert clock.now < 15
    assert len(given) > 2 and max(given) == 5 and clock.now <= 15
    assert sum(given) * hang <= 15


@pytest.mark.parametrize("hang", [0.0, 0.5, 1.0])
def test_no_extension_outlasts_the_hold(hang: float) -> None:
    """After the end of the hold another receiver may be first."""
    clock = Clock()
    course, turn = begun(60.0, clock)
    clock.now = course.extend_in(0.0)
    assert clock.now == pytest.approx(20)
    extension, tried = course.extension(), 0
    with pytest.raises(noted.Unavailable, match="the hold ran out"):
        while True:
            tried += 1
            timeout = extension.timeout(clock.now)
            assert clock.now + timeout <= 60, "the try outlasts the hold"
            clock.now += timeout * hang
            if clock.now < 60:
                turn.check()
            clock.now += extension.wait(AWAY, clock.now)
    assert tried > 2, "a try that hangs leaves time for another"


def test_check_tells_the_reason_of_an_extension_under_way() -> None:
    """Until an extension succeeds, and no longer."""
    clock = Clock()
    course, turn = begun(60.0, clock)
    course.extension().wait(AWAY, 20.0)
    clock.now = 60.0
    with pytest.raises(noted.Unavailable, match="the hold ran out: connection refused"):
        turn.check()
    course.extension().done(turn.note, 60.0)
    turn.check()
    clock.now = 120.0
    with pytest.raises(noted.Error, match="the hold ran out$") as raised:
        turn.check()
    assert type(raised.value) is noted.Error


def test_an_extension_counts_from_when_it_was_asked() -> None:
    clock = Clock()
    course, turn = begun(60.0, clock)
    course.extension().done(turn.note, 20.0)
    clock.now = 79.9
    turn.check()
    assert course.extend_in(20.0) == pytest.approx(20)


def test_the_end_of_a_hold_is_told_in_time() -> None:
    """check() reads the clock, and does not wait for an extension under way."""
    clock = Clock()
    course, turn = begun(60.0, clock)
    for clock.now in (0.0, 59.9):
        turn.check()
    course.extension()
    for clock.now in (60.0, 1e9):
        with pytest.raises(noted.Error, match="the hold ran out"):
            turn.check()
    clock.now = 1.0
    course.lost(AWAY)
    with pytest.raises(noted.Unavailable):
        turn.check()

"""The rules of once(): note with a hold, extend it while the block runs, then settle or
release.

A half makes the calls, waits and reads the clock. It asks a Course for the time of each
call and for the wait after a failure.
"""

from __future__ import annotations

from typing import Callable, Optional

from ..errors import Error, NotSettled
from ..types import Donation, Message, Note, NoteResponse, Verdict
from .calls import check_note
from .retry import refused, wait_after
from .settings import Settings
from .turn import Hold, Turn

_VERDICT_NOT_READ = (
    "the block of once() asked neither turn.first nor turn.verdict, so it would process duplicates too; "
    "write: with client.once(donation, message) as turn: if turn.first: ..."
)


class Course:
    """The course of one once(), from noting to settling. It is good for one block."""

    def __init__(self, donation: Donation, message: Optional[Message], hold: float, settings: Settings) -> None:
        self.donation, self.message, self.hold = donation, message, Hold(hold)
        self._settings = settings
        self._turn: Optional[Turn] = None
        self._first = False

    @property
    def turn(self) -> Turn:
        assert self._turn is not None, "begin() comes first"
        return self._turn

    def enter(self) -> None:
        """Refuses a second block."""
        if self._turn is not None:
            raise RuntimeError("this once() has been entered before; call client.once() anew for each message")

    def begin(self, response: NoteResponse, asked: float, clock: Callable[[], float]) -> Turn:
        """Takes the answer of the note call that was sent at the time asked. The hold began
        no earlier. Answers that this release cannot act upon are refused.
        """
        act = "noting " + self.donation.series_id
        if response.verdict not in (Verdict.FIRST, Verdict.DUPLICATE, Verdict.HELD):
            raise Error(act, f"the server's verdict {response.verdict} is unknown to this client; update the library")
        self._first = response.verdict == Verdict.FIRST
        if self._first and not response.receipt:
            raise Error(act, "the server gave no receipt for the hold; is it Noted?")
        if self._first:
            self.hold.ends = asked + self.hold.length
        self._turn = Turn(response, self.hold, clock)
        return self._turn

    @property
    def extends(self) -> bool:
        """Whether there is a hold to extend."""
        return self._first

    def extend_in(self, now: float) -> float:
        """The wait before the next extension: one comes at every third of the hold. This
        clock's hold ends a little earlier than the store's, which is the safe side.
        """
        return self.hold.ends - self.hold.length * 2 / 3 - now

    def extension(self) -> Extension:
        return Extension(self.turn, self.hold)

    def lost(self, raised: Exception) -> None:
        """Takes the failure of an extension: the hold is lost."""
        self.hold.loss = as_error("extending a hold", raised)

    def settles(self, raised: Optional[BaseException]) -> bool:
        """Whether the end of the block settles the note."""
        return bool(self.turn.receipt) and raised is None and self.hold.released is None

    def releases(self, raised: Optional[BaseException]) -> bool:
        """Whether the end of the block releases the note."""
        return bool(self.turn.receipt) and not self.settles(raised)

    def settling(self, now: float) -> Settling:
        return Settling(self.turn, self._settings, now)

    @property
    def release_timeout(self) -> float:
        return min(self._settings.settle_timeout, self._settings.timeout)

    @property
    def release_reason(self) -> str:
        return self.hold.released or "processing failed"

    def released(self, note: Note) -> None:
        """Takes the answer of a release."""
        check_same("releasing", self.turn.note, note)

    def not_released(self, raised: Exception) -> str:
        """The line for the log after a failed release. It is no error for the caller,
        because the note opens when its hold ends.
        """
        error = as_error("releasing", raised)
        return f"releasing {self.turn.note.donation_id}: {error}; it opens when its hold has run out"

    def check_verdict_read(self) -> None:
        """Raises after a block that did not read the verdict."""
        if not self.hold.verdict_read:
            raise RuntimeError(_VERDICT_NOT_READ)


class Extension:
    """The tries of one extension, which end when the hold would end."""

    def __init__(self, turn: Turn, hold: Hold) -> None:
        self._turn, self._hold, self._tries = turn, hold, 0

    def timeout(self, now: float) -> float:
        """The time of the next try. A hanging try must leave time for another, and the last
        try must not outlast the hold.
        """
        return max(min(self._hold.length / 6, self._hold.ends - now), 0.001)

    def done(self, note: Note, asked: float) -> None:
        """Takes the answer of the try that was sent at the time asked."""
        check_same("extending a hold", self._turn.note, note)
        self._hold.ends = asked + self._hold.length
        self._hold.told = None

    def wait(self, error: Error, now: float) -> float:
        """The wait before the next try. Raises if no other try may follow."""
        if refused(error):
            raise error
        self._tries += 1
        wait = wait_after(self._tries, error)
        self._hold.told = reason_of(self._hold.told, error)
        if now + wait >= self._hold.ends:
            raise self._hold.ran_out()
        return wait


class Settling:
    """The tries of settling. The donation is processed, so they also outlast a server that
    is too busy or too slow, not only one that is UNAVAILABLE.
    """

    def __init__(self, turn: Turn, settings: Settings, now: float) -> None:
        self._turn, self._settings, self._tries = turn, settings, 0
        self._deadline = now + settings.settle_timeout
        self._told: Optional[Error] = None

    def timeout(self, now: float) -> float:
        """The time of the next try."""
        return min(self._settings.timeout, max(self._deadline - now, 0.001))

    def done(self, note: Note) -> None:
        """Takes the answer of a try."""
        check_same("settling", self._turn.note, note)

    def wait(self, raised: Exception, now: float) -> float:
        """The wait before the next try. Raises NotSettled if no other try may follow."""
        error = as_error("settling", raised)
        self._tries += 1
        wait = wait_after(self._tries, error)
        if not refused(error):
            self._told = error = reason_of(self._told, error)
            if now + wait < self._deadline:
                return wait
        act, message = f"settling {self._turn.note.donation_id}", "processed, but not settled: " + error.message
        raise NotSettled(act, message, error.code_name, error.reason, error.retry_after) from error


def reason_of(told: Optional[Error], error: Error) -> Error:
    """The error to tell of several tries: the latest one, told being that of the tries
    before it. A try that had no time for an answer does not hide an earlier reason.
    """
    return told if told is not None and error.code_name == "DEADLINE_EXCEEDED" else error


def check_same(act: str, known: Note, note: Note) -> None:
    """Refuses an answer about another note than the held one."""
    check_note(act, known.donation.ledger, known.donation.series_id, note, known.donation_id)


def as_error(act: str, raised: Exception) -> Error:
    """The exception as an Error. It may be gRPC's own, most often because the client was
    closed while the block ran.
    """
    if isinstance(raised, Error):
        return raised
    error = Error(act, f"{type(raised).__name__}: {raised}")
    error.__cause__ = raised
    return error

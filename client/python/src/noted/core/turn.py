"""What the block of once() sees: the turn."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Callable, Optional, Tuple

from ..errors import Error
from ..types import Evidence, Note, NoteResponse, Verdict


class Hold:
    """The state of a hold that a block and once() share. Times are those of a monotonic
    clock.
    """

    def __init__(self, length: float) -> None:
        self.length = length  # seconds
        self.ends = math.inf  # the earliest time at which it may end; the store's end is later
        self.loss: Optional[Error] = None  # why it is lost
        self.told: Optional[Error] = None  # why the tries to extend it have failed so far
        self.released: Optional[str] = None  # the block's reason for a release
        self.verdict_read = False

    def ran_out(self) -> Error:
        """The error of a hold that has run out, with the reason of the tries to extend it."""
        if self.told is None:
            return Error("extending a hold", "the hold ran out")
        told = self.told
        message = "the hold ran out: " + told.message
        error = type(told)(told.act, message, told.code_name, told.reason, told.retry_after)
        error.__cause__ = told
        return error


class Turn:
    """Says whether the donation is the block's to process, and what Noted knows of it.

    Read first (or verdict) before all else. A block that ends without having read it would
    process duplicates too, and raises a RuntimeError.
    """

    def __init__(self, response: NoteResponse, hold: Hold, clock: Callable[[], float]) -> None:
        self._response, self._hold, self._clock = response, hold, clock

    @property
    def verdict(self) -> Verdict:
        """FIRST: process it. DUPLICATE: answer 200. HELD: answer 503, and PayPal comes
        again.
        """
        self._hold.verdict_read = True
        return self._response.verdict

    @property
    def shadow_verdict(self) -> Verdict:
        """The true verdict in a ledger in shadow, where the verdict is FIRST for every
        message. UNSPECIFIED in other ledgers. To read it does not count as reading the
        verdict.
        """
        return self._response.shadow_verdict

    @property
    def first(self) -> bool:
        """Whether the donation is the block's to process."""
        return self.verdict == Verdict.FIRST

    @property
    def held(self) -> bool:
        """Whether another receiver is processing the donation now: answer 503."""
        return self.verdict == Verdict.HELD

    @property
    def note(self) -> Note:
        """The note of the donation, whatever the verdict. Give note.donation_id to
        downstream systems as the idempotency key, and note.attempt as the fencing token.
        """
        if self._response.note is None:
            raise RuntimeError("the server sent no note; is it Noted?")
        return self._response.note

    @property
    def evidence(self) -> Evidence:
        """The rule that decided."""
        return self._response.evidence

    @property
    def differences(self) -> Tuple[str, ...]:
        """The fields in which this message and the note disagree. A different amount under
        one transaction_id is worth an alarm.
        """
        return self._response.differences

    @property
    def retry_after(self) -> Optional[timedelta]:
        """How long the other receiver's hold lasts. Only with HELD."""
        return self._response.retry_after

    @property
    def receipt(self) -> str:
        """The argument of settle(), release() and extend(). Only with FIRST."""
        return self._response.receipt

    def release(self, reason: str = "") -> None:
        """Says that the donation could not be processed, without raising. At its end the
        block releases the note instead of settling it. The reason is for the server's log
        and must hold no personal data.
        """
        self._hold.released = reason or "processing failed"

    def check(self) -> None:
        """Raises if the hold is lost, or has run out because it could not be extended. From
        then on another receiver may be processing the donation. Long blocks call it before
        each step that cannot be undone.
        """
        if self._hold.loss is not None:
            raise self._hold.loss
        # The clock is asked too: an extension may still be under way, or the whole process
        # may have been suspended.
        if self._clock() >= self._hold.ends:
            raise self._hold.ran_out()

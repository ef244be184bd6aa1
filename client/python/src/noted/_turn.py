"""What once() hands to its block, and the settling that the blocking and the asyncio client
share.
"""

from __future__ import annotations

import logging
import math
import time
from datetime import timedelta
from typing import Optional, Tuple

from . import _calls
from .errors import Error, NotSettled
from .types import Evidence, Note, NoteResponse, Verdict

log = logging.getLogger("noted")

_UNASKED = (
    "the block of once() asked neither turn.first nor turn.verdict, so it would process duplicates too; "
    "write: with client.once(donation, message) as turn: if turn.first: ..."
)


class Turn:
    """Whether the donation is the block's to process, and what is known of it.

    Look at first (or verdict) before anything else: a block that ends without having done so
    would process duplicates too, and gets a RuntimeError.
    """

    def __init__(self, response: NoteResponse) -> None:
        self._response = response
        self._asked = False
        self._loss: Optional[Error] = None
        self._held_until = math.inf  # by the monotonic clock, at the least
        self._release: Optional[str] = None

    @property
    def verdict(self) -> Verdict:
        """FIRST: process it. DUPLICATE: answer 200. HELD: answer 503, and PayPal comes again."""
        self._asked = True
        return self._response.verdict

    @property
    def first(self) -> bool:
        """Whether the donation is the block's to process."""
        return self.verdict == Verdict.FIRST

    @property
    def held(self) -> bool:
        """Whether somebody else is processing the donation right now: answer 503."""
        return self.verdict == Verdict.HELD

    @property
    def note(self) -> Note:
        """What Noted remembers of the donation, whatever the verdict. Hand note.donation_id
        downstream as the idempotency key, and note.attempt as
        the fencing token."""
        if self._response.note is None:
            raise RuntimeError("the server sent no note; is it Noted?")
        return self._response.note

    @property
    def evidence(self) -> Evidence:
        """The rule that decided."""
        return self._response.evidence

    @property
    def differences(self) -> Tuple[str, ...]:
        """The fields in which this message and the note disagree. A different amount under one
        transaction_id is worth an alarm.
        """
        return self._response.differences

    @property
    def retry_after(self) -> Optional[timedelta]:
        """How long the present hold lasts; only with HELD."""
        return self._response.retry_after

    @property
    def receipt(self) -> str:
        """What settle(), release() and extend() need; only with FIRST."""
        return self._response.receipt

    def release(self, reason: str = "") -> None:
        """Says that the donation could not be processed, without raising: at the end of the block
        the note is released instead of settled. The reason
        is for the server's log, without personal data."""
        self._release = reason or "processing failed"

    def check(self) -> None:
        """Raises what became of the hold if it was lost, or ran out because it could not be
        extended: from then on another may be processing the
        donation. For long blocks, before each step that cannot be undone."""
        if self._loss is not None:
            raise self._loss
        # An extension may still be under way, or the whole process have been suspended.
        if time.monotonic() >= self._held_until:
            raise Error("extending a hold", "the hold ran out")

    def _ensure_asked(self) -> None:
        if not self._asked:
            raise RuntimeError(_UNASKED)


def check_response(series_id: str, response: NoteResponse) -> None:
    """Refuses an answer that this release cannot act upon."""
    if response.verdict not in (Verdict.FIRST, Verdict.DUPLICATE, Verdict.HELD):
        raise Error("noting " + series_id, f"the server's verdict {response.verdict} is not one that this client knows")
    if response.verdict == Verdict.FIRST and not response.receipt:
        raise Error("noting " + series_id, "the server gave no receipt for the hold")


def check_same(act: str, known: Note, note: Note) -> None:
    """Refuses an answer about another note than the one that is held."""
    _calls.check_note(act, known.donation.ledger, known.donation.series_id, note, known.donation_id)


def ran_out(error: Error) -> Error:
    """The hold could not be extended in time, and why."""
    return type(error)(error.act, "the hold ran out: " + error.message, error.code, error.reason, error.retry_after)


def as_error(act: str, raised: Exception) -> Error:
    """What was raised, as an Error: beside those it may be gRPC's own, most likely because the
    client was closed in the middle of the block.
    """
    if isinstance(raised, Error):
        return raised
    error = Error(act, f"{type(raised).__name__}: {raised}")
    error.__cause__ = raised
    return error


def not_settled(turn: Turn, error: Error) -> NotSettled:
    act = f"settling {turn.note.donation_id}"
    return NotSettled(act, "processed, but not settled: " + error.message, error.code, error.reason, error.retry_after)


def not_released(turn: Turn, error: Error) -> None:
    """What is not released opens by itself when the hold runs out, so this is no error of its
    own.
    """
    log.warning("releasing %s: %s; it opens when its hold has run out", turn.note.donation_id, error)

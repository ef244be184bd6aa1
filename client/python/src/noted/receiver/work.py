"""What becomes of a verified message: each of its donations is noted, processed once, and
settled.
"""

from __future__ import annotations

import hashlib
import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Callable, Optional

from ..client import Client
from ..errors import (
    Error,
    HoldReleased,
    InvalidRequest,
    NoteNotFound,
    NotSettled,
    OccurredTooEarly,
    OccurredTooLate,
    ReceivedTooEarly,
    SeriesFull,
    SettledByAnother,
)
from ..paypal import Identified
from ..types import Donation, Message, Note
from .refusal import Refusal, again

log = logging.getLogger("noted.receiver")

# How long a message may be worked on before no further donation of it is begun: PayPal
# hangs up after 30 seconds, and its redelivery goes on where this one stopped.
_WORK_TIME = 25.0

# What Noted would answer each time: PayPal's repeats would not change it, and it must not
# vanish.
_HOPELESS = (InvalidRequest, OccurredTooEarly, OccurredTooLate, ReceivedTooEarly, SeriesFull)

# Why a message is at its end although its donation could not be settled: another attempt
# has settled it, or an operator intervened, and a redelivery would be another donation by
# now and double this one.
_OVER = (SettledByAnother, HoldReleased, NoteNotFound)


@dataclass(frozen=True)
class Delivery:
    """One donation of one verified message."""

    donation: Donation
    message: Message
    body: bytes  # the message as PayPal posted it
    type: str  # its txn_type or event_type
    test: bool  # whether it is of PayPal's sandbox
    note: Optional[Note] = (
        None  # for process: hand note.donation_id downstream as the idempotency key. None for what cannot be decided.
    )
    check: Callable[[], None] = lambda: (
        None
    )  # raises when the hold was lost; for long work, before each step that cannot be undone

    @property
    def donation_id(self) -> str:
        """The idempotency key: the same for every message of the donation, and never used for
        another.
        """
        if self.note is None:
            raise ValueError("what Noted cannot decide has no donation_id")
        return self.note.donation_id


Process = Callable[[Delivery], object]
Undecided = Callable[[Delivery, Error], object]


class Work:
    def __init__(self, client: Client, process: Process, undecided: Undecided) -> None:
        self._client, self._process, self._undecided = client, process, undecided

    def do(self, identified: Identified, body: bytes, test: bool, ours: Optional[bool]) -> None:
        """Raises a Refusal where PayPal is to come again. One donation's trouble does not stop
        the others: the redelivery finds those that
        went well settled."""
        if identified.unknown:
            log.warning("skipped: %s; it may have been a donation: look at it", identified.skipped)
        began = time.monotonic()
        trouble: Optional[Refusal] = None
        for i, (donation, message) in enumerate(identified.pairs):
            delivery = Delivery(donation, message, body, identified.type, test)
            try:
                if i > 0 and time.monotonic() - began > _WORK_TIME:
                    raise again("postponed", "the message tells of more donations than there was time for")
                if ours is None:
                    # Refused, a genuine one would be lost; noted, a stranger's would
                    # count. PayPal leaves the receiver out of some adjustments.
                    problem = "the message does not say whose account it is about"
                    self._leave(delivery, Error("reading an IPN", problem, reason="RECEIVER_MISSING"))
                else:
                    self._donation(delivery)
            except Refusal as refusal:
                trouble = refusal
        if trouble is not None:
            raise trouble

    def _donation(self, delivery: Delivery) -> None:
        try:
            if self._once(delivery.donation, delivery.message, delivery, self._process) == "failed":
                raise again("process", "the donation could not be processed")
        except _HOPELESS as error:
            self._leave(delivery, error)

    def _leave(self, delivery: Delivery, error: Error) -> None:
        """Hands what cannot be decided to a person, once. Noted sees to that too: it is noted in
        a series of its own, named by an id that every
        redelivery has."""
        donation, message = delivery.donation, delivery.message
        parts = (
            message.channel,
            message.id or hashlib.sha256(delivery.body).hexdigest(),
            donation.series_id,
            str(donation.event),
        )
        name = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
        note = Donation("noted.undecided:" + name, ledger=donation.ledger)
        log.warning("undecided: %s; left to a person", error)
        try:
            outcome = self._once(
                note, Message(message.channel, name), delivery, lambda _: self._undecided(delivery, error)
            )
        except _HOPELESS as problem:
            log.error("not left to a person: %s", problem)
            outcome = "failed"
        if outcome == "failed":
            raise again("undecided", "the message could not be left to a person")

    def _once(self, donation: Donation, message: Message, delivery: Delivery, process: Process) -> str:
        """Calls process if this is the first. Returns "settled", "duplicate" or "failed"."""
        try:
            with ExitStack() as stack:
                try:
                    turn = stack.enter_context(self._client.once(donation, message))
                except _HOPELESS:
                    raise
                except Error as error:
                    log.warning("not noted: %s", error)
                    raise again("noted", "Noted could not be asked") from error
                if turn.held:
                    raise again("held", "somebody is processing this donation")
                if turn.differences:
                    log.warning(
                        "%s: this message and the note disagree in %s",
                        turn.note.donation_id,
                        ", ".join(turn.differences),
                    )
                if not turn.first:
                    return "duplicate"
                try:
                    process(
                        Delivery(
                            delivery.donation,
                            delivery.message,
                            delivery.body,
                            delivery.type,
                            delivery.test,
                            turn.note,
                            turn.check,
                        )
                    )
                except Exception:
                    log.exception("%s: processing failed; PayPal comes again", turn.note.donation_id)
                    turn.release()
                    return "failed"
            return "settled"
        except NotSettled as error:
            if isinstance(error.__cause__, _OVER):
                log.error(
                    "%s; compare it by hand: the donation may have been processed twice, or be processed again", error
                )
                return "settled"
            # The redelivery takes it over and processes it again, under the same id.
            log.warning("%s", error)
            raise again("noted", "Noted could not settle") from error

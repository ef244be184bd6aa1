"""The work on a verified message: each of its donations is noted, processed once, and
settled.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from typing import Callable, Generator, NamedTuple, Optional

from ...errors import Error, NoteGone, NotSettled, Undecidable
from ...paypal import Identified
from ...types import Donation, Message, Note
from ..turn import Turn
from .answer import Refusal, again

log = logging.getLogger("noted.receiver")

# Seconds of work on one message, after which no further donation of it is begun. PayPal
# hangs up after 30 seconds, and its redelivery goes on where this message stopped.
WORK_TIME = 25.0


@dataclass(frozen=True)
class Delivery:
    """One donation of one verified message."""

    donation: Donation
    message: Message
    body: bytes  # the message as PayPal posted it
    type: str  # its txn_type or event_type
    test: bool  # whether it is the sandbox's
    # Give note.donation_id to downstream systems as the idempotency key. None for a donation
    # that Noted cannot decide.
    note: Optional[Note] = None
    # Raises if the hold is lost. For long work, before each step that cannot be undone.
    check: Callable[[], None] = lambda: None

    @property
    def donation_id(self) -> str:
        """The idempotency key: the same for every message of the donation, and never used
        for another donation.
        """
        if self.note is None:
            raise ValueError("Noted cannot decide this donation, so it has no donation_id")
        return self.note.donation_id


class Step(NamedTuple):
    """One once() of the work. A half runs it: if the turn is first, it calls process, or
    undecided where there is an error. It sends whether the call went well, or throws an
    Error or a Refusal.
    """

    donation: Donation
    message: Message
    delivery: Delivery
    error: Optional[Error] = None  # why Noted cannot decide

    def first(self, turn: Turn) -> bool:
        """Reports whether the donation is to be processed. Refuses a held donation."""
        if turn.held:
            raise again("held", "another receiver is processing this donation")
        if turn.differences:
            differing = ", ".join(turn.differences)
            log.warning("%s: this message and the note disagree in %s", turn.note.donation_id, differing)
        return turn.first

    def of_turn(self, turn: Turn) -> Delivery:
        """The delivery for process."""
        return replace(self.delivery, note=turn.note, check=turn.check)

    def failed(self, turn: Turn) -> None:
        """Takes an exception of process or undecided, inside its handler."""
        log.exception("%s: processing failed; PayPal comes again", turn.note.donation_id)
        turn.release()


Steps = Generator[Step, bool, None]


def steps(identified: Identified, body: bytes, test: bool, ours: Optional[bool], clock: Callable[[], float]) -> Steps:
    """The steps of one message. It raises a Refusal if PayPal is to come again. A failure
    of one donation does not stop the others: the redelivery finds those settled.
    """
    if identified.unknown:
        log.warning("skipped: %s; it may have been a donation: look at it", identified.skipped)
    began = clock()
    trouble: Optional[Refusal] = None
    for i, (donation, message) in enumerate(identified.pairs):
        delivery = Delivery(donation, message, body, identified.type, test)
        try:
            if i > 0 and clock() - began > WORK_TIME:
                raise again("postponed", "the message tells of more donations than there was time for")
            if ours is None:
                # PayPal leaves the receiver out of some adjustments. A refusal would lose a
                # genuine message, and a note would count a stranger's.
                problem = "the message does not say whose account it is about"
                yield from _leave(delivery, Error("reading an IPN", problem, reason="RECEIVER_MISSING"))
            else:
                yield from _process(delivery)
        except Refusal as refusal:
            trouble = refusal
    if trouble is not None:
        raise trouble


def _process(delivery: Delivery) -> Steps:
    try:
        if not (yield Step(delivery.donation, delivery.message, delivery)):
            raise again("process", "the donation could not be processed")
    except Undecidable as error:
        yield from _leave(delivery, error)


def _leave(delivery: Delivery, error: Error) -> Steps:
    """Leaves an undecided donation to a person, once. Noted sees to that too: the donation
    is noted in a series of its own, whose name is the same in every redelivery.
    """
    donation, message = delivery.donation, delivery.message
    id = message.id or hashlib.sha256(delivery.body).hexdigest()
    parts = (message.channel, id, donation.series_id, str(donation.event))
    name = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    note = Donation("noted.undecided:" + name, ledger=donation.ledger)
    log.warning("undecided: %s; left to a person", error)
    try:
        left = yield Step(note, Message(message.channel, name), delivery, error)
    except Undecidable as problem:
        log.error("not left to a person: %s", problem)
        left = False
    if not left:
        raise again("undecided", "the message could not be left to a person")


def not_noted(error: Error) -> Exception:
    """The exception for an Error of once() before its block. An Undecidable goes to a
    person.
    """
    if isinstance(error, Undecidable):
        return error
    log.warning("not noted: %s", error)
    return again("noted", "Noted could not be asked")


def not_settled(error: NotSettled) -> None:
    """Takes a NotSettled. Refuses the message unless a redelivery must not come."""
    if isinstance(error.__cause__, NoteGone):
        log.error("%s; compare it by hand: the donation may have been processed twice, or be processed again", error)
        return
    # The redelivery takes the donation over and processes it again, under the same id.
    log.warning("%s", error)
    raise again("noted", "Noted could not settle") from error

"""A fake of Noted, for unit tests of programs that use this library.

    def test_a_receiver():
        with noted.testing.Fake() as fake:
            receiver = Receiver(noted.Client(fake.target))

            fake.fail_next("SERIES_FULL")
            # … the receiver must keep the message for a person …

            fake.advance(61)  # the hold of a receiver that died has run out

The client is the real one, Client or aio.Client. Its calls go to a service in this process,
on a port of 127.0.0.1, which knows the simple life of a note: note, with a hold or without,
exists, settle, release, extend, list and forget.

It is a fake. It knows a donation by its request id, its message and its transaction id,
and does not pair messages by amount and time. It checks no field but the series id. Its
clock stands still until advance() moves it. notes() is UNIMPLEMENTED. For the rest, test
with a server: `noted -dev`.
"""

from __future__ import annotations

import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple, Type, TypeVar

import grpc

from .errors import REASONS
from .v1 import noted_pb2 as pb
from .v1 import noted_pb2_grpc as stubs

_T = TypeVar("_T")
_RETENTION = 45 * 24 * 3600 * 1000

# The code that each reason comes with.
_CODES: Dict[str, str] = {
    **dict.fromkeys(("INVALID_REQUEST", "REQUEST_ID_REUSED"), "INVALID_ARGUMENT"),
    **dict.fromkeys(("OCCURRED_TOO_EARLY", "OCCURRED_TOO_LATE", "RECEIVED_TOO_EARLY"), "OUT_OF_RANGE"),
    **dict.fromkeys(
        ("HOLD_LOST", "HOLD_RELEASED", "SETTLED_BY_ANOTHER", "ALREADY_SETTLED", "STORE_UNSUITABLE"),
        "FAILED_PRECONDITION",
    ),
    **dict.fromkeys(("RATE_LIMITED", "STORE_FULL", "SERIES_FULL", "OVERLOADED"), "RESOURCE_EXHAUSTED"),
    **dict.fromkeys(("LEDGER_DENIED", "VERB_DENIED"), "PERMISSION_DENIED"),
    **{reason: reason for reason in ("UNAUTHENTICATED", "DEADLINE_EXCEEDED", "INTERNAL")},
    "NOTE_NOT_FOUND": "NOT_FOUND",
}


class _Refusal(Exception):
    """A call that fails with a reason of the contract."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason, self.message = reason, message
        self.code = grpc.StatusCode[_CODES.get(reason, "UNAVAILABLE")]


class _Kept(NamedTuple):
    """A note, whose state is made anew for each answer."""

    note: pb.Note
    request: List[str]  # the request that was answered FIRST last, and its receipt
    released: List[bool]


class Fake(stubs.DedupeServiceServicer):
    """Answers calls from its memory until it is closed.

    target: where it answers, such as "127.0.0.1:40123"
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = int(time.time() * 1000)
        self._kept: List[_Kept] = []
        self._receipts: Dict[str, Tuple[_Kept, int]] = {}
        self._failures: List[_Refusal] = []
        self._server = grpc.server(ThreadPoolExecutor(8))
        stubs.add_DedupeServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self) -> None:
        """Ends the service. Calls under way fail."""
        self._server.stop(None).wait()

    def __enter__(self) -> Fake:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def advance(self, seconds: float) -> None:
        """Moves the clock forward: holds run out."""
        with self._lock:
            self._now += int(seconds * 1000)

    def fail_next(self, *reasons: str) -> None:
        """Lets the next call fail with a reason of the contract, such as "SERIES_FULL", and
        change nothing. Several reasons queue, one for each call. The client repeats a call
        that is UNAVAILABLE: it fails for good if four reasons queue.
        """
        for reason in reasons:
            if reason not in REASONS:
                raise ValueError(f"{reason!r} is no reason of the contract; noted.errors.REASONS has them all")
            with self._lock:
                self._failures.append(_Refusal(reason, "the test lets this call fail"))

    def all(self) -> List[pb.Note]:
        """All notes as the contract's messages, the oldest first."""
        with self._lock:
            return [self._answer(kept) for kept in self._kept]

    # The calls of the contract.

    def NoteDonation(self, request: pb.NoteDonationRequest, context: Any) -> pb.NoteDonationResponse:
        return self._run(context, lambda: self._note(request))

    def DonationExists(self, request: pb.DonationExistsRequest, context: Any) -> pb.DonationExistsResponse:
        return self._run(context, lambda: self._exists(request))

    def SettleDonation(self, request: pb.SettleDonationRequest, context: Any) -> pb.SettleDonationResponse:
        return self._run(context, lambda: pb.SettleDonationResponse(note=self._settle(request.receipt)))

    def ReleaseDonation(self, request: pb.ReleaseDonationRequest, context: Any) -> pb.ReleaseDonationResponse:
        return self._run(context, lambda: pb.ReleaseDonationResponse(note=self._release(request.receipt)))

    def ExtendHold(self, request: pb.ExtendHoldRequest, context: Any) -> pb.ExtendHoldResponse:
        hold = request.hold.ToMilliseconds()
        return self._run(context, lambda: pb.ExtendHoldResponse(note=self._extend(request.receipt, hold)))

    def ListDonations(self, request: pb.ListDonationsRequest, context: Any) -> pb.ListDonationsResponse:
        return self._run(context, lambda: pb.ListDonationsResponse(notes=self._list(request)))

    def ForgetDonation(self, request: pb.ForgetDonationRequest, context: Any) -> pb.ForgetDonationResponse:
        return self._run(context, lambda: pb.ForgetDonationResponse(note=self._forget(request)))

    def _run(self, context: Any, call: Callable[[], _T]) -> _T:
        with self._lock:
            try:
                if self._failures:
                    raise self._failures.pop(0)
                return call()
            except _Refusal as refusal:
                context.set_trailing_metadata((("grpc-status-details-bin", _details(refusal)),))
                context.abort(refusal.code, refusal.message)
                raise

    def _note(self, request: pb.NoteDonationRequest) -> pb.NoteDonationResponse:
        hold, name = request.hold.ToMilliseconds(), request.request_id or secrets.token_hex(8)
        kept, evidence = self._find(request.donation, request.message, name)
        verdict = pb.VERDICT_FIRST
        if kept is None:
            kept, evidence = self._add(request), pb.EVIDENCE_NEW
            self._take(kept, name, hold)
        elif evidence == pb.EVIDENCE_SAME_REQUEST and not kept.released[0]:
            if self._state(kept) == pb.STATE_OPEN:
                self._hold(kept, hold)
        elif self._state(kept) == pb.STATE_OPEN:
            evidence = pb.EVIDENCE_TAKEN_OVER
            kept.note.attempt += 1
            self._take(kept, name, hold)
        elif self._state(kept) == pb.STATE_HELD:
            verdict = pb.VERDICT_HELD
        else:
            verdict = pb.VERDICT_DUPLICATE
        self._see(kept, request.donation, request.message)
        response = pb.NoteDonationResponse(verdict=verdict, note=self._answer(kept), evidence=evidence)
        if verdict == pb.VERDICT_FIRST and hold > 0:
            response.receipt = kept.request[1]
        elif verdict == pb.VERDICT_HELD:
            response.retry_after.FromMilliseconds(kept.note.held_until.ToMilliseconds() - self._now)
        return response

    def _exists(self, request: pb.DonationExistsRequest) -> pb.DonationExistsResponse:
        kept, evidence = self._find(request.donation, request.message, "")
        if kept is None:
            return pb.DonationExistsResponse()
        exists = self._state(kept) != pb.STATE_OPEN
        return pb.DonationExistsResponse(exists=exists, note=self._answer(kept), evidence=evidence)

    def _settle(self, receipt: str) -> pb.Note:
        kept = self._holder(receipt)
        if kept.released[0]:
            raise _Refusal("HOLD_RELEASED", "the hold was released")
        kept.note.ClearField("held_until")
        return self._answer(kept)

    def _release(self, receipt: str) -> pb.Note:
        kept = self._holder(receipt)
        if self._state(kept) == pb.STATE_SETTLED:
            raise _Refusal("ALREADY_SETTLED", "this receipt has settled the note")
        kept.note.ClearField("held_until")
        kept.released[0] = True
        return self._answer(kept)

    def _extend(self, receipt: str, hold: int) -> pb.Note:
        kept = self._holder(receipt)
        if kept.released[0]:
            raise _Refusal("HOLD_RELEASED", "the hold was released")
        if self._state(kept) == pb.STATE_SETTLED:
            raise _Refusal("ALREADY_SETTLED", "this receipt has settled the note")
        self._hold(kept, hold)
        return self._answer(kept)

    def _list(self, request: pb.ListDonationsRequest) -> Iterable[pb.Note]:
        for note in map(self._answer, self._kept):
            noted = note.noted_at.ToMilliseconds()
            if (
                note.donation.ledger == request.ledger
                and request.series_id in ("", note.donation.series_id)
                and request.state in (pb.STATE_UNSPECIFIED, note.state)
                and (not request.seen_only_on or {s.message.channel for s in note.sightings} == {request.seen_only_on})
                and (not request.transaction_id or request.transaction_id in {s.transaction_id for s in note.sightings})
                and (not request.HasField("noted_after") or noted >= request.noted_after.ToMilliseconds())
                and (not request.HasField("noted_before") or noted < request.noted_before.ToMilliseconds())
            ):
                yield note

    def _forget(self, request: pb.ForgetDonationRequest) -> pb.Note:
        for kept in self._kept:
            donation = kept.note.donation
            asked = (request.ledger, request.series_id, request.donation_id)
            if (donation.ledger, donation.series_id, kept.note.donation_id) == asked:
                self._kept.remove(kept)
                return self._answer(kept)
        raise _Refusal("NOTE_NOT_FOUND", "the note was forgotten, or never existed")

    # The memory.

    def _find(self, donation: pb.Donation, message: pb.Message, request: str) -> Tuple[Optional[_Kept], pb.Evidence]:
        """The note of a message, and the rule that found it."""
        if not donation.series_id:
            raise _Refusal("INVALID_REQUEST", "donation.series_id is required")

        def series(of: pb.Donation) -> Tuple[str, str, int]:
            return of.ledger, of.series_id, of.event or pb.EVENT_PAYMENT

        same = [kept for kept in self._kept if series(kept.note.donation) == series(donation)]
        for kept in same:
            if request and kept.request[0] == request:
                return kept, pb.EVIDENCE_SAME_REQUEST
        for kept in same:
            seen = {(s.message.channel, s.message.id) for s in kept.note.sightings}
            if message.id and (message.channel, message.id) in seen:
                return kept, pb.EVIDENCE_SAME_MESSAGE
        for kept in same:
            if donation.transaction_id and donation.transaction_id in {s.transaction_id for s in kept.note.sightings}:
                return kept, pb.EVIDENCE_SAME_TRANSACTION
        return None, pb.EVIDENCE_UNSPECIFIED

    def _add(self, request: pb.NoteDonationRequest) -> _Kept:
        note = pb.Note(donation_id=secrets.token_hex(8), donation=request.donation, attempt=1)
        note.donation.event = note.donation.event or pb.EVENT_PAYMENT
        note.noted_at.FromMilliseconds(self._now)
        occurred = request.donation.occurred_at.ToMilliseconds() if request.donation.HasField("occurred_at") else 0
        note.forget_at.FromMilliseconds(max(self._now, occurred) + _RETENTION)
        kept = _Kept(note, ["", ""], [False])
        self._kept.append(kept)
        return kept

    def _take(self, kept: _Kept, request: str, hold: int) -> None:
        receipt = secrets.token_hex(8)
        kept.request[:] = [request, receipt]
        self._receipts[receipt] = (kept, kept.note.attempt)
        self._hold(kept, hold)

    def _hold(self, kept: _Kept, hold: int) -> None:
        """Makes the hold last from now. A hold of 0 settles."""
        kept.released[0] = False
        kept.note.ClearField("held_until")
        if hold > 0:
            kept.note.held_until.FromMilliseconds(self._now + hold)

    def _see(self, kept: _Kept, donation: pb.Donation, message: pb.Message) -> None:
        for s in kept.note.sightings:
            if (s.message.channel, s.message.id) == (message.channel, message.id) and (
                message.id or s.transaction_id == donation.transaction_id
            ):
                return
        seen = kept.note.sightings.add(transaction_id=donation.transaction_id)
        seen.message.channel, seen.message.id = message.channel, message.id
        seen.seen_at.FromMilliseconds(self._now)

    def _holder(self, receipt: str) -> _Kept:
        """The note of a receipt that no other attempt has taken over."""
        if receipt not in self._receipts:
            raise _Refusal("INVALID_REQUEST", "receipt is not a receipt that Noted gave")
        kept, attempt = self._receipts[receipt]
        if kept not in self._kept:
            raise _Refusal("NOTE_NOT_FOUND", "the note was forgotten, or never existed")
        if kept.note.attempt != attempt:
            settled = self._state(kept) == pb.STATE_SETTLED
            raise _Refusal("SETTLED_BY_ANOTHER" if settled else "HOLD_LOST", "another attempt has taken over")
        return kept

    def _state(self, kept: _Kept) -> pb.State:
        if kept.note.HasField("held_until"):
            return pb.STATE_HELD if kept.note.held_until.ToMilliseconds() > self._now else pb.STATE_OPEN
        return pb.STATE_OPEN if kept.released[0] else pb.STATE_SETTLED

    def _answer(self, kept: _Kept) -> pb.Note:
        answer = pb.Note()
        answer.CopyFrom(kept.note)
        answer.state = self._state(kept)
        return answer


def _details(refusal: _Refusal) -> bytes:
    """A google.rpc.Status with an ErrorInfo. Its classes would be one more dependency."""

    def field(number: int, value: bytes) -> bytes:
        length, size = len(value), b""
        while length > 127:
            size, length = size + bytes([length & 127 | 128]), length >> 7
        return bytes([number << 3 | 2]) + size + bytes([length]) + value

    info = field(1, refusal.reason.encode()) + field(2, b"noted.v1")
    detail = field(1, b"type.googleapis.com/google.rpc.ErrorInfo") + field(2, info)
    return bytes([8, refusal.code.value[0]]) + field(2, refusal.message.encode()) + field(3, detail)

"""The calls of the contract: the request of each, and the meaning of its answer."""

from __future__ import annotations

import dataclasses
import secrets
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Generic, List, NamedTuple, Optional, Tuple, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from ..errors import WrongAnswer
from ..types import (
    Donation,
    Event,
    Evidence,
    Existence,
    Message,
    Note,
    NoteRequest,
    NoteResponse,
    Seconds,
    Sighting,
    State,
    Verdict,
)
from ..v1 import noted_pb2 as pb

Answer = TypeVar("Answer")


@dataclasses.dataclass(frozen=True)
class Call(Generic[Answer]):
    """One call of the contract, ready to be made."""

    act: str  # for errors, in the gerund, such as "noting I-ABC"
    rpc: str  # its name in the contract
    request: Any
    answer: Callable[[Any], Answer]  # from the contract's response to the caller's value
    repeatable: bool = True  # whether it may be tried again


class Page(NamedTuple):
    """One page of a listing. A short or empty page is not always the last. The last page
    has no next_page_token.
    """

    notes: Tuple[Note, ...]
    next_page_token: str


def new_request_id() -> str:
    """A new id for NoteRequest.request_id. It is random, because a stranger who knows it
    can make the receipt.
    """
    return secrets.token_hex(16)


def with_request_id(request: NoteRequest) -> NoteRequest:
    return request if request.request_id else dataclasses.replace(request, request_id=new_request_id())


def note(request: NoteRequest) -> Call[NoteResponse]:
    act = "noting " + request.donation.series_id
    return Call(act, "NoteDonation", to_request(request), lambda r: response_to(request, r))


def exists(donation: Donation, message: Optional[Message]) -> Call[Existence]:
    request = pb.DonationExistsRequest(donation=_to_donation(donation), message=_to_message(message))
    return Call("looking for " + donation.series_id, "DonationExists", request, lambda r: _existence_of(donation, r))


def settle(receipt: str, reason: str) -> Call[Note]:
    return Call("settling", "SettleDonation", pb.SettleDonationRequest(receipt=receipt, reason=reason), _from_noted)


def release(receipt: str, reason: str) -> Call[Note]:
    return Call("releasing", "ReleaseDonation", pb.ReleaseDonationRequest(receipt=receipt, reason=reason), _from_noted)


def extend(receipt: str, hold: Seconds) -> Call[Note]:
    return Call(
        "extending a hold", "ExtendHold", pb.ExtendHoldRequest(receipt=receipt, hold=_to_duration(hold)), _from_noted
    )


def page(
    ledger: str,
    series_id: str,
    state: State,
    seen_only_on: str,
    transaction_id: str,
    noted_after: Optional[datetime],
    noted_before: Optional[datetime],
    page_size: int,
    page_token: str,
) -> Call[Page]:
    request = pb.ListDonationsRequest(
        ledger=ledger,
        series_id=series_id,
        state=int(state),  # type: ignore[arg-type]
        seen_only_on=seen_only_on,
        transaction_id=transaction_id,
        noted_after=_to_timestamp(noted_after),
        noted_before=_to_timestamp(noted_before),
        page_size=page_size,
        page_token=page_token,
    )

    def answer(p: Any) -> Page:
        for n in p.notes:
            check_note("listing", ledger, series_id or n.donation.series_id, n)
        return Page(tuple(_from_note(n) for n in p.notes), p.next_page_token)

    return Call("listing", "ListDonations", request, answer)


def forget(series_id: str, donation_id: str, reason: str, ledger: str) -> Call[Note]:
    request = pb.ForgetDonationRequest(ledger=ledger, series_id=series_id, donation_id=donation_id, reason=reason)
    act = "forgetting " + donation_id

    def answer(r: Any) -> Note:
        check_note(act, ledger, series_id, r.note, donation_id)
        return _from_note(r.note)

    return Call(act, "ForgetDonation", request, answer, repeatable=False)


def check_note(act: str, ledger: str, series_id: str, note: Any, donation_id: str = "") -> None:
    """Refuses a note of another ledger, series or donation than the request named.

    A process that forks with open gRPC connections can receive the answer to the request of
    another process.
    """
    about = note.donation
    if (about.ledger, about.series_id) != (ledger, series_id):
        got = f"series {about.series_id!r} of ledger {about.ledger!r}"
    elif donation_id and note.donation_id != donation_id:
        got = f"donation {note.donation_id}"
    else:
        return
    message = f"the answer is about {got}, so nothing is known of the donation"
    remedy = "find the proxy or the forked process that mixes answers up"
    raise WrongAnswer(act, f"{message}; {remedy}", "INTERNAL")


def seconds(duration: Seconds) -> float:
    return duration.total_seconds() if isinstance(duration, timedelta) else float(duration)


def to_request(request: NoteRequest) -> pb.NoteDonationRequest:
    return pb.NoteDonationRequest(
        donation=_to_donation(request.donation),
        message=_to_message(request.message),
        hold=_to_duration(request.hold) if request.hold else None,
        request_id=request.request_id,
    )


def response_to(request: NoteRequest, r: Any) -> NoteResponse:
    check_note("noting " + request.donation.series_id, request.donation.ledger, request.donation.series_id, r.note)
    return NoteResponse(
        verdict=Verdict(r.verdict),
        note=_from_note(r.note) if r.HasField("note") else None,
        evidence=Evidence(r.evidence),
        receipt=r.receipt,
        retry_after=r.retry_after.ToTimedelta() if r.HasField("retry_after") else None,
        differences=tuple(r.differences),
        shadow_verdict=Verdict(r.shadow_verdict),
    )


def _to_donation(d: Donation) -> pb.Donation:
    return pb.Donation(
        ledger=d.ledger,
        series_id=d.series_id,
        event=int(d.event),  # type: ignore[arg-type]
        occurred_at=_to_timestamp(d.occurred_at),
        amount=d.amount,
        currency_code=d.currency_code,
        transaction_id=d.transaction_id,
    )


def _to_message(message: Optional[Message]) -> Optional[pb.Message]:
    if message is None:
        return None
    return pb.Message(channel=message.channel, id=message.id, received_at=_to_timestamp(message.received_at))


def _to_timestamp(time: Optional[datetime]) -> Optional[Timestamp]:
    if time is None:
        return None
    if time.tzinfo is None:
        raise ValueError(f"the time {time} has no time zone; give it one, such as tzinfo=timezone.utc")
    timestamp = Timestamp()
    timestamp.FromDatetime(time.astimezone(timezone.utc).replace(tzinfo=None))
    return timestamp


def _to_duration(hold: Seconds) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds(hold)))
    return duration


def _existence_of(donation: Donation, r: Any) -> Existence:
    if r.exists or r.HasField("note"):
        check_note("looking for " + donation.series_id, donation.ledger, donation.series_id, r.note)
    return Existence(r.exists, _from_note(r.note) if r.HasField("note") else None, Evidence(r.evidence))


def _from_noted(r: Any) -> Note:
    return _from_note(r.note)


def _from_note(n: Any) -> Note:
    sightings: List[Sighting] = [
        Sighting(_from_message(s.message), s.transaction_id, _time(s, "seen_at")) for s in n.sightings
    ]
    d = n.donation
    return Note(
        donation_id=n.donation_id,
        donation=Donation(
            d.series_id, d.ledger, Event(d.event), _time(d, "occurred_at"), d.amount, d.currency_code, d.transaction_id
        ),
        sightings=tuple(sightings),
        state=State(n.state),
        noted_at=_time(n, "noted_at"),
        held_until=_time(n, "held_until"),
        forget_at=_time(n, "forget_at"),
        attempt=n.attempt,
    )


def _from_message(m: Any) -> Message:
    return Message(m.channel, m.id, _time(m, "received_at"))


def _time(message: Any, field: str) -> Optional[datetime]:
    if not message.HasField(field):
        return None
    time: datetime = getattr(message, field).ToDatetime()
    return time.replace(tzinfo=timezone.utc)

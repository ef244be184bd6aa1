"""The channel of today: one JSON event a message."""
from __future__ import annotations

import re
from dataclasses import replace
from typing import List, Set

from ..types import Donation, Event, Message
from .document import Document
from .fields import Reader, fits, lower, sanitised
from .result import Identified, MalformedError, Pair

# The events of a series itself. There is no money in them: what they repeat of the last payment is told by a sale's own event.
_STATE_EVENTS = {
    "billing.subscription.created": Event.SIGNUP,  # of a v1 agreement only, see _identify
    "billing.subscription.activated": Event.SIGNUP,
    "billing.subscription.updated": Event.CHANGE,
    "billing.subscription.re-activated": Event.REACTIVATION,
    "billing.subscription.suspended": Event.SUSPENSION,
    "billing.subscription.cancelled": Event.CANCELLATION,
    "billing.subscription.expired": Event.EXPIRY,
    "billing.subscription.payment.failed": Event.PAYMENT_FAILED,
}


def identify_webhook(body: bytes) -> Identified:
    """Reads the body of a webhook event, exactly as it was posted. Raises MalformedError."""
    document = Document(body)
    reader = Reader(document.lookup)
    event_type = reader.text("event_type")
    if not event_type:
        raise MalformedError("event_type", "is missing or no text; pass the event that PayPal posted, not the resource in it")
    identified = _identify(reader, document, event_type)
    if identified.pairs:
        message = Message("webhook", reader.id("id"))
        if not message.id:
            reader.warn("id", "is missing; the message is told without an id")
        identified = replace(identified, pairs=tuple(Pair(pair.donation, message) for pair in identified.pairs))
    return replace(identified, type=sanitised(event_type), warnings=reader.warnings)


def _identify(reader: Reader, document: Document, event_type: str) -> Identified:
    kind = lower(event_type)
    if kind in _STATE_EVENTS:
        if kind == "billing.subscription.created" and _is_version_2(reader):
            return Identified(skipped="a subscription was created but is not agreed to yet")
        return _one(Donation(reader.id("resource.id"), event=_STATE_EVENTS[kind]), 0, "resource.id")

    if kind in ("payment.sale.completed", "payment.sale.pending", "payment.sale.denied"):
        series = reader.first_id("resource.billing_agreement_id", "resource.id")
        event = _payment_event(reader, kind)
        return _money(reader, event, series, reader.id("resource.id"), "resource.billing_agreement_id, resource.id")
    if kind in ("payment.capture.completed", "payment.capture.pending", "payment.capture.denied", "payment.capture.declined"):
        capture = reader.id("resource.id")
        event = _payment_event(reader, kind)
        return _money(reader, event, capture, capture, "resource.id")

    if kind == "payment.sale.refunded":
        series = reader.first_id("resource.sale_id", "resource.id")
        return _money(reader, Event.REFUND, series, reader.id("resource.id"), "resource.sale_id, resource.id")
    if kind == "payment.sale.reversed":
        # Without a sale_id the resource may be the sale itself or its reversal: reports differ. As a series either will do; as a transaction it would
        # contradict the IPN's.
        series, transaction = reader.id("resource.sale_id"), reader.id("resource.id")
        if not series:
            series, transaction = transaction, ""
        return _money(reader, Event.REVERSAL, series, transaction, "resource.sale_id, resource.id")
    if kind in ("payment.capture.refunded", "payment.capture.reversed"):
        event = Event.REVERSAL if kind.endswith(".reversed") else Event.REFUND
        series, transaction = _linked_capture(reader, document), reader.id("resource.id")
        return _money(reader, event, series or transaction, transaction, "resource.links, resource.id")

    if kind == "customer.dispute.created":
        return _disputes(reader, document)
    if kind in ("customer.dispute.updated", "customer.dispute.resolved"):
        return Identified(skipped=sanitised(event_type) + " tells of a dispute that is known, not of a donation")
    if kind.startswith(("checkout.order.", "payments.payment.")):
        return Identified(skipped=sanitised(event_type) + " tells of an order, not of money")
    return Identified(skipped=f"event_type {sanitised(event_type)} is not known", unknown=True)


def _one(donation: Donation, nanoseconds: int, candidates: str) -> Identified:
    """A message of one donation, or an error naming the fields that should have named its series."""
    if not donation.series_id:
        raise MalformedError(candidates, "no usable id names the series; check that the body is whole")
    return Identified(pairs=(Pair(donation, Message()),), nanoseconds=(nanoseconds,))


def _money(reader: Reader, event: Event, series: str, transaction: str, candidates: str) -> Identified:
    """A donation of an event that moves money. Its time is the resource's: the event's own can lag by hours, and an IPN knows nothing of it."""
    moment = reader.time("resource.create_time")
    if reader.text("resource.amount.total"):
        amount, currency = reader.money("resource.amount.total", "resource.amount.currency")
    else:
        amount, currency = reader.money("resource.amount.value", "resource.amount.currency_code")
    donation = Donation(
        series, event=event, occurred_at=moment.time, amount=amount, currency_code=currency, transaction_id=transaction
    )
    return _one(donation, moment.nanoseconds, candidates)


def _payment_event(reader: Reader, kind: str) -> Event:
    """Tells a payment from one that is pending or failed. The name of the event is not enough: PayPal sends COMPLETED for sales that are still
    pending."""
    if kind.endswith((".denied", ".declined")):
        return Event.PAYMENT_FAILED
    state = reader.text("resource.state") or reader.text("resource.status")
    if kind.endswith(".completed") and lower(state) in ("", "completed"):
        return Event.PAYMENT
    return Event.PAYMENT_PENDING


def _is_version_2(reader: Reader) -> bool:
    """Tells a subscription of today's API, which is created before the donor agrees to it, from an agreement of the first one."""
    version, resource = reader.text("resource_version"), reader.text("resource_type")
    return version.startswith("2") or lower(resource) == "subscription"


def _linked_capture(reader: Reader, document: Document) -> str:
    """The capture that a refund belongs to, or "". A refund names it nowhere but in its links."""
    count, problem = document.length("resource.links")
    if problem:
        reader.warn("resource.links", problem + "; taken as absent")
    for i in range(count):
        link = f"resource.links.{i}"
        if lower(reader.text(link + ".rel")) != "up":
            continue
        _, found, rest = reader.text(link + ".href").rpartition("/captures/")
        if not found:
            continue
        capture = re.split("[/?#]", rest, maxsplit=1)[0]
        if fits(capture):
            return capture
        reader.warn(link + ".href", "names no capture by a usable id; taken as absent")
        return ""
    return ""


def _disputes(reader: Reader, document: Document) -> Identified:
    """A donation of each disputed transaction, in the message's order."""
    path = "resource.disputed_transactions"
    count, problem = document.length(path)
    if problem:
        reader.warn(path, problem + "; taken as absent")
    pairs: List[Pair] = []
    seen: Set[str] = set()  # series ids that have their pair
    for i in range(count):
        field = f"{path}.{i}.seller_transaction_id"
        series = reader.id(field)
        if not series:
            reader.warn(field, "is missing; the dispute of this transaction is left out")
        elif series not in seen:
            seen.add(series)
            donation = Donation(series, event=Event.DISPUTE, transaction_id=reader.id("resource.dispute_id"))
            pairs.append(Pair(donation, Message()))
    if not pairs:
        raise MalformedError(path, "no seller_transaction_id names a disputed donation; check that the body is whole")
    return Identified(pairs=tuple(pairs), nanoseconds=(0,) * len(pairs))

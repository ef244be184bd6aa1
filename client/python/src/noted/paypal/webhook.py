"""Webhooks, PayPal's newer channel. Each message is a JSON event."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import List, Set, Tuple

from ..types import Donation, Event, Message
from .document import Document
from .fields import Reader, fits, lower, sanitised
from .result import Identified, MalformedError, Pair

# The events of the series itself, without money. They repeat the last payment, but a sale has
# an event of its own.
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

# The beginnings of event types without a donation, and their content.
_NO_DONATION = {
    "checkout.order.": "an order, not of money",
    "payments.payment.": "an order, not of money",
    "checkout.payment-approval.": "an approval, not of money",
    "payment.authorization.": "an authorization, not of money",
    "payment.refund.": "a refund that is not done, not of money",
    "payment.payout": "payments made, not of a donation",
    "payment.referenced-payout": "payments made, not of a donation",
    "billing.plan.": "a plan, not of a donation",
    "billing_agreements.": "an agreement, not of a donation",
    "vault.": "a means of payment, not of a donation",
    "merchant.": "an account, not of a donation",
}


def identify_webhook(body: bytes) -> Identified:
    """Reads the body of a webhook event exactly as PayPal posted it. Raises MalformedError."""
    document = Document(body)
    reader = Reader(document.lookup)
    event_type = reader.text("event_type")
    if not event_type:
        raise MalformedError(
            "event_type", "is missing or no text; pass the event that PayPal posted, not the resource in it"
        )
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
        series, own = reader.series_id("resource.billing_agreement_id"), reader.id("resource.id")
        event = _payment_event(reader, kind)
        return _money(reader, event, series or own, own, "resource.billing_agreement_id, resource.id")
    if kind in (
        "payment.capture.completed",
        "payment.capture.pending",
        "payment.capture.denied",
        "payment.capture.declined",
    ):
        capture = reader.id("resource.id")
        event = _payment_event(reader, kind)
        return _money(reader, event, capture, capture, "resource.id")

    if kind in ("payment.sale.refunded", "payment.capture.refunded"):
        # The parent is not used. PayPal often leaves it out, and two partial refunds of the
        # same sum must stay two.
        own = reader.id("resource.id")
        return _money(reader, Event.REFUND, own, own, "resource.id")
    if kind == "payment.sale.reversed":
        parent = reader.id("resource.sale_id") or _linked(reader, document, ("sale",), "/sale/")
        return _reversal(reader, parent, "resource.sale_id, resource.links, resource.id")
    if kind == "payment.capture.reversed":
        related = "resource.supplementary_data.related_ids.capture_id"
        parent = _linked(reader, document, ("up", "capture"), "/capture/", "/captures/")
        parent = parent or reader.first_id("resource.capture_id", related)
        return _reversal(reader, parent, f"resource.links, resource.capture_id, {related}, resource.id")

    if kind == "customer.dispute.created":
        return _disputes(reader, document)
    if kind in ("customer.dispute.updated", "customer.dispute.resolved"):
        return Identified(skipped=sanitised(event_type) + " tells of a dispute that is known, not of a donation")
    for prefix, tells in _NO_DONATION.items():
        if kind.startswith(prefix):
            return Identified(skipped=f"{sanitised(event_type)} tells of {tells}")
    return Identified(skipped=f"event_type {sanitised(event_type)} is not known", unknown=True)


def _one(donation: Donation, nanoseconds: int, candidates: str) -> Identified:
    """A message with one donation, or an error that names the fields without a series."""
    if not donation.series_id:
        raise MalformedError(candidates, "no usable id names the series; check that the body is whole")
    return Identified(pairs=(Pair(donation, Message()),), nanoseconds=(nanoseconds,))


def _money(reader: Reader, event: Event, series: str, transaction: str, candidates: str) -> Identified:
    """A donation of an event that moves money. Its time is the resource's. The event's own
    time can lag by hours, and IPNs do not have it.
    """
    moment = reader.time("resource.create_time")
    amount, currency = _resource_money(reader)
    donation = Donation(
        series, event=event, occurred_at=moment.time, amount=amount, currency_code=currency, transaction_id=transaction
    )
    return _one(donation, moment.nanoseconds, candidates)


def _reversal(reader: Reader, parent: str, candidates: str) -> Identified:
    """The reversal of a payment. Reports differ about a resource that names no parent, or
    itself: it may be the payment. Either id serves as the series. But the payment's id
    would contradict the IPN's transaction id, and the payment's time can be months ago.
    """
    own = reader.id("resource.id")
    if parent and parent != own:
        return _money(reader, Event.REVERSAL, parent, own, candidates)
    amount, currency = _resource_money(reader)
    return _one(Donation(own, event=Event.REVERSAL, amount=amount, currency_code=currency), 0, candidates)


def _resource_money(reader: Reader) -> Tuple[str, str]:
    """The amount by its names in the first API, or else in the second."""
    if reader.text("resource.amount.total"):
        return reader.money("resource.amount.total", "resource.amount.currency")
    return reader.money("resource.amount.value", "resource.amount.currency_code")


def _payment_event(reader: Reader, kind: str) -> Event:
    """Tells a payment from a pending or failed payment. The event's name is not enough:
    PayPal sends COMPLETED for sales that are still pending. A payment stays a payment when
    it is refunded or reversed, because the money came.
    """
    if kind.endswith((".denied", ".declined")):
        return Event.PAYMENT_FAILED
    state = lower(reader.text("resource.state") or reader.text("resource.status"))
    if state in ("denied", "declined", "failed"):
        return Event.PAYMENT_FAILED
    came = state in ("", "completed", "partially_refunded", "refunded", "reversed")
    return Event.PAYMENT if came and kind.endswith(".completed") else Event.PAYMENT_PENDING


def _is_version_2(reader: Reader) -> bool:
    """Tells a subscription of the second API, which is created before the donor agrees to
    it, from an agreement of the first API.
    """
    version, resource = reader.text("resource_version"), reader.text("resource_type")
    return version.startswith("2") or lower(resource) == "subscription"


def _linked(reader: Reader, document: Document, rels: Tuple[str, ...], *paths: str) -> str:
    """The id of the payment that a link with one of the names leads to, or "". It follows
    the last of the paths in the link.
    """
    count, problem = document.length("resource.links")
    if problem:
        reader.warn("resource.links", problem + "; taken as absent")
    for i in range(count):
        link = f"resource.links.{i}"
        if lower(reader.text(link + ".rel")) not in rels:
            continue
        href = reader.text(link + ".href")
        start = max(href.rfind(path) + len(path) if path in href else -1 for path in paths)
        if start < 0:
            continue
        payment = re.split("[/?#]", href[start:], maxsplit=1)[0]
        if fits(payment):
            return payment
        reader.warn(link + ".href", "names no payment by a usable id; taken as absent")
    return ""


def _disputes(reader: Reader, document: Document) -> Identified:
    """A donation for each disputed transaction, in the message's order. A dispute that
    names no transaction is one donation itself.
    """
    path = "resource.disputed_transactions"
    count, problem = document.length(path)
    if problem:
        reader.warn(path, problem + "; taken as absent")
    pairs: List[Pair] = []
    seen: Set[str] = set()  # the series ids of the pairs
    for i in range(count):
        field = f"{path}.{i}.seller_transaction_id"
        series = reader.id(field)
        if not series:
            reader.warn(field, "is missing; this transaction is left out")
        elif series not in seen:
            seen.add(series)
            donation = Donation(series, event=Event.DISPUTE, transaction_id=reader.id("resource.dispute_id"))
            pairs.append(Pair(donation, Message()))
    if not pairs:
        dispute = reader.id("resource.dispute_id")
        return _one(Donation(dispute, event=Event.DISPUTE, transaction_id=dispute), 0, path + ", resource.dispute_id")
    return Identified(pairs=tuple(pairs), nanoseconds=(0,) * len(pairs))

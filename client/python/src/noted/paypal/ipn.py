"""IPNs, PayPal's older channel. Each message is an urlencoded form."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import List, Optional, Tuple
from urllib.parse import unquote_to_bytes

from ..types import Donation, Event, Message
from .fields import Moment, Reader, lower, sanitised
from .result import Identified, MalformedError, Pair

# The txn_types that name the event by themselves.
_TYPE_EVENTS = {
    "subscr_signup": Event.SIGNUP,
    "recurring_payment_profile_created": Event.SIGNUP,
    "subscr_modify": Event.CHANGE,
    "subscr_cancel": Event.CANCELLATION,
    "recurring_payment_profile_cancel": Event.CANCELLATION,
    "subscr_eot": Event.EXPIRY,
    "recurring_payment_expired": Event.EXPIRY,
    "recurring_payment_suspended": Event.SUSPENSION,
    "recurring_payment_suspended_due_to_max_failed_payment": Event.SUSPENSION,
    "subscr_failed": Event.PAYMENT_FAILED,
    "recurring_payment_skipped": Event.PAYMENT_FAILED,
    "recurring_payment_failed": Event.PAYMENT_FAILED,
    "recurring_payment_outstanding_payment_failed": Event.PAYMENT_FAILED,
    "new_case": Event.DISPUTE,
    "adjustment": Event.ADJUSTMENT,
}

# The txn_types whose payment_status names the event. Refunds and reversals have no type, which
# is the empty string here.
_MONEY_TYPES = {
    "",
    "subscr_payment",
    "recurring_payment",
    "recurring_payment_outstanding_payment",
    "web_accept",
    "express_checkout",
    "cart",
    "send_money",
    "virtual_terminal",
    "merch_pmt",
    "pro_hosted",
    "paypal_here",
    "invoice_payment",
}

# The txn_types without a donation, and the reason to skip each.
_SKIPPED_TYPES = {
    "masspay": "masspay tells of payments made, not of a donation",
    "payout": "payout tells of payments made, not of a donation",
    "mp_signup": "mp_signup tells of an agreement, not of a donation",
    "mp_cancel": "mp_cancel tells of an agreement, not of a donation",
    "mp_notification": "mp_notification tells of an agreement, not of a donation",
}

# The values of payment_status.
_STATUS_EVENTS = {
    "completed": Event.PAYMENT, "processed": Event.PAYMENT,
    "pending": Event.PAYMENT_PENDING, "in-progress": Event.PAYMENT_PENDING, "created": Event.PAYMENT_PENDING,
    "denied": Event.PAYMENT_FAILED, "declined": Event.PAYMENT_FAILED, "failed": Event.PAYMENT_FAILED,
    "expired": Event.PAYMENT_FAILED, "voided": Event.PAYMENT_FAILED,
    "refunded": Event.REFUND, "partially_refunded": Event.REFUND,
    "reversed": Event.REVERSAL, "canceled_reversal": Event.REVERSAL_CANCELED,
}  # fmt: skip

_OF_THE_SERIES = {Event.SIGNUP, Event.CHANGE, Event.SUSPENSION, Event.REACTIVATION, Event.CANCELLATION, Event.EXPIRY}
_OF_A_PARENT = {Event.REVERSAL, Event.REVERSAL_CANCELED, Event.ADJUSTMENT}
_PAYMENTS = {Event.PAYMENT, Event.PAYMENT_PENDING, Event.PAYMENT_FAILED}

_Found = Tuple[Donation, int]  # with the nanoseconds that the datetime cannot hold


class Form:
    """The fields of an IPN in the order of its body, as bytes. The charset field is
    ignored, because all fields that are read are ASCII.
    """

    def __init__(self, body: bytes) -> None:
        # urllib's parse_qs drops empty values and can split at a semicolon. A semicolon in a
        # donor's comment must not lose a genuine message.
        self.fields: List[Tuple[bytes, bytes]] = []
        for piece in body.rstrip(b"\r\n").split(b"&"):
            if not piece:
                continue
            name, _, value = (unquote_to_bytes(part) for part in piece.replace(b"+", b" ").partition(b"="))
            # PayPal adds resend=true to repeats, so the field must not make a difference.
            if name != b"resend":
                self.fields.append((name, value))

    def lookup(self, name: str) -> Tuple[str, str]:
        """The first field with the name. An IPN holds only text."""
        wanted = name.encode("ascii")
        return next((value.decode("latin-1") for field, value in self.fields if field == wanted), ""), ""

    def digest(self) -> str:
        """The id of the message, which is a hash, because an IPN has no id of its own:
        different payments share an ipn_track_id. It covers the sorted, decoded fields. A
        body that was parsed and encoded again has the same id.
        """
        lines = (name + b"=" + value + b"\n" for name, value in sorted(self.fields, key=lambda field: field[0]))
        return hashlib.sha256(b"".join(lines)).hexdigest()[:32]


def identify_ipn(body: bytes) -> Identified:
    """Reads the body of an IPN exactly as PayPal posted it. Raises MalformedError."""
    form = Form(body)
    if not form.fields:
        raise MalformedError("body", "holds no field; pass the body of PayPal's POST unchanged")
    reader = Reader(form.lookup)
    txn_type = reader.text("txn_type")
    kind = lower(txn_type)
    event, identified = _event(reader, txn_type, kind)
    if event is not None:
        message = Message("ipn", form.digest())
        found = _donations(reader, kind, event)
        identified = Identified(
            pairs=tuple(Pair(donation, message) for donation, _ in found), nanoseconds=tuple(n for _, n in found)
        )
    return replace(identified, type=sanitised(txn_type), warnings=reader.warnings)


def _event(reader: Reader, txn_type: str, kind: str) -> Tuple[Optional[Event], Identified]:
    """The event, or the reason to skip the message."""
    if kind in _SKIPPED_TYPES:
        return None, Identified(skipped=_SKIPPED_TYPES[kind])
    if kind in _TYPE_EVENTS:
        return _TYPE_EVENTS[kind], Identified()
    if kind not in _MONEY_TYPES:
        return None, Identified(skipped=f"txn_type {sanitised(txn_type)} is not known", unknown=True)
    status = reader.text("payment_status")
    event = _STATUS_EVENTS.get(lower(status))
    if event is None:
        if status:
            reason = f"payment_status {sanitised(status)} is not known"
        elif txn_type:
            reason = "payment_status is missing"
        else:
            reason = "neither txn_type nor payment_status is given"
        return None, Identified(skipped=reason, unknown=True)
    # A payment that leaves the account is Completed too. Its sign tells the direction. As a
    # donation, it would be thanked for.
    if event == Event.PAYMENT and reader.text("mc_gross").startswith("-"):
        if not reader.id("parent_txn_id"):
            return None, Identified(skipped="money went out and no parent_txn_id says for what")
        return Event.ADJUSTMENT, Identified()
    return event, Identified()


def _donations(reader: Reader, kind: str, event: Event) -> List[_Found]:
    """The donation, and the first payment that a profile's creation may contain."""
    donation = _donation(reader, event)
    if kind == "recurring_payment_profile_created":
        return [donation, *_initial_payment(reader, donation[0].series_id)]
    return [donation]


def _donation(reader: Reader, event: Event) -> _Found:
    """The donation with the fields that identify its event."""
    if event == Event.REFUND:
        # The parent is not used. Webhooks often lack it, and two partial refunds of the same
        # sum must stay two.
        candidates = "txn_id"
        series = reader.id("txn_id")
    elif event in _OF_A_PARENT:
        candidates = "parent_txn_id, txn_id"
        series = reader.first_id("parent_txn_id", "txn_id")
    elif event == Event.DISPUTE:
        candidates = "txn_id, case_id"
        series = reader.first_id("txn_id", "case_id")
    else:
        candidates = "recurring_payment_id, subscr_id, txn_id, old_subscr_id"
        series = _series(reader)
    if not series:
        raise MalformedError(candidates, "no usable id names the series; check that the body is whole")
    if event in _OF_THE_SERIES:
        return Donation(series, event=event), 0  # time_created is the start of the series in all its messages
    if event == Event.DISPUTE:
        return Donation(series, event=event, transaction_id=reader.id("case_id")), 0
    transaction, moment = reader.id("txn_id"), reader.time("payment_date")
    return _money(series, event, transaction, moment, reader.money("mc_gross", "mc_currency"))


def _money(series: str, event: Event, transaction: str, moment: Moment, money: Tuple[str, str]) -> _Found:
    amount, currency = money
    donation = Donation(
        series, event=event, occurred_at=moment.time, amount=amount, currency_code=currency, transaction_id=transaction
    )
    return donation, moment.nanoseconds


def _series(reader: Reader) -> str:
    """The series of incoming money and of a series' state. The I- form wins, because PayPal
    renamed S- series to it in 2018, and webhooks have only this form.
    """
    profile, button = reader.series_id("recurring_payment_id"), reader.series_id("subscr_id")
    if button.startswith("I-") and not profile.startswith("I-"):
        return button
    return profile or button or reader.first_id("txn_id", "old_subscr_id")


def _initial_payment(reader: Reader, series: str) -> List[_Found]:
    """The first payment in a profile's creation. No other message tells of it. In later
    messages the same field only repeats it.
    """
    if not reader.text("initial_payment_txn_id"):
        return []
    event = _STATUS_EVENTS.get(lower(reader.text("initial_payment_status")))
    if event not in _PAYMENTS:
        reader.warn(
            "initial_payment_status", "is none that a payment has; the initial payment is left out, look at it by hand"
        )
        return []
    transaction, moment = reader.id("initial_payment_txn_id"), reader.time("time_created")
    return [_money(series, event, transaction, moment, reader.money("initial_payment_amount", "currency_code"))]

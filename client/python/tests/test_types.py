"""The values that a donation and a message take."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

import pytest

import noted
from noted import Donation, Event, Message


@pytest.mark.parametrize(
    "given, kept",
    [("25.00", "25.00"), (Decimal("25.00"), "25.00"), (Decimal("1E+2"), "100"), (25, "25"), (Decimal("0.10"), "0.10")],
)
def test_an_amount(client: noted.Client, donation: Donation, given: Any, kept: str) -> None:
    told = dataclasses.replace(donation, amount=given, currency_code="EUR")
    assert told.amount == kept
    note = client.note(told).note
    assert note is not None and note.donation == told


@pytest.mark.parametrize("given", [Event.REFUND, "REFUND", "refund", 4])
def test_an_event(given: Any) -> None:
    assert Donation("I-1", event=given).event is Event.REFUND


def test_an_event_that_this_release_does_not_know() -> None:
    assert Donation("I-1", event=99).event == 99


@pytest.mark.parametrize(
    "field, given, error",
    [
        ("amount", 25.0, TypeError),
        ("amount", True, TypeError),
        ("amount", None, TypeError),
        ("amount", Decimal("NaN"), ValueError),
        ("event", "REFUNDED", ValueError),
        ("event", None, TypeError),
        ("event", True, TypeError),
        ("series_id", None, TypeError),
        ("series_id", b"I-1", TypeError),
        ("ledger", 1, TypeError),
        ("currency_code", b"EUR", TypeError),
        ("transaction_id", 7, TypeError),
        ("occurred_at", "2026-01-01", TypeError),
    ],
)
def test_a_wrong_type_names_its_field(field: str, given: Any, error: "type[Exception]") -> None:
    with pytest.raises(error, match=f"^{field} (is|has the type) "):
        Donation(**{"series_id": "I-1", field: given})


@pytest.mark.parametrize("field, given", [("channel", None), ("id", 7), ("received_at", 1.5)])
def test_a_wrong_type_in_a_message_names_its_field(field: str, given: Any) -> None:
    with pytest.raises(TypeError, match=f"^{field} has the type "):
        Message(**{field: given})

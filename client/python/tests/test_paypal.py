"""The cases that all languages share, and messages that PayPal really sent."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import List, NamedTuple

import pytest

from noted import Event
from noted.identify import run
from noted.paypal import Identified, MalformedError, identify_ipn, identify_webhook

from .places import ROOT, payloads

IDENTIFY = {"ipn": identify_ipn, "webhook": identify_webhook}
CASES = sorted((ROOT / "client/paypal/testdata").glob("*/*.txt"))


class Case(NamedTuple):
    wants: List[str]
    warns: List[str]
    malformed: str
    body: bytes


def read_case(path: Path) -> Case:
    """A shared case; testdata/README.md describes the format."""
    header, found, body = path.read_bytes().partition(b"\n---\n")
    assert found and body.endswith(b"\n"), "no --- line, or no newline at the end"
    case = Case([], [], "", body[:-1])
    for line in header.decode().split("\n"):
        key, _, value = line.partition(": ")
        if key == "malformed":
            case = case._replace(malformed=value)
        elif key != "about":
            {"want": case.wants, "warn": case.warns}[key].append(value)
    assert bool(case.wants) != bool(case.malformed), "a case has either want or malformed"
    return case


def test_there_are_cases() -> None:
    assert len(CASES) >= 160, "is client/paypal/testdata whole?"


@pytest.mark.parametrize("path", CASES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_case(path: Path) -> None:
    case = read_case(path)
    identify = IDENTIFY[path.parent.name]
    if case.malformed:
        with pytest.raises(MalformedError) as raised:
            identify(case.body)
        assert case.malformed in str(raised.value)
        return
    identified = identify(case.body)
    assert identified.lines() == "".join(want + "\n" for want in case.wants)
    left = list(identified.warnings)
    for text in case.warns:
        left.remove(next((warning for warning in left if text in warning), f"(none of {left} holds {text})"))
    assert left == [], f"want the warnings {case.warns} and no other"


KNOWN = [
    "BILLING.PLAN.CREATED",
    "BILLING_AGREEMENTS.AGREEMENT.CREATED",
    "PAYMENT.AUTHORIZATION.CREATED",
    "PAYMENT.REFUND.FAILED",
    "PAYMENT.PAYOUTSBATCH.DENIED",
    "PAYMENT.PAYOUTS-ITEM.UNCLAIMED",
    "PAYMENT.REFERENCED-PAYOUT-ITEM.FAILED",
    "VAULT.PAYMENT-TOKEN.DELETED",
    "CHECKOUT.PAYMENT-APPROVAL.REVERSED",
    "MERCHANT.PARTNER-CONSENT.REVOKED",
]
OTHER = [
    "BILLING.SUBSCRIPTION.TELEPORTED",
    "PAYMENT.SALE.TELEPORTED",
    "CUSTOMER.DISPUTE.TELEPORTED",
    "PAYMENT.PAYOU",
]


@pytest.mark.parametrize("event_type", KNOWN + OTHER)
def test_known_types_are_skipped_quietly(event_type: str) -> None:
    """Known types without a donation are skipped quietly. Any other type is unknown."""
    identified = identify_webhook(b'{"event_type":"%s"}' % event_type.encode())
    assert identified.skipped
    assert identified.unknown == (event_type in OTHER)


@pytest.mark.parametrize("txn_type", ["mp_notification", "payout", "mp_signup", "mp_cancel"])
def test_known_txn_types_are_skipped_quietly(txn_type: str) -> None:
    identified = identify_ipn(b"txn_type=" + txn_type.encode())
    assert identified.skipped and not identified.unknown


# The shared cases compare printed lines, which have neither unknown nor type. So they are
# tested here.
@pytest.mark.parametrize(
    "channel, body, wanted_type, unknown",
    [
        ("ipn", b"txn_type=never_heard_of&payment_status=Completed", "never_heard_of", True),
        ("ipn", b"txn_type=cart&payment_status=Odd", "cart", True),
        ("ipn", b"txn_type=cart", "cart", True),
        ("ipn", b"hello=world", "", True),
        ("ipn", b"txn_type=masspay", "masspay", False),
        ("ipn", b"txn_type=cart&payment_status=Completed&mc_gross=-1", "cart", False),
        ("ipn", b"txn_type=ca%00rt%22", "ca?rt?", True),
        ("webhook", b'{"event_type":"NEVER.HEARD.OF"}', "NEVER.HEARD.OF", True),
        ("webhook", b'{"event_type":"CHECKOUT.ORDER.APPROVED"}', "CHECKOUT.ORDER.APPROVED", False),
        ("webhook", b'{"event_type":"CUSTOMER.DISPUTE.UPDATED"}', "CUSTOMER.DISPUTE.UPDATED", False),
    ],
)
def test_unknown_types_are_warned_of(channel: str, body: bytes, wanted_type: str, unknown: bool) -> None:
    identified = IDENTIFY[channel](body)
    assert identified.skipped
    assert (identified.type, identified.unknown) == (wanted_type, unknown)


@pytest.mark.skipif(shutil.which("go") is None, reason="go is not installed, so there are no mutants")
def test_go_reads_variations_alike(tmp_path: Path) -> None:
    """TestMutants in Go writes many variations of the cases, each with the lines that Go
    prints.
    """
    path = tmp_path / "mutants"
    command = ["go", "test", "-count=1", "-run=^TestMutants$", "./client/paypal", "-args", f"-mutants={path}"]
    subprocess.run(command, cwd=ROOT, check=True)
    mutants = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(mutants) > 5000
    for mutant in mutants:
        body = base64.b64decode(mutant.pop("body"))
        identified, field = Identified(), ""
        try:
            identified = IDENTIFY[mutant["channel"]](body)
        except MalformedError as error:
            field = error.field
        got = {
            "channel": mutant["channel"],
            "malformed": field,
            "lines": identified.lines(),
            "warnings": list(identified.warnings),
            "type": identified.type,
            "unknown": identified.unknown,
        }
        assert got == mutant, body


def test_in_ledger_and_its_line() -> None:
    identified: Identified = identify_ipn(b"txn_type=subscr_cancel&subscr_id=I-1").in_ledger('a "ledger"\n')
    ((donation, message),) = identified.pairs
    assert (donation.ledger, donation.event, message.channel) == ('a "ledger"\n', Event.CANCELLATION, "ipn")
    assert identified.lines().startswith('{"donation":{"ledger":"a \\"ledger\\"\\u000a","series_id":"I-1",')


def command(channel: str, body: bytes) -> "tuple[int, bytes, str]":
    stdout, stderr = io.BytesIO(), io.StringIO()
    code = run([channel], io.BytesIO(body), stdout, stderr)
    return code, stdout.getvalue(), stderr.getvalue()


def test_command() -> None:
    code, stdout, stderr = command("webhook", b'{"event_type":"NEVER.HEARD.OF"}')
    assert (code, stdout) == (0, b'{"skipped":"event_type NEVER.HEARD.OF is not known"}\n')
    assert "it may have been a donation" in stderr
    code, stdout, stderr = command("ipn", b"")
    assert (code, stdout) == (1, b"")
    assert "body: holds no field" in stderr
    assert run([], io.BytesIO(), io.BytesIO(), io.StringIO()) == 2
    assert run(["ipn"], io.BytesIO(b"a" * (4 << 20) + b"a"), io.BytesIO(), io.StringIO()) == 1


@pytest.mark.skipif(payloads() is None, reason="no payloads beside the repository")
def test_go_prints_the_same_bytes(notectl: Path) -> None:
    folder = payloads()
    assert folder is not None
    names = ["payloads/ipn/*.txt", "payloads/webhook/*.json", "reports/*.ipn.txt", "reports/*.json"]
    bodies = sorted(path for name in names for path in folder.parent.glob(name))
    assert len(bodies) > 90
    for path in bodies:
        channel, body = {".txt": "ipn", ".json": "webhook"}[path.suffix], path.read_bytes()
        go = subprocess.run([notectl, "identify", channel], input=body, capture_output=True)
        code, stdout, stderr = command(channel, body)
        assert (code, stdout) == (go.returncode, go.stdout), path.name
        assert stderr.replace("noted.identify: ", "") == go.stderr.decode().replace("notectl: ", ""), path.name

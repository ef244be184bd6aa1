"""Each reason of the contract, and the README's answer to PayPal."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, Tuple

import grpc

from .peer import Trouble
from .places import ROOT

_WRONG = "WRONG_ANSWER"  # not a reason of the contract: an answer about another donation


def codes() -> Dict[str, grpc.StatusCode]:
    """The reasons in the head of noted.proto, and their codes."""
    head = (ROOT / "api/noted/v1/noted.proto").read_text().partition("syntax =")[0]
    lines = re.findall(r"^//   ([A-Z_]{8,})  +(.*(?:\n//    +.*)*)", head, re.MULTILINE)
    found = {reason: grpc.StatusCode[code] for code, rest in lines for reason in re.findall(r"[A-Z_]{8,}", rest)}
    assert len(found) > 20
    return found


def fail(rpc: str, reason: str) -> Callable[[str, Any, Any], None]:
    """A Peer's change that makes the RPC fail with the reason. The series of undecided
    messages succeeds.
    """

    def change(name: str, request: Any, answer: Any) -> None:
        if name != rpc or answer.note.donation.series_id.startswith("noted."):
            return
        if reason != _WRONG:
            raise Trouble(codes()[reason], reason)
        answer.note.donation.series_id = "I-OTHER"

    return change


def before_processing(readme: str, reason: str) -> Tuple[int, bool]:
    """The table's answer to an error before processing, and whether a person gets the
    message.
    """
    named, answer = _row(readme, "an `Undecidable`")
    return _answer(answer if _name(reason) in named else _row(readme, "any other `noted.Error`")[1])


def after_processing(readme: str, reason: str) -> Tuple[int, bool]:
    """The table's answer to an error of settling, and whether a person is told."""
    named, answer = _row(readme, "`NotSettled` from")
    return _answer(answer if _name(reason) in named else _row(readme, "any other `NotSettled`")[1])


def patience(expected: Tuple[int, bool]) -> float:
    """settle_timeout in seconds. An error that is tried again ends in a 503, so the tries end
    soon.
    """
    return 15.0 if expected[0] == 200 else 0.3


def _row(readme: str, what: str) -> Tuple[str, str]:
    (row,) = [line for line in readme.splitlines() if re.match(rf"\| `?{re.escape(what)}", line)]
    _, happened, answer, *_ = row.split("|")
    return happened, answer


def _name(reason: str) -> str:
    return "`" + "".join(word.capitalize() for word in reason.split("_")) + "`"


def _answer(cell: str) -> Tuple[int, bool]:
    return int(cell.split(",")[0]), "person" in cell

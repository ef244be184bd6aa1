"""The answers to PayPal."""

from __future__ import annotations

import json
from typing import List, NamedTuple, Tuple

# The Retry-After of a 503. PayPal has its own schedule; other callers may heed it.
_RETRY_AFTER = "30"


class Answer(NamedTuple):
    """The answer to PayPal, which needs only the status. The rest is for a person."""

    status: int
    headers: List[Tuple[str, str]]
    body: bytes


class Refusal(Exception):
    """Every answer but 200."""

    def __init__(self, status: int, reason: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason  # one word of a fixed set, for logs
        self.text = text  # the problem and the remedy, for the reader of the answer

    def answer(self) -> Answer:
        body = json.dumps({"error": self.text, "reason": self.reason}).encode() + b"\n"
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        headers.append(("Cache-Control", "no-store"))
        if self.status == 503:
            headers.append(("Retry-After", _RETRY_AFTER))
        if self.status == 405:
            headers.append(("Allow", "POST"))
        return Answer(self.status, headers, body)


def taken() -> Answer:
    """The answer to a message that PayPal need not send again."""
    return Answer(200, [("Content-Type", "text/plain"), ("Content-Length", "0")], b"")


def again(reason: str, text: str) -> Refusal:
    """A refusal for now: PayPal sends the message again."""
    return Refusal(503, reason, text + "; come again")


def no_sandbox() -> Refusal:
    return Refusal(403, "sandbox", "this is a test of PayPal's sandbox, and this receiver has no ledger for tests")

"""Every answer to PayPal but 200."""

from __future__ import annotations


class Refusal(Exception):
    def __init__(self, status: int, reason: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason  # one word of few, for logs
        self.text = text  # what is wrong and what to do about it, for whoever reads the answer


def again(reason: str, text: str) -> Refusal:
    """A refusal for now."""
    return Refusal(503, reason, text + "; come again")


def no_sandbox() -> Refusal:
    return Refusal(403, "sandbox", "this is a test of PayPal's sandbox, and there is no ledger for tests here")

"""The settings of a receiver, and the messages that it takes."""

from __future__ import annotations

import logging
from typing import Collection, Dict, List, Mapping, Optional, Tuple

from ...paypal import Identified, MalformedError, identify_ipn, identify_webhook
from .answer import Answer, Refusal, again
from .ipn import receiver_is

log = logging.getLogger("noted.receiver")

_CONTENT_TYPES = {"ipn": "application/x-www-form-urlencoded", "webhook": "application/json"}


class Rules:
    """The settings of a receiver, checked."""

    def __init__(
        self,
        ledger: str,
        sandbox_ledger: Optional[str],
        accounts: Collection[str],
        webhook_id: str,
        sandbox_webhook_id: str,
        ipn_path: str,
        webhook_path: str,
        max_body: int,
    ) -> None:
        if isinstance(accounts, str):
            raise ValueError("accounts is one string; give a list of them")
        if sandbox_webhook_id and sandbox_ledger is None:
            raise ValueError("sandbox_webhook_id is given and sandbox_ledger is not: tests would have no ledger")
        if sandbox_ledger is not None and sandbox_ledger == ledger:
            raise ValueError("ledger and sandbox_ledger are one: tests would count as donations")
        if not accounts and not webhook_id and not sandbox_webhook_id:
            raise ValueError("neither accounts nor webhook_id is given: there would be nothing to receive")
        self.max_body = max_body
        self.sandbox = sandbox_ledger is not None  # whether tests are taken
        self.webhook_ids: List[Tuple[str, bool]] = [
            (id, test) for id, test in ((webhook_id, False), (sandbox_webhook_id, True)) if id
        ]
        self._ledger, self._sandbox_ledger = ledger, sandbox_ledger
        self._accounts = {account.strip().lower() for account in accounts}
        self._paths: Dict[str, str] = {}  # path → channel
        if accounts:
            self._paths[ipn_path] = "ipn"
        if self.webhook_ids:
            self._paths[webhook_path] = "webhook"

    def channel(self, path: str) -> str:
        """The channel of a path."""
        if path not in self._paths:
            paths = " and ".join(self._paths)
            raise Refusal(404, "not_found", f"this path takes no messages; PayPal posts to {paths}")
        return self._paths[path]

    def check_request(self, channel: str, method: str, content_type: str, encoding: str) -> None:
        """Refuses a request before its body is read."""
        if method != "POST":
            raise Refusal(405, "method", "only POST is taken here")
        check_kind(channel, content_type, encoding)

    def length(self, declared: str, terminated: bool) -> Optional[int]:
        """The length of the body by its Content-Length. None if the server ends the body
        itself.
        """
        if declared.isdigit():
            self.check_length(int(declared))
            return int(declared)
        if not terminated:
            raise Refusal(411, "length", "the message must have a Content-Length")
        return None

    def check_length(self, length: int) -> None:
        if length > self.max_body:
            raise Refusal(413, "too_large", f"the message has more than {self.max_body} bytes")

    def check_message(self, channel: str, headers: Mapping[str, str], body: bytes) -> None:
        """Refuses a message before it is verified. The headers' names are in lower case."""
        if channel not in self._paths.values():
            raise Refusal(404, "not_found", f"{channel} is not received here")
        check_kind(channel, headers.get("content-type", _CONTENT_TYPES[channel]), headers.get("content-encoding", ""))
        self.check_length(len(body))
        if not body:
            raise Refusal(400, "malformed", "the body is empty")

    def identify(self, channel: str, body: bytes, test: bool) -> Tuple[Identified, Optional[bool]]:
        """The donations of a verified message, in their ledger. The second value is None if
        the message does not say whose account it is about.
        """
        try:
            identified = identify_ipn(body) if channel == "ipn" else identify_webhook(body)
        except MalformedError as error:
            raise Refusal(400, "malformed", str(error)) from error
        for warning in identified.warnings:
            log.warning("%s %s: %s", channel, identified.type, warning)
        # The signature of a webhook covers our webhook id, so PayPal sends it only messages
        # of our account.
        ours = receiver_is(body, self._accounts) if channel == "ipn" else True
        if ours is False:
            raise Refusal(403, "foreign", "the message is about an account that is not ours")
        ledger = self._sandbox_ledger if test else self._ledger
        assert ledger is not None, "the verifiers refuse tests if there is no ledger for them"
        return identified.in_ledger(ledger), ours


def check_kind(channel: str, content_type: str, encoding: str) -> None:
    if content_type.partition(";")[0].strip().lower() != _CONTENT_TYPES[channel]:
        raise Refusal(415, "content_type", f"the Content-Type must be {_CONTENT_TYPES[channel]}")
    if encoding:
        raise Refusal(415, "content_type", "a Content-Encoding is not taken: the bytes are verified as they come")


def lower_names(headers: Mapping[str, str]) -> Dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def refused(channel: str, refusal: Refusal) -> Answer:
    """The answer to a refused message."""
    log.warning("%s refused with %d, %s: %s", channel, refusal.status, refusal.reason, refusal.text)
    return refusal.answer()


def broken(channel: str) -> Answer:
    """The answer after any other exception, inside its handler."""
    log.exception("%s: the receiver has a fault", channel)
    return again("internal", "the receiver has a fault; its log has the details").answer()


WITHOUT_CRYPTOGRAPHY = (
    "verifying webhooks needs the package cryptography, 42 or later: install it, or install this library "
    "from a checkout of its repository with pip install './client/python[receiver]'"
)

"""Verifies an IPN: posts its bytes back to PayPal."""

from __future__ import annotations

import ssl
from typing import Optional

from ..core.receiver import ipn
from ..core.receiver.web import Unanswered
from ..fetch import fetch


class PostBack:
    def __init__(self, url: Optional[str], sandbox: bool, timeout: float) -> None:
        self._rules, self._timeout = ipn.PostBack(url, sandbox), timeout
        self._context = ssl.create_default_context()

    def verify(self, body: bytes) -> bool:
        """Reports whether PayPal sent this as a test. Raises a Refusal if PayPal did not
        send it.
        """
        url, question = self._rules.url(body), self._rules.question(body)
        try:
            reply = fetch(url, self._timeout, ipn.MOST_BYTES, self._context, post=question, headers=ipn.HEADERS)
        except Unanswered as error:
            raise ipn.unknown(str(error)) from error
        self._rules.judge(reply)
        return ipn.is_test(body)

"""Verifying an IPN: the receiver posts its bytes back, and PayPal says whether it sent
them.
"""

from __future__ import annotations

from typing import Iterable, Optional

from ...paypal.ipn import Form
from .answer import Refusal, again, no_sandbox
from .web import Reply, confidential

LIVE = "https://ipnpb.paypal.com/cgi-bin/webscr"
SANDBOX = "https://ipnpb.sandbox.paypal.com/cgi-bin/webscr"

HEADERS = {"Content-Type": "application/x-www-form-urlencoded"}  # of a post-back
MOST_BYTES = 64  # of PayPal's word


class PostBack:
    """The question to PayPal, and the meaning of its reply. Only two words count, with
    status 200. An error page, a redirect or silence means nothing, and PayPal comes again.
    """

    def __init__(self, url: Optional[str], sandbox: bool) -> None:
        if url and not confidential(url):
            raise ValueError(
                f"ipn_verify_url is {url}: it must be an https URL, or a URL of this machine, "
                "or a stranger on the way could call a forged IPN verified"
            )
        self._url, self._sandbox = url, sandbox

    def url(self, body: bytes) -> str:
        """The URL to ask. Refuses a test where there is no ledger for tests."""
        test = is_test(body)
        if test and not self._sandbox:
            raise no_sandbox()
        return self._url or (SANDBOX if test else LIVE)

    def question(self, body: bytes) -> bytes:
        """The body of the post-back. The order, the percent signs and the charset stay
        PayPal's own, so nothing is decoded.
        """
        return b"cmd=_notify-validate&" + body

    def judge(self, reply: Reply) -> None:
        """Raises a Refusal unless PayPal says that it sent the message."""
        word = reply.body.strip()
        if reply.status != 200:
            raise unknown(f"it answered {reply.status}")
        if word == b"INVALID":
            # PayPal is known to call a genuine message invalid now and then. It sends that
            # message again too.
            raise Refusal(400, "invalid", "PayPal says that it did not send this message")
        if word != b"VERIFIED":
            raise unknown("it said neither VERIFIED nor INVALID")


def unknown(why: str) -> Refusal:
    return again("verifier", f"PayPal could not be asked whether it sent this message ({why})")


def is_test(body: bytes) -> bool:
    """Reports whether an IPN claims to be a test. A false claim is harmless: the sandbox
    does not verify a genuine message.
    """
    return Form(body).lookup("test_ipn")[0].strip() not in ("", "0")


def receiver_is(body: bytes, accounts: Iterable[str]) -> Optional[bool]:
    """Reports whether an IPN is to one of the accounts. None if it names no receiver.

    PayPal verifies every IPN that it sent to any account, so a stranger could post an IPN
    of his own account here. receiver_id and receiver_email are PayPal's words. business may
    be the sender's, and counts only where both are missing.
    """
    form = Form(body)
    values = {name: form.lookup(name)[0].strip().lower() for name in ("receiver_id", "receiver_email", "business")}
    business = values.pop("business")
    named = [value for value in values.values() if value] or [value for value in [business] if value]
    return any(value in accounts for value in named) if named else None

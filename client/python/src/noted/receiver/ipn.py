"""Verifying an IPN: the bytes are posted back, and PayPal says whether it has sent them."""

from __future__ import annotations

import ssl
from typing import Iterable, Optional

from ..paypal.ipn import Form
from .refusal import Refusal, again, no_sandbox
from .web import Unanswered, confidential, fetch

LIVE = "https://ipnpb.paypal.com/cgi-bin/webscr"
SANDBOX = "https://ipnpb.sandbox.paypal.com/cgi-bin/webscr"


class PostBack:
    """Asks PayPal. Only its two words count, with 200: an error page, a redirect or silence says
    nothing, and PayPal comes again.
    """

    def __init__(self, url: Optional[str], sandbox: bool, timeout: float) -> None:
        if url and not confidential(url):
            raise ValueError(
                f"ipn_verify_url is {url}: it must be an https URL, or one of this machine; whoever is between could call a forged IPN verified"
            )
        self._url, self._sandbox, self._timeout = url, sandbox, timeout
        self._context = ssl.create_default_context()

    def verify(self, body: bytes) -> bool:
        """Whether PayPal has sent this as a test; raises a Refusal where it has not sent it."""
        test = is_test(body)
        if test and not self._sandbox:
            raise no_sandbox()
        try:
            # The order, the percent signs and the charset must be PayPal's own: nothing
            # is decoded in between.
            reply = fetch(
                self._url or (SANDBOX if test else LIVE),
                self._timeout,
                64,
                self._context,
                post=b"cmd=_notify-validate&" + body,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
            )
        except Unanswered as error:
            raise _unknown(str(error)) from error
        word = reply.body.strip()
        if reply.status != 200:
            raise _unknown(f"it answered {reply.status}")
        if word == b"INVALID":
            # Although PayPal is known to say so now and then of a genuine one: that comes
            # again too.
            raise Refusal(400, "invalid", "PayPal says that it has not sent this message")
        if word != b"VERIFIED":
            raise _unknown("it said neither VERIFIED nor INVALID")
        return test


def _unknown(why: str) -> Refusal:
    return again("verifier", f"PayPal could not be asked whether it has sent this message ({why})")


def is_test(body: bytes) -> bool:
    """Whether an IPN claims to be a test. It is believed only as far as it harms nobody: a
    genuine one is verified by the sandbox then.
    """
    return Form(body).lookup("test_ipn")[0].strip() not in ("", "0")


def receiver_is(body: bytes, accounts: Iterable[str]) -> Optional[bool]:
    """Whether an IPN is to one of the accounts; None where it names no receiver.

    PayPal verifies every IPN that it has sent to anybody, so a stranger could post one of his own
    here. receiver_id and receiver_email are PayPal's words; business may be the sender's, and
    counts only where they are missing.
    """
    form = Form(body)
    values = {name: form.lookup(name)[0].strip().lower() for name in ("receiver_id", "receiver_email", "business")}
    business = values.pop("business")
    named = [value for value in values.values() if value] or [value for value in [business] if value]
    return any(value in accounts for value in named) if named else None

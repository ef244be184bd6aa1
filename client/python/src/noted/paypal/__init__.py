"""Reads what PayPal sent, an IPN or a webhook, and says which donations it tells of.

    identified = identify_ipn(body)
    for donation, message in identified.in_ledger("paypal-live").pairs:
        ...  # ask Noted, then process

Two pure functions of the standard library do the work. They ask nobody and verify nothing: verify
first (noted.receiver does), because whoever can have a forged message noted can have the genuine
one suppressed. A message may tell of no donation, of one, or of several. Look at the warnings
too, and be loud about `unknown`: there PayPal said something that this package does not
understand.

The rules are written in client/paypal/doc.go, the reference; the cases beside it hold the
languages together. A field's text is kept here as one character a byte (Latin-1), so that what
the rules say of bytes can be said of characters.
"""

from .ipn import identify_ipn
from .result import Identified, MalformedError, Pair
from .webhook import identify_webhook

__all__ = ["Identified", "MalformedError", "Pair", "identify_ipn", "identify_webhook"]

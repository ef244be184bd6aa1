"""Reads a message of PayPal's, an IPN or a webhook, and returns its donations.

    identified = identify_ipn(body)
    for donation, message in identified.in_ledger("paypal-live").pairs:
        ...  # ask Noted, then process

The two functions are pure, and use only the standard library. They do not verify the
message. Verify it first, as noted.receiver does: a forged message that is noted suppresses
the genuine message. A message may hold no donation, one, or several. Read the warnings too,
and raise an alarm on `unknown`: this package does not understand that message.

client/paypal/doc.go has the rules, and the cases beside it hold the languages together. The
text of a field has one character for each byte (Latin-1), so that the rules about bytes
apply to characters.
"""

from .ipn import identify_ipn
from .result import Identified, MalformedError, Pair
from .webhook import identify_webhook

__all__ = ["Identified", "MalformedError", "Pair", "identify_ipn", "identify_webhook"]

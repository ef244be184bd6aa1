"""A WSGI application that takes PayPal's messages, verifies them, asks Noted, and gives
each donation to your function once.

    def book(delivery):
        # Uses delivery.donation, and delivery.donation_id as the idempotency key. If it raises,
        # PayPal comes again.
        ...

    def look_at(delivery, error):
        # Noted cannot decide. Keeps delivery.body and error.reason for a person.
        ...

    receiver = Receiver(
        noted.Client("127.0.0.1:50051"), book, look_at,
        ledger="paypal-live", accounts=["donations@example.org"],
        webhook_id="8PT597110X687430LKGECATA",
    )
    # In Django's wsgi.py. In Flask: app.wsgi_app = mount(app.wsgi_app, "/paypal", receiver)
    application = mount(application, "/paypal", receiver)

PayPal then posts to /paypal/ipn and /paypal/webhook. A framework without WSGI calls
Receiver.receive with the channel, the headers and the bytes.

The answers to PayPal:

    200  every donation in the message is settled, a duplicate, skipped, or left to a person
    503  another receiver holds a donation, your function raised, or PayPal or Noted could not be
         asked. PayPal comes again, and settled donations are duplicates then. Also after a
         donation that is processed but not settled: your function is then called again, with the
         same donation_id
    4xx  malformed, not verified, or not ours. Nothing was noted. PayPal comes again too, for
         days, so a mistake in the settings loses nothing

If another attempt has settled a donation meanwhile, or an operator has released or
forgotten it, the answer is 200 and the log has an error: compare the donation by hand.

Only verified messages reach Noted. Otherwise a forger could suppress a donation by telling
of it first. Verifying webhooks needs the package cryptography, 42 or later: in a checkout
of the repository, pip install './client/python[receiver]'.
"""

from ..core.receiver.work import Delivery
from .app import Receiver, mount

__all__ = ["Delivery", "Receiver", "mount"]

"""A WSGI application that takes what PayPal posts, verifies it, asks Noted, and gives each
donation to a function of yours once.

    def book(delivery):
        ...  # delivery.donation, delivery.donation_id as the idempotency key; raise, and PayPal
        comes again

    def look_at(delivery, error):
        ...  # Noted cannot decide: keep delivery.body and error.reason for a person

    receiver = Receiver(
        noted.Client("127.0.0.1:50051"), book, look_at,
        ledger="paypal-live", accounts=["donations@example.org"],
        webhook_id="8PT597110X687430LKGECATA",
    )
    application = mount(application, "/paypal", receiver)  # Django's wsgi.py; in Flask:
    app.wsgi_app = mount(app.wsgi_app, "/paypal", receiver)

PayPal then posts to /paypal/ipn and /paypal/webhook. A framework that has no WSGI calls
Receiver.receive with the channel, the headers and the bytes.

What PayPal is answered:

    200   every donation in the message is settled, a duplicate, skipped, or handed to a person
    503   one is held by another, your function has raised, or PayPal or Noted could not be asked:
    PayPal comes again, and what is settled is a duplicate then.
          Also where one is processed and Noted could not be told so: your function is then called
          again, with the same donation_id
    4xx   malformed, not verified, or not ours; nothing was noted. PayPal comes again too, so a
    mistake in the settings loses nothing for days

Where another attempt has settled a donation meanwhile, or an operator has released or forgotten
it, the answer is 200 and the log has an error: compare it by hand.

Nothing that is not verified reaches Noted, or a forger could suppress a donation by telling of it
first. Verifying webhooks needs the package cryptography, 42 or later: in a checkout of the
repository, pip install './client/python[receiver]'.
"""

from ..core.receiver.work import Delivery
from .app import Receiver, mount

__all__ = ["Delivery", "Receiver", "mount"]

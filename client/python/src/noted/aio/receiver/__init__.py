"""noted.receiver for asyncio: an ASGI application, and functions that may be coroutines.

    receiver = Receiver(
        noted.aio.Client("127.0.0.1:50051"), book, look_at,
        ledger="paypal-live", accounts=["donations@example.org"],
        webhook_id="8PT597110X687430LKGECATA",
    )
    app.mount("/paypal", receiver)  # FastAPI and Starlette

noted.receiver says what PayPal is answered.
"""

from ...core.receiver.work import Delivery
from .app import Receiver, mount

__all__ = ["Delivery", "Receiver", "mount"]

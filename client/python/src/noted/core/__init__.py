"""The rules of this library, without I/O: what is asked, what an answer means, when a call
is tried again, how once() runs, and what a receiver answers to PayPal.

The two halves, noted (blocking) and noted.aio (asyncio), do the I/O: they call the server,
wait, read the clock, and ask these modules what comes next. Rules that need the time are
given it. noted.errors, noted.types and noted.paypal belong to the core too.
tests/test_house.py lists the modules that the core must not import.

These modules are no public interface; users import noted, noted.aio, noted.paypal and
noted.receiver.
"""

"""Runs the steps of a message: notes each donation, processes it once, and settles it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Callable, Optional

from ..core.receiver.answer import Refusal
from ..core.receiver.work import Delivery, Step, not_noted, not_settled, steps
from ..errors import Error, NotSettled
from ..interface import ClientInterface
from ..paypal import Identified

Process = Callable[[Delivery], object]
Undecided = Callable[[Delivery, Error], object]


class Work:
    def __init__(self, client: ClientInterface, process: Process, undecided: Undecided) -> None:
        self._client, self._process, self._undecided = client, process, undecided

    def do(self, identified: Identified, body: bytes, test: bool, ours: Optional[bool]) -> None:
        """Works on a verified message. Raises a Refusal if PayPal is to come again."""
        work = steps(identified, body, test, ours, time.monotonic)
        try:
            step = next(work)
            while True:
                try:
                    done = self._once(step)
                except (Refusal, Error) as raised:
                    step = work.throw(raised)
                else:
                    step = work.send(done)
        except StopIteration:
            return

    def _once(self, step: Step) -> bool:
        """Runs one step. False if the user's function has raised."""
        try:
            with ExitStack() as stack:
                try:
                    turn = stack.enter_context(self._client.once(step.donation, step.message))
                except Error as error:
                    raise not_noted(error)
                if not step.first(turn):
                    return True
                try:
                    if step.error is None:
                        self._process(step.of_turn(turn))
                    else:
                        self._undecided(step.delivery, step.error)
                except Exception:
                    step.failed(turn)
                    return False
            return True
        except NotSettled as error:
            not_settled(error)
            return True

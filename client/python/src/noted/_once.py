"""The whole dance of the blocking client: note with a hold, extend while the block runs, settle
or release.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Optional, Type

from ._retry import refused, wait_after
from ._turn import Turn, as_error, check_response, check_same, not_released, not_settled, ran_out
from .errors import Error
from .types import Donation, Message, Verdict

if TYPE_CHECKING:
    from .client import Client


class Once:
    """The context manager of Client.once. Each is good for one with."""

    def __init__(self, client: Client, donation: Donation, message: Optional[Message], hold: float) -> None:
        self._client, self._donation, self._message, self._hold = client, donation, message, hold
        self._turn: Optional[Turn] = None
        self._over = threading.Event()

    def __enter__(self) -> Turn:
        if self._turn is not None:
            raise RuntimeError("this once() has been entered before; call client.once() anew for each message")
        asked = time.monotonic()  # the hold began no earlier
        response = self._client.note(self._donation, self._message, hold=self._hold)
        check_response(self._donation.series_id, response)
        self._turn = Turn(response)
        if response.verdict == Verdict.FIRST:
            # A daemon, so that a program that exits in the middle of a block is not kept;
            # the hold then runs out.
            self._turn._held_until = asked + self._hold
            threading.Thread(target=self._keep, args=(self._turn,), name="noted-hold", daemon=True).start()
        return self._turn

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        turn = self._turn
        assert turn is not None
        # An extension that is still under way is not waited for: after settling or
        # releasing it changes nothing.
        self._over.set()
        if turn.receipt and (error is not None or turn._release is not None):
            self._give_up(turn)
        elif turn.receipt:
            self._settle(turn)
        if error is None:
            turn._ensure_asked()

    def _keep(self, turn: Turn) -> None:
        """Extends at every third of the hold. By our own clock the hold is a little shorter than
        by the store's, which is the safe side.
        """
        while not self._over.wait(turn._held_until - self._hold * 2 / 3 - time.monotonic()):
            try:
                turn._held_until = self._extend_before(turn, turn._held_until)
            except Exception as raised:
                turn._loss = as_error("extending a hold", raised)
                return

    def _extend_before(self, turn: Turn, held_until: float) -> float:
        """Tries until the hold would have run out, and returns until when it lasts then."""
        tries = 0
        while True:
            tries += 1
            asked = time.monotonic()
            try:
                # A try that hangs must leave time for another, and the last one must not
                # outlast the hold.
                timeout = max(min(self._hold / 6, held_until - asked), 0.001)
                note = self._client.extend(turn.receipt, self._hold, timeout=timeout)
                check_same("extending a hold", turn.note, note)
                return asked + self._hold
            except Error as error:
                if refused(error):
                    raise
                wait = wait_after(tries, error)
                if self._over.is_set() or time.monotonic() + wait >= held_until:
                    raise ran_out(error) from error
                self._over.wait(wait)

    def _settle(self, turn: Turn) -> None:
        """Does not give up at the first trouble: the work is done. Besides UNAVAILABLE it
        outwaits a server that is too busy or too slow.
        """
        deadline = time.monotonic() + self._client._settings.settle_timeout
        tries = 0
        while True:
            tries += 1
            try:
                timeout = min(self._client._settings.timeout, max(deadline - time.monotonic(), 0.001))
                note = self._client.settle(turn.receipt, timeout=timeout)
                check_same("settling", turn.note, note)
                return
            except Exception as raised:
                error = as_error("settling", raised)
                wait = wait_after(tries, error)
                if refused(error) or time.monotonic() + wait >= deadline:
                    raise not_settled(turn, error) from error
                time.sleep(wait)

    def _give_up(self, turn: Turn) -> None:
        settings = self._client._settings
        try:
            timeout = min(settings.settle_timeout, settings.timeout)
            note = self._client.release(turn.receipt, turn._release or "processing failed", timeout=timeout)
            check_same("releasing", turn.note, note)
        except Exception as raised:
            not_released(turn, as_error("releasing", raised))

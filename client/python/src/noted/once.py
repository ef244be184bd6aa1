"""once(): notes with a hold, extends it in a thread while the block runs, then settles or
releases.
"""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Callable, NamedTuple, Optional, Type

from .core.once import Course
from .core.turn import Turn
from .errors import Error
from .types import Note, NoteResponse

log = logging.getLogger("noted")


class Calls(NamedTuple):
    """The calls of a client that once() makes."""

    note: Callable[..., NoteResponse]
    extend: Callable[..., Note]
    settle: Callable[..., Note]
    release: Callable[..., Note]


class Once:
    """The context manager of Client.once. It is good for one with."""

    def __init__(self, calls: Calls, course: Course) -> None:
        self._calls, self._course = calls, course
        self._over = threading.Event()

    def __enter__(self) -> Turn:
        course = self._course
        course.enter()
        asked = time.monotonic()
        response = self._calls.note(course.donation, course.message, hold=course.hold.length)
        turn = course.begin(response, asked, time.monotonic)
        if course.extends:
            # The thread is a daemon, so that it does not keep a program that exits inside
            # the block. The hold then runs out.
            threading.Thread(target=self._keep, name="noted-hold", daemon=True).start()
        return turn

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        # An extension may still be under way. After settling or releasing it changes nothing.
        self._over.set()
        if self._course.settles(error):
            self._settle()
        elif self._course.releases(error):
            self._release()
        if error is None:
            self._course.check_verdict_read()

    def _keep(self) -> None:
        while not self._over.wait(self._course.extend_in(time.monotonic())):
            try:
                self._extend()
            except Exception as raised:
                self._course.lost(raised)
                return

    def _extend(self) -> None:
        extension, course = self._course.extension(), self._course
        while True:
            asked = time.monotonic()
            try:
                timeout = extension.timeout(asked)
                extension.done(self._calls.extend(course.turn.receipt, course.hold.length, timeout=timeout), asked)
                return
            except Error as error:
                wait = extension.wait(error, time.monotonic())
            if self._over.wait(wait):
                return

    def _settle(self) -> None:
        settling = self._course.settling(time.monotonic())
        while True:
            try:
                timeout = settling.timeout(time.monotonic())
                settling.done(self._calls.settle(self._course.turn.receipt, timeout=timeout))
                return
            except Exception as raised:
                wait = settling.wait(raised, time.monotonic())
            time.sleep(wait)

    def _release(self) -> None:
        course = self._course
        try:
            timeout = course.release_timeout
            course.released(self._calls.release(course.turn.receipt, course.release_reason, timeout=timeout))
        except Exception as raised:
            log.warning("%s", course.not_released(raised))

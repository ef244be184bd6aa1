"""once(): notes with a hold, extends it in a task while the block runs, then settles or
releases.
"""

from __future__ import annotations

import asyncio
import logging
import time
from types import TracebackType
from typing import Any, Awaitable, Callable, Coroutine, NamedTuple, Optional, Type

from ..core.once import Course
from ..core.turn import Turn
from ..errors import Error
from ..types import Note, NoteResponse

log = logging.getLogger("noted")


class Calls(NamedTuple):
    """The calls of a client that once() makes."""

    note: Callable[..., Awaitable[NoteResponse]]
    extend: Callable[..., Awaitable[Note]]
    settle: Callable[..., Awaitable[Note]]
    release: Callable[..., Awaitable[Note]]


class Once:
    """The context manager of Client.once. It is good for one async with."""

    def __init__(self, calls: Calls, course: Course) -> None:
        self._calls, self._course = calls, course
        self._keeper: Optional[asyncio.Task[None]] = None

    async def __aenter__(self) -> Turn:
        course = self._course
        course.enter()
        asked = time.monotonic()
        response = await self._calls.note(course.donation, course.message, hold=course.hold.length)
        turn = course.begin(response, asked, time.monotonic)
        if course.extends:
            self._keeper = asyncio.ensure_future(self._keep())
        return turn

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
        if self._course.settles(error):
            await _to_the_end(self._settle())
        elif self._course.releases(error):
            await _to_the_end(self._release())
        if error is None:
            self._course.check_verdict_read()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._course.extend_in(time.monotonic()))
            try:
                await self._extend()
            except Exception as raised:
                self._course.lost(raised)
                return

    async def _extend(self) -> None:
        extension, course = self._course.extension(), self._course
        while True:
            asked = time.monotonic()
            try:
                timeout = extension.timeout(asked)
                note = await self._calls.extend(course.turn.receipt, course.hold.length, timeout=timeout)
                extension.done(note, asked)
                return
            except Error as error:
                wait = extension.wait(error, time.monotonic())
            await asyncio.sleep(wait)

    async def _settle(self) -> None:
        settling = self._course.settling(time.monotonic())
        while True:
            try:
                timeout = settling.timeout(time.monotonic())
                settling.done(await self._calls.settle(self._course.turn.receipt, timeout=timeout))
                return
            except Exception as raised:
                wait = settling.wait(raised, time.monotonic())
            await asyncio.sleep(wait)

    async def _release(self) -> None:
        course = self._course
        try:
            timeout = course.release_timeout
            course.released(await self._calls.release(course.turn.receipt, course.release_reason, timeout=timeout))
        except Exception as raised:
            log.warning("%s", course.not_released(raised))


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Finishes settling or releasing even if this task is cancelled meanwhile, then lets
    the cancellation go on. The donation is processed, and an unsettled note could double
    it. The work bounds its own time. If it fails too, its error is in the log and is the
    cancellation's __cause__.
    """
    task = asyncio.ensure_future(work)
    cancelled: Optional[asyncio.CancelledError] = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception:
            break  # result() raises it
    if cancelled is None or task.cancelled():
        return task.result()
    failed = task.exception()
    if failed is not None:
        log.error("%s; the task that processed it was cancelled meanwhile", failed)
    raise cancelled from failed

"""The same client for asyncio: `await client.note(…)`, `async with client.once(…) as turn`,
`async for note in client.list()`.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from types import TracebackType
from typing import Any, AsyncIterable, AsyncIterator, Coroutine, Iterable, Optional, Type, TypeVar, Union

import grpc

from . import _aio_stream, _calls
from ._calls import Call, Page, Seconds, seconds
from ._retry import refused, wait_after
from ._settings import Options, Settings, Token, hold_of_once
from ._status import failure
from ._turn import Turn, as_error, check_response, check_same, log, not_released, not_settled, ran_out
from .errors import Error
from .types import Donation, Existence, Message, Note, NoteRequest, NoteResponse, NoteResult, State, Verdict
from .v1.noted_pb2_grpc import DedupeServiceStub

Answer = TypeVar("Answer")

__all__ = ["Client"]


class Client:
    """Asks one Noted server, from one event loop. Arguments and calls are those of noted.Client,
    whose comments say what they promise.
    """

    def __init__(
        self,
        target: str,
        *,
        timeout: Seconds = 5.0,
        hold: Seconds = 60.0,
        settle_timeout: Seconds = 15.0,
        ca: Optional[bytes] = None,
        credentials: Optional[grpc.ChannelCredentials] = None,
        plaintext: bool = False,
        token: Optional[Token] = None,
        options: Options = (),
    ) -> None:
        self._settings = Settings(target, timeout, hold, settle_timeout, ca, credentials, plaintext, token, options)
        if self._settings.credentials is None:
            self._channel = grpc.aio.insecure_channel(target, options=self._settings.options)
        else:
            self._channel = grpc.aio.secure_channel(target, self._settings.credentials, options=self._settings.options)
        self._stub: Any = DedupeServiceStub(self._channel)  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Closes the connection. Calls under way fail."""
        await self._channel.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.close()

    def once(self, donation: Donation, message: Optional[Message] = None, *, hold: Optional[Seconds] = None) -> _Once:
        """Runs a block that may process the donation, and sees to it that nobody else does
        meanwhile. Outcomes, and what to tell PayPal, are those of noted.Client.once. A block that
        is cancelled is released. Settling and releasing are finished even if the task is
        cancelled meanwhile; the
        cancellation then goes on, and a NotSettled is in the log."""
        return _Once(self, donation, message, self._settings.hold if hold is None else hold_of_once(hold))

    async def note(
        self,
        donation: Donation,
        message: Optional[Message] = None,
        *,
        hold: Seconds = 0.0,
        request_id: str = "",
        timeout: Optional[Seconds] = None,
    ) -> NoteResponse:
        request = NoteRequest(donation, message, seconds(hold), request_id)
        return await self._run(_calls.note(_calls.with_request_id(request)), timeout)

    def notes(self, requests: Union[Iterable[NoteRequest], AsyncIterable[NoteRequest]]) -> AsyncIterator[NoteResult]:
        return _aio_stream.notes(self, requests)

    async def exists(
        self, donation: Donation, message: Optional[Message] = None, *, timeout: Optional[Seconds] = None
    ) -> Existence:
        return await self._run(_calls.exists(donation, message), timeout)

    async def settle(self, receipt: str, reason: str = "", *, timeout: Optional[Seconds] = None) -> Note:
        return await self._run(_calls.settle(receipt, reason), timeout)

    async def release(self, receipt: str, reason: str = "", *, timeout: Optional[Seconds] = None) -> Note:
        return await self._run(_calls.release(receipt, reason), timeout)

    async def extend(self, receipt: str, hold: Seconds, *, timeout: Optional[Seconds] = None) -> Note:
        return await self._run(_calls.extend(receipt, hold), timeout)

    async def list(
        self,
        ledger: str = "",
        series_id: str = "",
        *,
        state: State = State.UNSPECIFIED,
        seen_only_on: str = "",
        transaction_id: str = "",
        noted_after: Optional[datetime] = None,
        noted_before: Optional[datetime] = None,
        page_size: int = 0,
        timeout: Optional[Seconds] = None,
    ) -> AsyncIterator[Note]:
        token = ""
        while True:
            page: Page = await self._run(
                _calls.page(
                    ledger, series_id, state, seen_only_on, transaction_id, noted_after, noted_before, page_size, token
                ),
                timeout,
            )
            for note in page.notes:
                yield note
            token = page.next_page_token
            if not token:
                return

    async def forget(
        self, series_id: str, donation_id: str, reason: str, *, ledger: str = "", timeout: Optional[Seconds] = None
    ) -> Note:
        return await self._run(_calls.forget(series_id, donation_id, reason, ledger), timeout)

    async def _run(self, call: Call[Answer], timeout: Optional[Seconds]) -> Answer:
        deadline = time.monotonic() + (self._settings.timeout if timeout is None else seconds(timeout))
        rpc, budget, tries = getattr(self._stub, call.rpc), self._settings.budget, 0
        while True:
            tries += 1
            try:
                asked = rpc(
                    call.request, timeout=max(deadline - time.monotonic(), 0.0), metadata=self._settings.metadata()
                )
                response = await _answer(call.act, asked)
            except grpc.RpcError as error:
                failed = failure(call.act, error)
                wait = budget.wait_after(tries, failed, deadline) if call.repeatable else None
                if wait is None:
                    raise failed from error
                await asyncio.sleep(wait)
            else:
                budget.succeed()
                return call.answer(response)


async def _answer(act: str, asked: Any) -> Any:
    """Awaits what was asked in a task of its own: gRPC cancels it when the client is closed, and
    that is no cancellation of this task.
    """
    task = asyncio.ensure_future(asked)
    try:
        await asyncio.wait((task,))
    except asyncio.CancelledError:
        task.cancel()
        raise
    if task.cancelled():
        raise Error(act, "the client was closed", grpc.StatusCode.CANCELLED)
    return task.result()


class _Once:
    """The context manager of Client.once. Each is good for one async with."""

    def __init__(self, client: Client, donation: Donation, message: Optional[Message], hold: float) -> None:
        self._client, self._donation, self._message, self._hold = client, donation, message, hold
        self._turn: Optional[Turn] = None
        self._keeper: Optional[asyncio.Task[None]] = None

    async def __aenter__(self) -> Turn:
        if self._turn is not None:
            raise RuntimeError("this once() has been entered before; call client.once() anew for each message")
        asked = time.monotonic()  # the hold began no earlier
        response = await self._client.note(self._donation, self._message, hold=self._hold)
        check_response(self._donation.series_id, response)
        self._turn = Turn(response)
        if response.verdict == Verdict.FIRST:
            self._turn._held_until = asked + self._hold
            self._keeper = asyncio.ensure_future(self._keep(self._turn))
        return self._turn

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        turn = self._turn
        assert turn is not None
        if self._keeper is not None:
            self._keeper.cancel()
        if turn.receipt and (error is not None or turn._release is not None):
            await _to_the_end(self._give_up(turn))
        elif turn.receipt:
            await _to_the_end(self._settle(turn))
        if error is None:
            turn._ensure_asked()

    async def _keep(self, turn: Turn) -> None:
        """Extends at every third of the hold. By our own clock the hold is a little shorter than
        by the store's, which is the safe side.
        """
        while True:
            await asyncio.sleep(turn._held_until - self._hold * 2 / 3 - time.monotonic())
            try:
                turn._held_until = await self._extend_before(turn, turn._held_until)
            except Exception as raised:
                turn._loss = as_error("extending a hold", raised)
                return

    async def _extend_before(self, turn: Turn, held_until: float) -> float:
        """Tries until the hold would have run out, and returns until when it lasts then."""
        tries = 0
        while True:
            tries += 1
            asked = time.monotonic()
            try:
                # A try that hangs must leave time for another, and the last one must not
                # outlast the hold.
                timeout = max(min(self._hold / 6, held_until - asked), 0.001)
                note = await self._client.extend(turn.receipt, self._hold, timeout=timeout)
                check_same("extending a hold", turn.note, note)
                return asked + self._hold
            except Error as error:
                if refused(error):
                    raise
                wait = wait_after(tries, error)
                if time.monotonic() + wait >= held_until:
                    raise ran_out(error) from error
                await asyncio.sleep(wait)

    async def _settle(self, turn: Turn) -> None:
        """Does not give up at the first trouble: the work is done. Besides UNAVAILABLE it
        outwaits a server that is too busy or too slow.
        """
        settings = self._client._settings
        deadline = time.monotonic() + settings.settle_timeout
        tries = 0
        while True:
            tries += 1
            try:
                timeout = min(settings.timeout, max(deadline - time.monotonic(), 0.001))
                note = await self._client.settle(turn.receipt, timeout=timeout)
                check_same("settling", turn.note, note)
                return
            except Exception as raised:
                error = as_error("settling", raised)
                wait = wait_after(tries, error)
                if refused(error) or time.monotonic() + wait >= deadline:
                    raise not_settled(turn, error) from error
                await asyncio.sleep(wait)

    async def _give_up(self, turn: Turn) -> None:
        settings = self._client._settings
        try:
            timeout = min(settings.settle_timeout, settings.timeout)
            note = await self._client.release(turn.receipt, turn._release or "processing failed", timeout=timeout)
            check_same("releasing", turn.note, note)
        except Exception as raised:
            not_released(turn, as_error("releasing", raised))


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Finishes the work, which bounds its own time, even if this task is cancelled meanwhile, and
    then lets the cancellation go on: the donation is
    processed by now, and forgetting that would double it. Where the work fails too, its error is
    in the log and the cancellation's __cause__.
    """
    task = asyncio.ensure_future(work)
    cancelled: Optional[asyncio.CancelledError] = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception:
            break  # told by result()
    if cancelled is None or task.cancelled():
        return task.result()
    failed = task.exception()
    if failed is not None:
        log.error("%s; the task that processed it was cancelled meanwhile", failed)
    raise cancelled from failed

"""The ASGI application."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, Awaitable, Callable, Collection, Dict, Mapping, Optional

from ...core.receiver.answer import Answer, Refusal, taken
from ...core.receiver.rules import WITHOUT_CRYPTOGRAPHY, Rules, broken, lower_names, refused
from ..interface import ClientInterface
from .ipn import PostBack
from .work import Process, Undecided, Work

_Scope = Dict[str, Any]
_Receive = Callable[[], Awaitable[Dict[str, Any]]]
_Send = Callable[[Dict[str, Any]], Awaitable[None]]
Application = Callable[[_Scope, _Receive, _Send], Awaitable[None]]


class Receiver:
    """Takes PayPal's messages in one event loop at a time. Its arguments are those of
    noted.receiver.Receiver, but for the client, which is a noted.aio.Client or another noted.aio.ClientInterface.
    process and undecided may be coroutine functions. Other functions block the loop while
    they run.
    """

    def __init__(
        self,
        client: ClientInterface,
        process: Process,
        undecided: Undecided,
        *,
        ledger: str = "",
        sandbox_ledger: Optional[str] = None,
        accounts: Collection[str] = (),
        webhook_id: str = "",
        sandbox_webhook_id: str = "",
        ipn_path: str = "/ipn",
        webhook_path: str = "/webhook",
        max_body: int = 256 << 10,
        verify_timeout: float = 10.0,
        webhook_max_age: timedelta = timedelta(hours=73),
        ipn_verify_url: Optional[str] = None,
        cert_hosts: Optional[Collection[str]] = None,
        cert_roots: Optional[bytes] = None,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._rules = Rules(
            ledger, sandbox_ledger, accounts, webhook_id, sandbox_webhook_id, ipn_path, webhook_path, max_body
        )
        self._work = Work(client, process, undecided)
        self._verify: Dict[str, Callable[[Mapping[str, str], bytes], Awaitable[bool]]] = {}  # by channel
        if accounts:
            post_back = PostBack(ipn_verify_url, self._rules.sandbox, verify_timeout)
            self._verify["ipn"] = lambda headers, body: post_back.verify(body)
        if self._rules.webhook_ids:
            self._verify["webhook"] = _signature(
                self._rules, cert_hosts, cert_roots, verify_timeout, webhook_max_age, now
            )

    async def receive(self, channel: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Takes one message of the channel "ipn" or "webhook", with its headers and the
        exact bytes of its body. It refuses the same messages as the ASGI application,
        except one without a Content-Type. A framework that reads bodies should bound them
        itself.
        """
        try:
            names = lower_names(headers)
            self._rules.check_message(channel, names, body)
            test = await self._verify[channel](names, body)
            identified, ours = self._rules.identify(channel, body, test)
            await self._work.do(identified, body, test, ours)
        except Refusal as refusal:
            return refused(channel, refusal)
        except Exception:
            return broken(channel)
        return taken()

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """The ASGI application."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"the receiver takes no {scope['type']} connections")
        answer = await self._answer(scope, receive)
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: _Scope, receive: _Receive) -> Answer:
        headers = lower_names({name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]})
        try:
            channel = self._rules.channel(_path(scope))
            kind, encoding = headers.get("content-type", ""), headers.get("content-encoding", "")
            self._rules.check_request(channel, scope["method"], kind, encoding)
            # The server ends the body itself, and cuts it at its Content-Length.
            self._rules.length(headers.get("content-length", ""), terminated=True)
            body = await self._read(receive)
        except Refusal as refusal:
            return refusal.answer()
        return await self.receive(channel, headers, body)

    async def _read(self, receive: _Receive) -> bytes:
        """Reads the body, never more of it than is allowed."""
        body, more = b"", True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                raise Refusal(400, "broken", "the message broke off")
            body, more = body + event.get("body", b""), event.get("more_body", False)
            self._rules.check_length(len(body))
        return body


def _path(scope: _Scope) -> str:
    """The path below the mount. A server may put the mount before it, or leave it out."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path[len(root) :] if root and path.startswith(root + "/") else path


async def _live(receive: _Receive, send: _Send) -> None:
    """Answers the server's words about its start and its end: there is nothing to do."""
    while True:
        event = await receive()
        await send({"type": event["type"] + ".complete"})
        if event["type"] == "lifespan.shutdown":
            return


def _signature(
    rules: Rules,
    hosts: Optional[Collection[str]],
    roots: Optional[bytes],
    timeout: float,
    max_age: timedelta,
    now: Callable[[], datetime],
) -> Callable[[Mapping[str, str], bytes], Awaitable[bool]]:
    try:
        from ...core.receiver.webhook import Signatures
        from .certificates import Certificates
        from .webhook import Signature
    except ImportError as error:
        raise ImportError(WITHOUT_CRYPTOGRAPHY) from error
    return Signature(
        Signatures(rules.webhook_ids, rules.sandbox, max_age, now), Certificates(hosts, roots, timeout)
    ).verify


def mount(application: Application, prefix: str, receiver: Application) -> Application:
    """An ASGI application that gives paths below the prefix, such as "/paypal", to the
    receiver, and all others to the application. FastAPI and Starlette have a mount of their
    own.
    """
    prefix = "/" + prefix.strip("/")

    async def mounted(scope: _Scope, receive: _Receive, send: _Send) -> None:
        path, root = _path(scope) if scope["type"] == "http" else "", scope.get("root_path", "")
        if path.startswith(prefix + "/"):
            await receiver({**scope, "root_path": root + prefix, "path": root + path}, receive, send)
        else:
            await application(scope, receive, send)

    return mounted

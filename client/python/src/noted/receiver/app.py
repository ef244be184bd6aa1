"""The WSGI application."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone
from http import HTTPStatus
from typing import Any, Callable, Collection, Dict, Iterable, Mapping, Optional

from ..core.receiver.answer import Answer, Refusal, taken
from ..core.receiver.rules import WITHOUT_CRYPTOGRAPHY, Rules, broken, lower_names, refused
from ..interface import ClientInterface
from .ipn import PostBack
from .work import Process, Undecided, Work

_Environ = Dict[str, Any]
_StartResponse = Callable[..., Any]
Application = Callable[[_Environ, _StartResponse], Iterable[bytes]]


class Receiver:
    """Takes PayPal's messages. Any number of threads and processes may run receivers. They
    act as one receiver, because Noted decides which of them processes a donation.

    client:              a noted.Client, or another ClientInterface
    process:             called once for each donation, with a Delivery. If it raises, PayPal is
                         told to come again
    undecided:           called with a Delivery and the Error when Noted cannot decide, such as
                         for a donation older than its notes. PayPal is answered 200, so keep the
                         delivery for a person
    ledger:              the ledger of the donations; empty is a ledger too
    sandbox_ledger:      the ledger of the sandbox's tests; None refuses them
    accounts:            the receiver ids and e-mail addresses of our accounts. An IPN to another
                         account is refused. Empty: there is no path for IPNs
    webhook_id:          the id of the webhook in PayPal's dashboard, which the signature covers.
                         Empty: there is no path for webhooks
    sandbox_webhook_id:  the same of the sandbox's dashboard
    ipn_path:            where PayPal posts IPNs, below the mount of the application
    webhook_path:        where PayPal posts webhooks
    max_body:            the most bytes of a message
    verify_timeout:      seconds for one question to PayPal: the post-back of an IPN, or a
                         certificate with its issuers
    webhook_max_age:     how old a transmission may be; PayPal redelivers for three days
    ipn_verify_url:      where an IPN is posted back, over https or on this machine. It replaces
                         PayPal's URL, and the sandbox's for an IPN with test_ipn
    cert_hosts:          the hosts, as host or host:port, that replace PayPal's for certificates
    cert_roots:          PEM certificates. One of them, and not one of this machine's, must have
                         issued PayPal's certificate, or its issuer
    now:                 the clock for ages
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
        self._verify: Dict[str, Callable[[Mapping[str, str], bytes], bool]] = {}  # channel → whether it is a test
        if accounts:
            post_back = PostBack(ipn_verify_url, self._rules.sandbox, verify_timeout)
            self._verify["ipn"] = lambda headers, body: post_back.verify(body)
        if self._rules.webhook_ids:
            self._verify["webhook"] = _signature(
                self._rules, cert_hosts, cert_roots, verify_timeout, webhook_max_age, now
            )

    def receive(self, channel: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Takes one message of the channel "ipn" or "webhook", with its headers and the
        exact bytes of its body. It refuses the same messages as the WSGI application,
        except one without a Content-Type. A framework that reads bodies should bound them
        itself.
        """
        try:
            names = lower_names(headers)
            self._rules.check_message(channel, names, body)
            test = self._verify[channel](names, body)
            identified, ours = self._rules.identify(channel, body, test)
            self._work.do(identified, body, test, ours)
        except Refusal as refusal:
            return refused(channel, refusal)
        except Exception:
            return broken(channel)
        return taken()

    def __call__(self, environ: _Environ, start_response: _StartResponse) -> Iterable[bytes]:
        """The WSGI application."""
        answer = self._answer(environ)
        start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", answer.headers)
        return [answer.body]

    def _answer(self, environ: _Environ) -> Answer:
        try:
            channel = self._rules.channel(environ.get("PATH_INFO", ""))
            body = self._read(environ, channel)
        except Refusal as refusal:
            return refusal.answer()
        headers = {
            name[len("HTTP_") :].replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")
        }
        return self.receive(channel, headers, body)

    def _read(self, environ: _Environ, channel: str) -> bytes:
        """Reads the body, never more of it than is allowed."""
        kind, encoding = environ.get("CONTENT_TYPE", ""), environ.get("HTTP_CONTENT_ENCODING", "")
        self._rules.check_request(channel, environ.get("REQUEST_METHOD", ""), kind, encoding)
        declared, terminated = environ.get("CONTENT_LENGTH") or "", bool(environ.get("wsgi.input_terminated"))
        length = self._rules.length(declared, terminated)
        body: bytes = environ["wsgi.input"].read(self._rules.max_body + 1 if length is None else length)
        if length is not None and len(body) < length:
            raise Refusal(400, "broken", "the message broke off")
        return body


def _signature(
    rules: Rules,
    hosts: Optional[Collection[str]],
    roots: Optional[bytes],
    timeout: float,
    max_age: timedelta,
    now: Callable[[], datetime],
) -> Callable[[Mapping[str, str], bytes], bool]:
    try:
        from ..core.receiver.webhook import Signatures
        from .certificates import Certificates
        from .webhook import Signature
    except ImportError as error:
        raise ImportError(WITHOUT_CRYPTOGRAPHY) from error
    signatures = Signatures(rules.webhook_ids, rules.sandbox, max_age, now, threading.Lock())
    return Signature(signatures, Certificates(hosts, roots, timeout)).verify


def mount(application: Application, prefix: str, receiver: Application) -> Application:
    """A WSGI application that gives paths below the prefix, such as "/paypal", to the
    receiver, and all others to the application.
    """
    prefix = "/" + prefix.strip("/")

    def mounted(environ: _Environ, start_response: _StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if not path.startswith(prefix + "/"):
            return application(environ, start_response)
        inner = {**environ, "SCRIPT_NAME": environ.get("SCRIPT_NAME", "") + prefix, "PATH_INFO": path[len(prefix) :]}
        return receiver(inner, start_response)

    return mounted

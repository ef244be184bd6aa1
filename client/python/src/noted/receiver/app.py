"""The WSGI application, and the settings of it all."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta, timezone
from http import HTTPStatus
from typing import Any, Callable, Collection, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from ..client import Client
from ..paypal import MalformedError, identify_ipn, identify_webhook
from .ipn import PostBack, receiver_is
from .refusal import Refusal, again
from .work import Process, Undecided, Work

log = logging.getLogger("noted.receiver")

Environ = Dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

# What a 503 says. PayPal has its own schedule; it is for whoever else may ask.
_RETRY_AFTER = "30"

_CONTENT_TYPES = {"ipn": "application/x-www-form-urlencoded", "webhook": "application/json"}


class Answer(NamedTuple):
    """What PayPal is answered. It wants nothing but the status; a person reads the rest."""

    status: int
    headers: List[Tuple[str, str]]
    body: bytes


class Receiver:
    """Takes PayPal's messages. Any number of threads and processes may run one; they behave as
    one, since what is whose is Noted's to say.

    client              a noted.Client
    process             called once for each donation, with a Delivery; where it raises, PayPal is
    told to come again undecided           called with a Delivery and the Error for what Noted
    cannot decide, such as a donation older than its notes; PayPal is answered 200 then, so
                        keep it for a person
    ledger              the book that the donations belong to; empty is a ledger too
    sandbox_ledger      the book that PayPal's tests belong to; None refuses them
    accounts            the receiver ids and e-mail addresses that are ours; an IPN to another is
    refused. Empty: there is no path for IPNs. webhook_id          what PayPal's dashboard shows
    for the webhook; the signature covers it. Empty: there is no path for webhooks.
    sandbox_webhook_id  the same of the sandbox's dashboard ipn_path            where PayPal posts
    IPNs to, below where the application is mounted webhook_path        and where webhooks
    max_body            how many bytes a message may have verify_timeout      seconds that PayPal
    may take to answer one question: the post-back of an IPN, a certificate with its issuers
    webhook_max_age     how old a transmission may be: PayPal redelivers for three days
    ipn_verify_url      where an IPN is posted back to, over https or on this machine, instead of
    PayPal's, or of its sandbox's for an IPN with test_ipn cert_hosts          the hosts that a
    certificate may be fetched from, as host or host:port, instead of PayPal's cert_roots
    PEM certificates: one of them, instead of one of this machine's, must have issued PayPal's, or
    the issuer between now                 the clock that ages are judged by
    """

    def __init__(
        self,
        client: Client,
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
        if isinstance(accounts, str):
            raise ValueError("accounts is one string; give a list of them")
        if sandbox_webhook_id and sandbox_ledger is None:
            raise ValueError("sandbox_webhook_id is given and sandbox_ledger is not: tests would have no ledger")
        if sandbox_ledger is not None and sandbox_ledger == ledger:
            raise ValueError("ledger and sandbox_ledger are one: tests would count as donations")
        if not accounts and not webhook_id and not sandbox_webhook_id:
            raise ValueError("neither accounts nor webhook_id is given: there would be nothing to receive")
        self._ledger, self._sandbox_ledger, self._max_body = ledger, sandbox_ledger, max_body
        self._accounts = {account.strip().lower() for account in accounts}
        self._work = Work(client, process, undecided)
        self._paths: Dict[str, str] = {}  # path → channel
        self._verify: Dict[
            str, Callable[[Mapping[str, str], bytes], bool]
        ] = {}  # channel → what verifies it, and says whether it is a test
        sandbox = sandbox_ledger is not None
        if accounts:
            post_back = PostBack(ipn_verify_url, sandbox, verify_timeout)
            self._paths[ipn_path] = "ipn"
            self._verify["ipn"] = lambda headers, body: post_back.verify(body)
        if webhook_id or sandbox_webhook_id:
            ids = [(id, test) for id, test in ((webhook_id, False), (sandbox_webhook_id, True)) if id]
            self._paths[webhook_path] = "webhook"
            self._verify["webhook"] = _signature(
                ids, sandbox, cert_hosts, cert_roots, verify_timeout, webhook_max_age, now
            )

    def receive(self, channel: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Takes one message of the channel "ipn" or "webhook": the headers as they came, and the
        body's very bytes. It refuses what the WSGI application does,
        but a message without a Content-Type; a framework that reads bodies should bound them
        itself.
        """
        try:
            self._take(channel, {name.lower(): value for name, value in headers.items()}, body)
        except Refusal as refusal:
            log.warning("%s refused with %d, %s: %s", channel, refusal.status, refusal.reason, refusal.text)
            return _answer(refusal)
        except Exception:
            log.exception("%s: a fault of the receiver's own", channel)
            return _answer(again("internal", "something went wrong here"))
        return Answer(200, [("Content-Type", "text/plain"), ("Content-Length", "0")], b"")

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """The WSGI application."""
        answer = self._answer(environ)
        start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", answer.headers)
        return [answer.body]

    def _answer(self, environ: Environ) -> Answer:
        channel = self._paths.get(environ.get("PATH_INFO", ""))
        if channel is None:
            paths = " and ".join(self._paths)
            return _answer(Refusal(404, "not_found", f"there is nothing at this path; PayPal posts to {paths}"))
        try:
            body = self._read(environ, channel)
        except Refusal as refusal:
            answer = _answer(refusal)
            return answer._replace(headers=[*answer.headers, ("Allow", "POST")]) if refusal.status == 405 else answer
        headers = {
            name[len("HTTP_") :].replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")
        }
        return self.receive(channel, headers, body)

    def _read(self, environ: Environ, channel: str) -> bytes:
        """Takes the body, and no more of it than is allowed."""
        if environ.get("REQUEST_METHOD") != "POST":
            raise Refusal(405, "method", "only POST is taken here")
        _check_kind(channel, environ.get("CONTENT_TYPE", ""), environ.get("HTTP_CONTENT_ENCODING", ""))
        length = environ.get("CONTENT_LENGTH") or ""
        if length.isdigit():
            self._check_size(int(length))
            body: bytes = environ["wsgi.input"].read(int(length))
            if len(body) < int(length):
                raise Refusal(400, "broken", "the message broke off")
        elif environ.get("wsgi.input_terminated"):
            body = environ["wsgi.input"].read(self._max_body + 1)
        else:
            raise Refusal(411, "length", "the message must have a Content-Length")
        return body

    def _check_size(self, length: int) -> None:
        if length > self._max_body:
            raise Refusal(413, "too_large", f"the message has more than {self._max_body} bytes")

    def _take(self, channel: str, headers: Mapping[str, str], body: bytes) -> None:
        if channel not in self._verify:
            raise Refusal(404, "not_found", f"{channel} is not received here")
        _check_kind(channel, headers.get("content-type", _CONTENT_TYPES[channel]), headers.get("content-encoding", ""))
        self._check_size(len(body))
        if not body:
            raise Refusal(400, "malformed", "the body is empty")
        test = self._verify[channel](headers, body)
        try:
            identified = identify_ipn(body) if channel == "ipn" else identify_webhook(body)
        except MalformedError as error:
            raise Refusal(400, "malformed", str(error)) from error
        for warning in identified.warnings:
            log.warning("%s %s: %s", channel, identified.type, warning)
        # The signature of a webhook covers the id of ours: PayPal sends it nothing of
        # another account.
        ours = receiver_is(body, self._accounts) if channel == "ipn" else True
        if ours is False:
            raise Refusal(403, "foreign", "the message is about an account that is not ours")
        ledger = self._sandbox_ledger if test else self._ledger
        assert ledger is not None, "the verifiers refuse tests where there is no ledger for them"
        self._work.do(identified.in_ledger(ledger), body, test, ours)


def _check_kind(channel: str, content_type: str, encoding: str) -> None:
    if content_type.partition(";")[0].strip().lower() != _CONTENT_TYPES[channel]:
        raise Refusal(415, "content_type", f"the Content-Type must be {_CONTENT_TYPES[channel]}")
    if encoding:
        raise Refusal(415, "content_type", "a Content-Encoding is not taken: the bytes are verified as they come")


def _signature(
    ids: List[Tuple[str, bool]],
    sandbox: bool,
    hosts: Optional[Collection[str]],
    roots: Optional[bytes],
    timeout: float,
    max_age: timedelta,
    now: Callable[[], datetime],
) -> Callable[[Mapping[str, str], bytes], bool]:
    try:
        from .certificates import HOSTS, Certificates
        from .webhook import Signature
    except ImportError as error:
        raise ImportError(
            "verifying webhooks needs the package cryptography, 42 or later: install it, or install this library "
            "from a checkout of its repository with pip install './client/python[receiver]'"
        ) from error
    return Signature(ids, sandbox, Certificates(hosts or HOSTS, roots, timeout), max_age, now).verify


def _answer(refusal: Refusal) -> Answer:
    body = json.dumps({"error": refusal.text, "reason": refusal.reason}).encode() + b"\n"
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    if refusal.status == 503:
        headers.append(("Retry-After", _RETRY_AFTER))
    return Answer(refusal.status, headers, body)


def mount(application: Application, prefix: str, receiver: Application) -> Application:
    """A WSGI application that is the receiver below the prefix, such as "/paypal", and the other
    one elsewhere.
    """
    prefix = "/" + prefix.strip("/")

    def mounted(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if not path.startswith(prefix + "/"):
            return application(environ, start_response)
        inner = {**environ, "SCRIPT_NAME": environ.get("SCRIPT_NAME", "") + prefix, "PATH_INFO": path[len(prefix) :]}
        return receiver(inner, start_response)

    return mounted

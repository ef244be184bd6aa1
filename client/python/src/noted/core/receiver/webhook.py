"""Verifying a webhook: PayPal signs its id, its time, our webhook id and the body's
checksum.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections import OrderedDict
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any, Callable, ContextManager, Mapping, NamedTuple, Sequence, Tuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ...paypal.times import parse_time
from .answer import Refusal, no_sandbox
from .certificates import untrusted

_AHEAD = timedelta(minutes=5)  # how far PayPal's clock may be ahead of ours


class Transmission(NamedTuple):
    """PayPal's headers of one delivery of a webhook."""

    id: str
    time: str  # as PayPal wrote it, because the signature covers the text
    at: datetime
    signature: bytes
    cert_url: str


class Transmissions:
    """Remembers the body of each verified transmission, and refuses another body under its
    id.

    The signature covers only the CRC-32 of a body, so a stranger who holds one delivery can
    make another body that passes. Only verified transmissions are remembered, so strangers
    can neither fill the memory nor keep a genuine message out. Each process has its own
    memory. A full memory drops its oldest transmission. guard is held during each change.
    """

    def __init__(self, most: int = 100_000, guard: ContextManager[Any] = nullcontext()) -> None:
        self._most, self._guard = most, guard
        # id → the SHA-256 of the body, and until when the transmission may be taken
        self._known: "OrderedDict[str, Tuple[bytes, datetime]]" = OrderedDict()

    def admit(self, id: str, body: bytes, until: datetime, now: datetime) -> None:
        digest = hashlib.sha256(body).digest()
        with self._guard:
            while self._known and next(iter(self._known.values()))[1] < now:
                self._known.popitem(last=False)
            before = self._known.get(id)
            if before is not None and before[0] != digest and before[1] >= now:
                raise Refusal(
                    400,
                    "other_body",
                    "another body came under this transmission id before, so one of the two is forged; "
                    "compare what was processed with the event in PayPal's dashboard",
                )
            if before is None and len(self._known) >= self._most:
                self._known.popitem(last=False)
            if before is None or before[1] < until:  # PayPal signed it again
                self._known[id] = digest, until


class Signatures:
    """Reads the headers of webhooks and checks their signatures."""

    def __init__(
        self,
        webhook_ids: Sequence[Tuple[str, bool]],
        sandbox: bool,
        max_age: timedelta,
        now: Callable[[], datetime],
        guard: ContextManager[Any] = nullcontext(),
    ) -> None:
        self._webhook_ids = webhook_ids  # each with whether it is the sandbox's
        self._sandbox = sandbox  # whether tests are taken
        self._max_age, self._now = max_age, now
        self._transmissions = Transmissions(guard=guard)

    def read(self, headers: Mapping[str, str]) -> Transmission:
        """Reads the headers of a delivery. Their names are in lower case.

        Only a checksum binds the body to the signature, so a forger could make another body
        for an old transmission. Old transmissions are therefore refused. PayPal repeats
        a delivery for three days, and those are young enough.
        """
        values = {}
        for name in ("transmission-id", "transmission-time", "transmission-sig", "cert-url", "auth-algo"):
            values[name] = headers.get("paypal-" + name, "").strip()
            if not 1 <= len(values[name]) <= 1024 or not values[name].isascii():
                raise _headers(f"the header PAYPAL-{name.upper()} must be there: this is no webhook of PayPal's")
        # A bar could shift the parts of the signed text.
        if "|" in values["transmission-id"]:
            raise _headers("the transmission id holds a |")
        parsed = parse_time(values["transmission-time"])
        if parsed is None:
            raise _headers("the transmission time cannot be read")
        at = parsed[0]
        age = self._now() - at
        if age > self._max_age:
            raise Refusal(400, "too_old", f"the transmission is older than {self._max_age}")
        if age < -_AHEAD:
            raise Refusal(400, "too_new", "the transmission time is in the future; compare the clocks")
        if values["auth-algo"].lower() != "sha256withrsa":
            raise _headers("the signature algorithm is not SHA256withRSA")
        try:
            signature = base64.b64decode(values["transmission-sig"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise _not_signed() from error
        id, time, cert_url = values["transmission-id"], values["transmission-time"], values["cert-url"]
        return Transmission(id, time, at, signature, cert_url)

    def check(self, sent: Transmission, body: bytes, certificate: x509.Certificate, test: bool) -> bool:
        """Reports whether PayPal sent this as a test. Raises a Refusal if PayPal did not
        send it. test says whether the certificate is the sandbox's.
        """
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size < 2048:
            raise untrusted()
        for webhook_id, sandbox in self._webhook_ids:
            signed = f"{sent.id}|{sent.time}|{webhook_id}|{zlib.crc32(body)}".encode()
            try:
                key.verify(sent.signature, signed, padding.PKCS1v15(), hashes.SHA256())
            except InvalidSignature:
                continue
            if (test or sandbox) and not self._sandbox:
                raise no_sandbox()
            self._transmissions.admit(sent.id, body, sent.at + self._max_age, self._now())
            return test or sandbox
        raise _not_signed()


def _headers(text: str) -> Refusal:
    return Refusal(400, "headers", text)


def _not_signed() -> Refusal:
    """It does not say which part was wrong, because a forger need not know."""
    return Refusal(
        400,
        "invalid",
        "the signature is not PayPal's over this body for this webhook; compare the webhook id with PayPal's dashboard",
    )

"""Verifying a webhook: PayPal's signature over id, time, our webhook id and the checksum of the
body.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections import OrderedDict
from datetime import datetime, timedelta
from threading import Lock
from typing import Callable, Mapping, NamedTuple, Sequence, Tuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ..paypal.times import parse_time
from .certificates import Certificates, untrusted
from .refusal import Refusal, no_sandbox

_AHEAD = timedelta(minutes=5)  # how far PayPal's clock may be ahead of ours


class Transmission(NamedTuple):
    """What PayPal's headers say of one delivery of a webhook."""

    id: str
    time: str  # as it was written: the signature covers the text
    at: datetime
    signature: str  # base64
    cert_url: str
    algorithm: str


class Transmissions:
    """Remembers with which body each verified transmission came, and refuses another body under
    its id.

    The signature covers no more of a body than its CRC-32, so whoever holds one delivery can make
    another body that passes. Only what is verified is remembered, so strangers can neither fill
    the memory nor keep a genuine message out. Each process remembers its own; where the memory is
    full, it drops the one that came first.
    """

    def __init__(self, most: int = 100_000) -> None:
        self._most, self._lock = most, Lock()
        # id → the SHA-256 of the body, and until when the transmission may be taken
        self._known: "OrderedDict[str, Tuple[bytes, datetime]]" = OrderedDict()

    def admit(self, id: str, body: bytes, until: datetime, now: datetime) -> None:
        digest = hashlib.sha256(body).digest()
        with self._lock:
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
            if before is None or before[1] < until:  # signed anew
                self._known[id] = digest, until


class Signature:
    def __init__(
        self,
        webhook_ids: Sequence[Tuple[str, bool]],
        sandbox: bool,
        certificates: Certificates,
        max_age: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        self._webhook_ids = webhook_ids  # each with whether it is the sandbox's
        self._sandbox = sandbox  # whether tests are taken
        self._certificates, self._max_age, self._now = certificates, max_age, now
        self._transmissions = Transmissions()

    def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether PayPal has sent this as a test; raises a Refusal where it has not sent it. The
        headers' names are in lower case.
        """
        sent = self._read(headers)
        if sent.algorithm.lower() != "sha256withrsa":
            raise _headers("the signature algorithm is not SHA256withRSA")
        try:
            signature = base64.b64decode(sent.signature, validate=True)
        except (binascii.Error, ValueError) as error:
            raise _not_signed() from error
        # As of the time of sending: a certificate may end between a transmission and its
        # redelivery.
        certificate, test = self._certificates.trusted(sent.cert_url, sent.at)
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size < 2048:
            raise untrusted()
        for webhook_id, sandbox in self._webhook_ids:
            signed = f"{sent.id}|{sent.time}|{webhook_id}|{zlib.crc32(body)}".encode()
            try:
                key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
            except InvalidSignature:
                continue
            if (test or sandbox) and not self._sandbox:
                raise no_sandbox()
            self._transmissions.admit(sent.id, body, sent.at + self._max_age, self._now())
            return test or sandbox
        raise _not_signed()

    def _read(self, headers: Mapping[str, str]) -> Transmission:
        """Reads the headers of a delivery, which must be one of the last days: only a checksum
        binds the body to the signature, so an old transmission
        could be made to carry another body. What PayPal sends again within its three days is
        young enough.
        """
        values = {}
        for name in ("transmission-id", "transmission-time", "transmission-sig", "cert-url", "auth-algo"):
            values[name] = headers.get("paypal-" + name, "").strip()
            if not 1 <= len(values[name]) <= 1024 or not values[name].isascii():
                raise _headers(f"the header PAYPAL-{name.upper()} must be there: this is no webhook of PayPal's")
        # A bar could shift the parts of the text that is signed.
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
            raise Refusal(400, "too_new", "the transmission time lies ahead; compare the clocks")
        return Transmission(
            values["transmission-id"],
            values["transmission-time"],
            at,
            values["transmission-sig"],
            values["cert-url"],
            values["auth-algo"],
        )


def _headers(text: str) -> Refusal:
    return Refusal(400, "headers", text)


def _not_signed() -> Refusal:
    """It does not say which part was wrong: whoever tries to forge one need not know."""
    return Refusal(
        400,
        "invalid",
        "the signature is not PayPal's over this body for this webhook; compare the webhook id with PayPal's dashboard",
    )

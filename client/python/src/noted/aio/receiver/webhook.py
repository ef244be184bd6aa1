"""Verifies a webhook: fetches the certificate that PayPal signed it with."""

from __future__ import annotations

from typing import Mapping

from ...core.receiver.webhook import Signatures
from .certificates import Certificates


class Signature:
    def __init__(self, signatures: Signatures, certificates: Certificates) -> None:
        self._signatures, self._certificates = signatures, certificates

    async def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Reports whether PayPal sent this as a test. Raises a Refusal if PayPal did not
        send it. The headers' names are in lower case.
        """
        sent = self._signatures.read(headers)
        # The certificate is judged as of the time of sending: it may end between a
        # transmission and its redelivery.
        certificate, test = await self._certificates.trusted(sent.cert_url, sent.at)
        return self._signatures.check(sent, body, certificate, test)

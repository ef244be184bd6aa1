"""Fetches and keeps the certificates that PayPal signs webhooks with."""

from __future__ import annotations

import asyncio
import ssl
import time
from datetime import datetime
from typing import Collection, Dict, Optional, Tuple

from cryptography import x509

from ...core.receiver import certificates
from ...core.receiver.certificates import Chain
from ...core.receiver.web import Reply, Unanswered
from ...fetch import fetch


class Certificates:
    """The certificates of PayPal, for one event loop."""

    def __init__(self, hosts: Optional[Collection[str]], roots: Optional[bytes], timeout: float) -> None:
        self._timeout = timeout
        # The host of the certificates may also be trusted by this machine's list: roots may
        # name only an issuer.
        self._context = ssl.create_default_context()
        if roots is None:
            known = certificates.read_roots(self._context.get_ca_certs(binary_form=True))
        else:
            known = x509.load_pem_x509_certificates(roots)
            self._context.load_verify_locations(cadata=roots.decode("ascii"))
        self._rules = certificates.Rules(hosts or certificates.HOSTS, known)
        self._kept = certificates.Kept()
        self._under_way: Dict[str, asyncio.Task[Chain]] = {}  # address → the fetch that brings its chain

    async def trusted(self, url: str, at: datetime) -> Tuple[x509.Certificate, bool]:
        """The certificate at a URL, if PayPal may serve it there and it is PayPal's at that
        time. The second value says whether it is the sandbox's.
        """
        address = self._rules.address(url)
        chain = self._kept.get(address)
        if chain is None or (not self._rules.trusts(chain, at) and self._may_renew(address)):
            chain = await self._fetch(address, at)
        return chain[0], self._rules.is_test(chain, at)

    def _may_renew(self, address: str) -> bool:
        return self._kept.may_renew(address, address in self._under_way, time.monotonic())

    async def _fetch(self, address: str, at: datetime) -> Chain:
        """Fetches a chain once for all messages that wait for it. They share a failure too.
        It is not kept, so the next message tries again. The end of one message's task does
        not end the fetch.
        """
        task = self._under_way.get(address)
        if task is None:
            if len(self._under_way) >= certificates.MOST_FETCHED:
                raise certificates.too_many()
            task = self._under_way[address] = asyncio.ensure_future(self._download(address, at))
            task.add_done_callback(lambda _: self._under_way.pop(address))
        return await asyncio.shield(task)

    async def _download(self, address: str, at: datetime) -> Chain:
        """Fetches a chain and the issuers that it lacks, all within the timeout."""
        until = time.monotonic() + self._timeout
        chain = certificates.read_chain(await self._ask(address, self._timeout, ""))
        for _ in range(certificates.MOST_BETWEEN):
            missing = self._rules.missing(chain, at)
            if missing is None:
                break
            issuer = certificates.read_issuer(await self._ask(missing, until - time.monotonic(), "its issuer's: "))
            if issuer is None:
                break
            chain = [*chain, issuer]
        if self._rules.trusts(chain, at):
            self._kept.keep(address, chain)
        return chain

    async def _ask(self, url: str, timeout: float, whose: str) -> Reply:
        loop, arguments = asyncio.get_running_loop(), (url, timeout, certificates.MOST_BYTES, self._context)
        try:
            return await loop.run_in_executor(None, fetch, *arguments)
        except Unanswered as error:
            raise certificates.unknown(f"{whose}{error}") from error

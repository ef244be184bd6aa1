"""Fetches and keeps the certificates that PayPal signs webhooks with."""

from __future__ import annotations

import ssl
import threading
import time
from concurrent.futures import Future
from datetime import datetime
from typing import Collection, Dict, Optional, Tuple

from cryptography import x509

from ..core.receiver import certificates
from ..core.receiver.certificates import Chain
from ..core.receiver.web import Reply, Unanswered
from ..fetch import fetch


class Certificates:
    """The certificates of PayPal. Any number of threads may use them."""

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
        self._lock = threading.Lock()
        self._kept = certificates.Kept()
        self._under_way: Dict[str, Future[Chain]] = {}  # address → the chain that its fetch brings

    def trusted(self, url: str, at: datetime) -> Tuple[x509.Certificate, bool]:
        """The certificate at a URL, if PayPal may serve it there and it is PayPal's at that
        time. The second value says whether it is the sandbox's.
        """
        address = self._rules.address(url)
        chain = self._kept.get(address)
        if chain is None or (not self._rules.trusts(chain, at) and self._may_renew(address)):
            chain = self._fetch(address, at, chain)
        return chain[0], self._rules.is_test(chain, at)

    def _may_renew(self, address: str) -> bool:
        with self._lock:
            return self._kept.may_renew(address, address in self._under_way, time.monotonic())

    def _fetch(self, address: str, at: datetime, ended: Optional[Chain]) -> Chain:
        """Fetches a chain once for all messages that wait for it. They share a failure too.
        It is not kept, so the next message tries again.
        """
        with self._lock:
            kept = self._kept.get(address)
            if kept is not None and kept is not ended:
                return kept
            others = self._under_way.get(address)
            if others is None:
                if len(self._under_way) >= certificates.MOST_FETCHED:
                    raise certificates.too_many()
                mine = self._under_way[address] = Future()
        if others is not None:
            return others.result()
        try:
            chain = self._download(address, at)
            trusted = self._rules.trusts(chain, at)
        except BaseException as error:
            with self._lock:
                del self._under_way[address]
            # An exception that ends this thread must not end the waiting threads.
            mine.set_exception(error if isinstance(error, Exception) else certificates.unknown("it was broken off"))
            raise
        with self._lock:
            del self._under_way[address]
            if trusted:
                self._kept.keep(address, chain)
        mine.set_result(chain)
        return chain

    def _download(self, address: str, at: datetime) -> Chain:
        """Fetches a chain and the issuers that it lacks, all within the timeout."""
        until = time.monotonic() + self._timeout
        chain = certificates.read_chain(self._ask(address, self._timeout, ""))
        for _ in range(certificates.MOST_BETWEEN):
            missing = self._rules.missing(chain, at)
            if missing is None:
                break
            issuer = certificates.read_issuer(self._ask(missing, until - time.monotonic(), "its issuer's: "))
            if issuer is None:
                break
            chain = [*chain, issuer]
        return chain

    def _ask(self, url: str, timeout: float, whose: str) -> Reply:
        try:
            return fetch(url, timeout, certificates.MOST_BYTES, self._context)
        except Unanswered as error:
            raise certificates.unknown(f"{whose}{error}") from error

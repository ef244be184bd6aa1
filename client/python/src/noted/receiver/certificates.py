"""The certificates that PayPal signs webhooks with: fetched, judged and kept."""

from __future__ import annotations

import re
import ssl
import threading
import time
import warnings
from concurrent.futures import Future
from datetime import datetime, timezone
from typing import Callable, Collection, Dict, List, Optional, Tuple

from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import AuthorityInformationAccessOID

from .refusal import Refusal, again
from .web import Unanswered, fetch

HOSTS = ("api.paypal.com", "api-m.paypal.com", "api.sandbox.paypal.com", "api-m.sandbox.paypal.com")

# The names in PayPal's certificates: for donations, and for tests of the sandbox.
_NAME, _NAME_SANDBOX = "messageverificationcerts.paypal.com", "messageverificationcerts.sandbox.paypal.com"

_MOST_KEPT = 16  # PayPal uses one or two at a time; only trusted ones are kept, each under one address, so nobody else can fill this
_MOST_FETCHED = 8  # at a time; forged messages can cause no more
_MOST_BYTES = 64 << 10
_MOST_BETWEEN = 3  # issuers that are fetched for one certificate
_RENEW_EVERY = 60.0  # seconds before one that has ended, and still had when it was fetched again, is fetched once more

# What PayPal's certificates are called.
_PATH = re.compile(r"/v1/notifications/certs/[A-Za-z0-9_-]+")

Chain = List[x509.Certificate]


def untrusted() -> Refusal:
    return Refusal(400, "certificate", "the certificate is not PayPal's, or not of this time")


class Certificates:
    """Name, chain and dates are judged at every use, so a kept one ends with its dates; then it
    is fetched again, since PayPal may have renewed it where it is.
    """

    def __init__(self, hosts: Collection[str], roots: Optional[bytes], timeout: float) -> None:
        self._hosts = {_bare(host) for host in hosts}
        self._timeout = timeout
        # The host that serves certificates is known by this machine's list too: roots may
        # name no more than an issuer between.
        self._context = ssl.create_default_context()
        if roots is None:
            known = [known for known in map(_read, self._context.get_ca_certs(binary_form=True)) if known is not None]
            if not known:
                raise ValueError(
                    "this machine has no list of certificate authorities that Python finds; give one as cert_roots"
                )
        else:
            known = x509.load_pem_x509_certificates(roots)
            self._context.load_verify_locations(cadata=roots.decode("ascii"))
        self._store = verification.Store(known)
        self._lock = threading.Lock()
        self._kept: Dict[str, Chain] = {}  # address → chain, the leaf first
        self._renewed: Dict[str, float] = {}  # address of a kept one that has ended → when it was last fetched again
        self._under: Dict[str, Future[Chain]] = {}  # address → what will come of the fetch under way

    def trusted(self, url: str, at: datetime) -> Tuple[x509.Certificate, bool]:
        """The certificate at a URL, if PayPal may serve it there and it is PayPal's at that time;
        and whether it is the sandbox's.
        """
        address = self._address(url)
        if address is None:
            raise Refusal(400, "certificate", "the certificate's URL is not one of PayPal's")
        kept = self._kept.get(address)
        if kept is not None and (self._is_trusted(kept, at) or not self._may_renew(address)):
            return kept[0], self._judge(kept, at)
        chain = self._fetch(address, at, kept)
        return chain[0], self._judge(chain, at)

    def _may_renew(self, address: str) -> bool:
        with self._lock:
            now = time.monotonic()
            if address not in self._under and now - self._renewed.get(address, -_RENEW_EVERY) < _RENEW_EVERY:
                return False
            self._renewed[address] = now
            return True

    def _fetch(self, url: str, at: datetime, ended: Optional[Chain]) -> Chain:
        """Fetches a chain, once for all who wait for it. A trouble is theirs too, and is not
        kept: the next message tries again.
        """
        with self._lock:
            if self._kept.get(url) is not ended:
                return self._kept[url]
            under = self._under.get(url)
            if under is None:
                if len(self._under) >= _MOST_FETCHED:
                    raise again("verifier", "too many certificates are fetched at once")
                mine = self._under[url] = Future()
        if under is not None:
            return under.result()
        try:
            chain = self._download(url, at)
            trusted = self._is_trusted(chain, at)
        except BaseException as error:
            with self._lock:
                del self._under[url]
            # What ends this thread is not to end those of the others.
            mine.set_exception(error if isinstance(error, Exception) else _unknown("it was broken off"))
            raise
        with self._lock:
            del self._under[url]
            if trusted:
                self._kept.pop(url, None)
                self._renewed.pop(url, None)
                while len(self._kept) >= _MOST_KEPT:
                    oldest = next(iter(self._kept))
                    del self._kept[oldest]
                    self._renewed.pop(oldest, None)
                self._kept[url] = chain
        mine.set_result(chain)
        return chain

    def _address(self, url: str) -> Optional[str]:
        """The one spelling of a certificate's URL: https, a host of the list in lower case, a
        path that PayPal's have. All else is refused, since the URL is in a
        header that nobody has verified: a query, or a host in capitals, would make a new
        certificate of a kept one as often as a stranger likes.
        """
        if any(c <= " " or c >= "\x7f" for c in url) or not url.startswith("https://"):
            return None
        host, slash, path = url[len("https://") :].partition("/")
        host = _bare(host)
        if host not in self._hosts or not _PATH.fullmatch(slash + path):
            return None
        return f"https://{host}{slash}{path}"

    def _judge(self, chain: Chain, at: datetime) -> bool:
        """Checks chain, name and dates, and says whether it is the sandbox's."""
        builder = verification.PolicyBuilder().store(self._store).time(at.astimezone(timezone.utc).replace(tzinfo=None))
        for name in (_NAME, _NAME_SANDBOX):
            try:
                builder.build_server_verifier(x509.DNSName(name)).verify(chain[0], chain[1:])
                return name == _NAME_SANDBOX
            except (verification.VerificationError, ValueError):  # the second for what no rule foresees
                continue
        raise untrusted()

    def _is_trusted(self, chain: Chain, at: datetime) -> bool:
        try:
            self._judge(chain, at)
        except Refusal:
            return False
        return True

    def _download(self, url: str, at: datetime) -> Chain:
        """What the host says for good is a refusal for good; else PayPal comes again."""
        until = time.monotonic() + self._timeout
        try:
            reply = fetch(url, self._timeout, _MOST_BYTES, self._context)
        except Unanswered as error:
            raise _unknown(str(error)) from error
        if reply.status in (400, 404, 410):
            raise untrusted()
        if reply.status != 200:
            raise _unknown(f"the host answered {reply.status}")
        try:
            chain = x509.load_pem_x509_certificates(reply.body)
        except ValueError as error:
            raise _unknown("the host answered something else") from error
        return self._complete(chain, at, until)

    def _complete(self, chain: Chain, at: datetime, until: float) -> Chain:
        """Fetches the issuers that PayPal's host leaves out, from where the certificate says that
        they lie. They come over plain http, as is usual: the judging
        trusts none of them that a root has not issued."""
        for _ in range(_MOST_BETWEEN):
            if self._is_trusted(chain, at):
                break
            issuer = self._fetch_issuer(chain[-1], until)
            if issuer is None:
                break
            chain = [*chain, issuer]
        return chain

    def _fetch_issuer(self, certificate: x509.Certificate, until: float) -> Optional[x509.Certificate]:
        try:
            access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
            url = next(
                d.access_location.value
                for d in access
                if d.access_method == AuthorityInformationAccessOID.CA_ISSUERS
                and isinstance(d.access_location, x509.UniformResourceIdentifier)
            )
        except (x509.ExtensionNotFound, StopIteration, ValueError):
            return None
        if not url.startswith(("http://", "https://")):
            return None
        try:
            reply = fetch(url, until - time.monotonic(), _MOST_BYTES, self._context)
        except Unanswered as error:
            raise _unknown(f"its issuer's is not to be had: {error}") from error
        if reply.status != 200:
            raise _unknown(f"its issuer's host answered {reply.status}")
        load: Tuple[Callable[[bytes], x509.Certificate], ...] = (
            x509.load_der_x509_certificate,
            x509.load_pem_x509_certificate,
        )
        for read in load:
            try:
                return read(reply.body)
            except ValueError:
                continue
        return None


def _bare(host: str) -> str:
    host = host.strip().lower()
    return host[: -len(":443")] if host.endswith(":443") else host


def _read(der: bytes) -> Optional[x509.Certificate]:
    """Old authorities break the rules of today, and one of them must not take all others away,
    nor alarm anybody.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return x509.load_der_x509_certificate(der)
        except ValueError:
            return None


def _unknown(why: str) -> Refusal:
    return again("verifier", f"PayPal's certificate could not be fetched ({why})")

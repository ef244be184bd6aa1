"""The certificates that PayPal signs webhooks with: which are fetched, trusted and kept."""

from __future__ import annotations

import re
import warnings
from datetime import datetime, timezone
from typing import Callable, Collection, Dict, Iterable, List, Optional, Tuple

from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import AuthorityInformationAccessOID

from .answer import Refusal, again
from .web import Reply

HOSTS = ("api.paypal.com", "api-m.paypal.com", "api.sandbox.paypal.com", "api-m.sandbox.paypal.com")

MOST_FETCHED = 8  # at a time; forged messages cannot cause more
MOST_BYTES = 64 << 10
MOST_BETWEEN = 3  # issuers that are fetched for one certificate

# The names in PayPal's certificates: for donations, and for tests of the sandbox.
_NAME, _NAME_SANDBOX = "messageverificationcerts.paypal.com", "messageverificationcerts.sandbox.paypal.com"

# PayPal uses one or two certificates at a time. Only trusted ones are kept, each under one
# address, so a stranger cannot fill this.
_MOST_KEPT = 16

# Seconds between two fetches of a certificate that has ended.
_RENEW_EVERY = 60.0

# The path of a certificate at PayPal.
_PATH = re.compile(r"/v1/notifications/certs/[A-Za-z0-9_-]+")

Chain = List[x509.Certificate]  # the leaf first


class Rules:
    """Judges addresses and chains. It judges name, chain and dates at every use, so a kept
    certificate ends with its dates.
    """

    def __init__(self, hosts: Collection[str], roots: List[x509.Certificate]) -> None:
        self._hosts = {_bare(host) for host in hosts}
        self._store = verification.Store(roots)

    def address(self, url: str) -> str:
        """The only spelling of a certificate's URL: https, a host of the list in lower
        case, a path of PayPal's form. Other spellings are refused. The URL is in an
        unverified header, and a query or a host in capitals would cause a fetch for each
        spelling.
        """
        host, slash, path = url[len("https://") :].partition("/")
        host = _bare(host)
        spaced = any(c <= " " or c >= "\x7f" for c in url)
        if spaced or not url.startswith("https://") or host not in self._hosts or not _PATH.fullmatch(slash + path):
            raise Refusal(400, "certificate", "the certificate's URL is not one of PayPal's")
        return f"https://{host}{slash}{path}"

    def is_test(self, chain: Chain, at: datetime) -> bool:
        """Checks chain, name and dates, and reports whether the certificate is the
        sandbox's.
        """
        builder = verification.PolicyBuilder().store(self._store).time(at.astimezone(timezone.utc).replace(tzinfo=None))
        for name in (_NAME, _NAME_SANDBOX):
            try:
                builder.build_server_verifier(x509.DNSName(name)).verify(chain[0], chain[1:])
                return name == _NAME_SANDBOX
            except (verification.VerificationError, ValueError):  # ValueError for unforeseen contents
                continue
        raise untrusted()

    def trusts(self, chain: Chain, at: datetime) -> bool:
        try:
            self.is_test(chain, at)
        except Refusal:
            return False
        return True

    def missing(self, chain: Chain, at: datetime) -> Optional[str]:
        """The URL of the issuer that the chain lacks, or None. PayPal's host leaves issuers
        out, and a certificate says where its issuer is. Most often that is plain http: is_test
        trusts only issuers that a root has issued.
        """
        if self.trusts(chain, at):
            return None
        try:
            access = chain[-1].extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
            url = next(
                d.access_location.value
                for d in access
                if d.access_method == AuthorityInformationAccessOID.CA_ISSUERS
                and isinstance(d.access_location, x509.UniformResourceIdentifier)
            )
        except (x509.ExtensionNotFound, StopIteration, ValueError):
            return None
        return url if url.startswith(("http://", "https://")) else None


class Kept:
    """The chains that are kept, by address. A half guards it where threads share it."""

    def __init__(self) -> None:
        self._chains: Dict[str, Chain] = {}
        self._renewed: Dict[str, float] = {}  # address → when an ended chain was last fetched again

    def get(self, address: str) -> Optional[Chain]:
        return self._chains.get(address)

    def may_renew(self, address: str, under_way: bool, now: float) -> bool:
        """Reports whether an ended chain is fetched again, because PayPal may have renewed
        it at its address. A message joins a fetch that is under way.
        """
        if not under_way and now - self._renewed.get(address, -_RENEW_EVERY) < _RENEW_EVERY:
            return False
        self._renewed[address] = now
        return True

    def keep(self, address: str, chain: Chain) -> None:
        self._drop(address)
        while len(self._chains) >= _MOST_KEPT:
            self._drop(next(iter(self._chains)))
        self._chains[address] = chain

    def _drop(self, address: str) -> None:
        self._chains.pop(address, None)
        self._renewed.pop(address, None)


def read_roots(ders: Iterable[bytes]) -> List[x509.Certificate]:
    """This machine's authorities. Some break today's rules. They are left out quietly, so
    that the others remain.
    """
    roots: List[x509.Certificate] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for der in ders:
            try:
                roots.append(x509.load_der_x509_certificate(der))
            except ValueError:
                continue
    if not roots:
        raise ValueError(
            "this machine has no list of certificate authorities that Python finds; give one as cert_roots"
        )
    return roots


def read_chain(reply: Reply) -> Chain:
    """The chain in the reply of PayPal's host. A permanent status is a permanent refusal.
    After all other failures PayPal comes again.
    """
    if reply.status in (400, 404, 410):
        raise untrusted()
    if reply.status != 200:
        raise unknown(f"the host answered {reply.status}")
    try:
        return x509.load_pem_x509_certificates(reply.body)
    except ValueError as error:
        raise unknown("the host answered something else") from error


def read_issuer(reply: Reply) -> Optional[x509.Certificate]:
    """The certificate in the reply of an issuer's host. None if the reply is something
    else.
    """
    if reply.status != 200:
        raise unknown(f"its issuer's host answered {reply.status}")
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


def untrusted() -> Refusal:
    return Refusal(400, "certificate", "the certificate is not PayPal's, or not valid at this time")


def unknown(why: str) -> Refusal:
    return again("verifier", f"PayPal's certificate could not be fetched ({why})")


def too_many() -> Refusal:
    return again("verifier", "too many certificates are fetched at once")


def _bare(host: str) -> str:
    host = host.strip().lower()
    return host[: -len(":443")] if host.endswith(":443") else host

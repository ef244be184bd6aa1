"""How to reach a server, for both clients: TLS or not, the token, and the settings of the
connection.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from typing import Any, Callable, List, Optional, Sequence, Tuple, Union

import grpc

from ._calls import Seconds, seconds
from ._retry import Budget

Token = Union[str, Callable[[], str]]
Options = Sequence[Tuple[str, Any]]

MAX_HOLD = 15 * 60.0  # of the contract

_OPTIONS: List[Tuple[str, Any]] = [
    ("grpc.enable_retries", 0),
    # Nobody's DNS can turn other retries on.
    ("grpc.service_config_disable_resolution", 1),
    # A page of a thousand notes of sixteen sightings is larger than gRPC's 4 MiB.
    ("grpc.max_receive_message_length", 16 << 20),
    # A server that restarts is found again within the retries of a call; gRPC's own first
    # wait is a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 5000),
    # A connection that a router has forgotten is noticed before the next call has to wait
    # for it. The server tolerates a ping every 10 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]


class Settings:
    def __init__(
        self,
        target: str,
        timeout: Seconds,
        hold: Seconds,
        settle_timeout: Seconds,
        ca: Optional[bytes],
        credentials: Optional[grpc.ChannelCredentials],
        plaintext: bool,
        token: Optional[Token],
        options: Options,
    ) -> None:
        self.target = target
        self.timeout, self.hold, self.settle_timeout = seconds(timeout), hold_of_once(hold), seconds(settle_timeout)
        if self.timeout <= 0 or self.settle_timeout <= 0:
            raise ValueError("timeout and settle_timeout must be more than 0 s")
        encrypt = ca is not None or credentials is not None
        if ca is not None and credentials is not None:
            raise ValueError("ca and credentials are both given: which of them?")
        if ca is not None and b"-----BEGIN CERTIFICATE-----" not in ca:
            raise ValueError("ca holds no PEM certificate; give the content of the file, as bytes")
        if plaintext and encrypt:
            raise ValueError("plaintext is given beside ca or credentials: which of them?")
        if plaintext and token and not loopback(target):
            raise ValueError("a token is not sent in plaintext over a network: use TLS")
        self.credentials: Optional[grpc.ChannelCredentials] = credentials  # None for plaintext
        if credentials is None and not plaintext and (ca is not None or not loopback(target)):
            self.credentials = grpc.ssl_channel_credentials(ca or _system_certificates())
        # gRPC takes a proxy from the environment for this machine too, which could then
        # read what is sent in plaintext, and forge the answers.
        direct: Options = [("grpc.enable_http_proxy", 0)] if loopback(target) else []
        self.options: List[Tuple[str, Any]] = [*_OPTIONS, *direct, *options]
        self.budget = Budget()
        self._token = token

    def metadata(self) -> Tuple[Tuple[str, str], ...]:
        """What each call carries. The token is not a gRPC call credential, since those cannot be
        used on this machine without TLS.
        """
        try:
            token = self._token() if callable(self._token) else self._token
        except Exception as error:
            raise _NoToken(f"the token is not to be had: {type(error).__name__}: {error}") from error
        return (("authorization", "Bearer " + token),) if token else ()


class _NoToken(grpc.RpcError):
    """The function that returns the token has raised. It is told as a server that is away is,
    since another try may cure it.
    """

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return str(self)

    def trailing_metadata(self) -> Tuple[Any, ...]:
        return ()


def hold_of_once(hold: Seconds) -> float:
    """The seconds of a hold that can be settled. One of 0 would note finally and bring no
    receipt: the donation would be a duplicate from then on, and
    nobody would have processed it."""
    length = seconds(hold)
    if not 0.001 <= length <= MAX_HOLD:
        raise ValueError(f"a hold of {length} s: it must be between 0.001 s and 15 minutes")
    return length


def _system_certificates() -> Optional[bytes]:
    """This machine's certificates, which hold a private authority where its operator has added
    one; None for gRPC's own list.
    """
    path = ssl.get_default_verify_paths().cafile
    if path and os.path.isfile(path):
        with open(path, "rb") as file:
            return file.read()
    return None


def loopback(target: str) -> bool:
    """Whether target surely is on this machine. A form that it does not know is not."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    address = target[len("dns:///") :] if target.startswith("dns:///") else target
    host, colon, port = address.rpartition(":")
    if not colon or "]" in port or (":" in host and not host.startswith("[")):
        host = address
    return this_machine(host[1:-1] if host.startswith("[") and host.endswith("]") else host)


def this_machine(host: str) -> bool:
    """Whether a host's name or address surely is this machine's."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""The settings of a client: their checks, the choice of TLS, and the metadata of each call."""

from __future__ import annotations

from typing import Any, Callable, List, Optional, Sequence, Tuple, Union

from ..errors import Unavailable
from ..types import Seconds
from .address import loopback
from .calls import seconds
from .retry import Budget

Token = Union[str, Callable[[], str]]
Options = Sequence[Tuple[str, Any]]

MAX_HOLD = 15 * 60.0  # the contract's limit, in seconds

_OPTIONS: List[Tuple[str, Any]] = [
    ("grpc.enable_retries", 0),
    # DNS must not turn gRPC's own retries on.
    ("grpc.service_config_disable_resolution", 1),
    # A page of 1,000 notes with 16 sightings each is larger than gRPC's 4 MiB.
    ("grpc.max_receive_message_length", 16 << 20),
    # gRPC first waits a second before it reconnects. A shorter wait finds a restarted
    # server within the retries of one call.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 5000),
    # Pings find a connection that a router has dropped before a call has to wait for it.
    # The server tolerates a ping every 10 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]


class Settings:
    """The arguments of a Client, checked."""

    def __init__(
        self,
        target: str,
        timeout: Seconds,
        hold: Seconds,
        settle_timeout: Seconds,
        ca: Optional[bytes],
        credentials: Any,  # grpc.ChannelCredentials or None
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
        self.ca, self.credentials = ca, credentials
        self.tls = encrypt or not plaintext and not loopback(target)
        # gRPC uses the environment's proxy for this machine too. The proxy could read
        # plaintext and forge the answers.
        direct: Options = [("grpc.enable_http_proxy", 0)] if loopback(target) else []
        self.options: List[Tuple[str, Any]] = [*_OPTIONS, *direct, *options]
        self.budget = Budget()
        self._token = token

    def metadata(self, act: str) -> Tuple[Tuple[str, str], ...]:
        """The metadata of one call. The token is not a gRPC call credential, because those
        need TLS even on this machine. A token function that raises makes the call
        Unavailable, because another try may succeed.
        """
        try:
            token = self._token() if callable(self._token) else self._token
        except Exception as error:
            problem = f"the token function raised {type(error).__name__}: {error}"
            raise Unavailable(act, problem, "UNAVAILABLE") from error
        return (("authorization", "Bearer " + token),) if token else ()


def hold_of_once(hold: Seconds) -> float:
    """The seconds of a hold, checked. A hold of 0 would note finally and bring no receipt:
    the donation would be a duplicate from then on, although no receiver has processed it.
    """
    length = seconds(hold)
    if not 0.001 <= length <= MAX_HOLD:
        raise ValueError(f"a hold of {length} s: it must be between 0.001 s and 15 minutes")
    return length

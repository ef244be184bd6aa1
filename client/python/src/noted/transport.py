"""gRPC as both halves use it: the credentials of a channel, and forks."""

from __future__ import annotations

import os
import ssl
from typing import Optional

import grpc

from .core.settings import Settings
from .errors import Error

_FORKED = (
    "this process was forked from a process that had used gRPC, and a call here would hang; "
    "make the first call after the fork"
)


class Process:
    """The use of gRPC by one process. A forked process finds the state of the moment of the
    fork. There is no lock, because a lock that another thread holds at the fork would stay
    locked in the new process.

    gRPC's own support of forks (GRPC_ENABLE_FORK_SUPPORT) makes no difference. It does not
    survive a call that is under way at the fork, and old versions hang with it too.
    """

    def __init__(self, hangs: bool = False) -> None:
        self._pid = os.getpid()
        self._hangs = hangs  # gRPC does not work here
        self._used = False  # gRPC has started its threads

    def current(self) -> Process:
        """This process, or a new one after a fork."""
        return self if self._pid == os.getpid() else Process(self._hangs or self._used)

    def check(self, act: str) -> None:
        """Raises an Error if a call would hang."""
        if self._hangs:
            raise Error(act, _FORKED)

    def use(self) -> None:
        """Takes note that a channel is made."""
        self._used = True


_process = Process()


def process(act: str) -> Process:
    """This process. Raises an Error if gRPC does not work in it."""
    global _process
    _process = _process.current()
    _process.check(act)
    return _process


def credentials(settings: Settings) -> Optional[grpc.ChannelCredentials]:
    """The credentials of a channel, or None for plaintext."""
    if not settings.tls:
        return None
    given: Optional[grpc.ChannelCredentials] = settings.credentials
    return given or grpc.ssl_channel_credentials(settings.ca or _system_certificates())


def _system_certificates() -> Optional[bytes]:
    """This machine's certificates, which include a private authority that its operator
    added. None stands for gRPC's own list.
    """
    path = ssl.get_default_verify_paths().cafile
    if path and os.path.isfile(path):
        with open(path, "rb") as file:
            return file.read()
    return None

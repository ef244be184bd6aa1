"""gRPC as both halves use it: the credentials of a channel."""

from __future__ import annotations

import os
import ssl
from typing import Optional

import grpc

from .core.settings import Settings


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

"""Whether a target or a host is this machine."""

from __future__ import annotations

import ipaddress


def loopback(target: str) -> bool:
    """Reports whether a gRPC target is certainly on this machine. An unknown form is not."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    address = target[len("dns:///") :] if target.startswith("dns:///") else target
    host, colon, port = address.rpartition(":")
    if not colon or "]" in port or (":" in host and not host.startswith("[")):
        host = address
    return this_machine(host[1:-1] if host.startswith("[") and host.endswith("]") else host)


def this_machine(host: str) -> bool:
    """Reports whether a host's name or address is certainly this machine's."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""Prints the donations of a PayPal message, without a server: `python3 -m noted.identify
ipn|webhook < body`.

It prints a line of JSON for each donation, or {"skipped":"why"}: the same bytes as `notectl
identify`. Warnings go to standard error. After a message that it cannot read, it prints one
sentence there and exits with 1. It does not verify that PayPal sent the message.
"""

from __future__ import annotations

import sys
from typing import BinaryIO, Sequence, TextIO

from .paypal import MalformedError, identify_ipn, identify_webhook

_MAX_BODY = 4 << 20  # far more than the bodies of PayPal


def run(args: Sequence[str], stdin: BinaryIO, stdout: BinaryIO, stderr: TextIO) -> int:
    identify = {"ipn": identify_ipn, "webhook": identify_webhook}.get(args[0] if len(args) == 1 else "")
    if identify is None:
        print("noted.identify: name the kind of message: python3 -m noted.identify ipn|webhook < body", file=stderr)
        return 2
    body = stdin.read(_MAX_BODY + 1)
    if len(body) > _MAX_BODY:
        print(f"noted.identify: reading the message: it is longer than {_MAX_BODY} bytes", file=stderr)
        return 1
    try:
        identified = identify(body)
    except MalformedError as error:
        print(f"noted.identify: identifying the message: {error}", file=stderr)
        return 1
    for warning in identified.warnings:
        print(f"noted.identify: warning: {warning}", file=stderr)
    if identified.unknown:
        print(f"noted.identify: warning: {identified.skipped}; it may have been a donation: look at it", file=stderr)
    stdout.write(identified.lines().encode())
    stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], sys.stdin.buffer, sys.stdout.buffer, sys.stderr))

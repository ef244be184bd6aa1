"""Times once() and an empty call: once.py ADDRESS CALLS. It prints their times in seconds, as two lists in JSON."""
from __future__ import annotations

import json
import secrets
import sys
import time
from typing import Callable, List

import grpc

import noted

address, calls = sys.argv[1], int(sys.argv[2])


def times(call: Callable[[], object]) -> List[float]:
    taken = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return taken


def once() -> None:
    with client.once(noted.Donation(secrets.token_hex(8), "figures")) as turn:
        assert turn.first


with noted.Client(address) as client, grpc.insecure_channel(address) as channel:
    empty = channel.unary_unary("/grpc.health.v1.Health/Check")
    print(json.dumps([times(lambda: empty(b"")), times(once)]))

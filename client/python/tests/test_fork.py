"""Processes that fork: a call works in them, or it raises at once."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import pytest

# A program whose child makes a call and prints the outcome. The call's timeout or the test's
# ends a call that hangs.
PROGRAM = """
import asyncio, os, sys, threading
import noted, noted.aio
target, series, before = sys.argv[1:]
client = noted.Client(target)

def call(which):
    try:
        print(which, client.exists(noted.Donation(series), timeout=20), flush=True)
    except noted.Error as error:
        print(which, error, flush=True)

if before == "a call":
    call("parent")
if before == "a call under way":
    entered = threading.Event()
    def stay():
        for result in client.notes([noted.NoteRequest(noted.Donation(series + "y"))]):
            entered.set()  # the stream is open
            threading.Event().wait()
    threading.Thread(target=stay, daemon=True).start()
    entered.wait()
if before == "asyncio":
    async def look():
        async with noted.aio.Client(target) as other:
            await other.exists(noted.Donation(series))
    asyncio.run(look())
child = os.fork()
if not child:
    call("child")
    os._exit(0)  # a normal exit may hang or crash in the oldest gRPC
os.waitpid(child, 0)
call("parent")
"""

REFUSED = "forked from a process that had used gRPC"


@pytest.mark.parametrize("support", ["0", "1"])
@pytest.mark.parametrize(
    "before, works", [("nothing", True), ("a call", False), ("a call under way", False), ("asyncio", False)]
)
def test_a_call_after_a_fork(address: str, support: str, before: str, works: bool) -> None:
    """A client from before the fork works, unless the parent used gRPC. support turns on
    gRPC's own support of forks.
    """
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, address, "I-" + uuid.uuid4().hex, before],
        env={**os.environ, "GRPC_ENABLE_FORK_SUPPORT": support},
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = [line.partition(" ") for line in ran.stdout.splitlines()]
    (child,) = [text for which, _, text in said if which == "child"]
    assert ("Existence(exists=False" in child) == works, ran.stderr
    assert (REFUSED in child) == (not works)
    assert all("Existence(" in text for which, _, text in said if which == "parent")

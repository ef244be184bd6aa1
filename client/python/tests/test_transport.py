"""TLS, plaintext and the token."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, List

import grpc
import pytest

import noted
from noted.core.address import loopback

from .authority import Authority
from .proxy import Proxy


@pytest.mark.parametrize(
    "target, here",
    [
        ("127.0.0.1:50051", True), ("127.1.2.3:1", True), ("localhost:50051", True), ("[::1]:50051", True), ("::1", True), ("unix:/run/noted", True),
        ("dns:///127.0.0.1:50051", True), ("dns:///localhost:1", True),
        ("10.0.0.1:50051", False), ("noted.internal:50051", False), ("localhost.example.org:1", False), ("127.0.0.1.example.org:1", False),
        ("[2001:db8::1]:1", False), ("dns://127.0.0.1/example.org:1", False), ("ipv4:127.0.0.1:1", False), ("", False),
    ],
)  # fmt: skip
def test_loopback(target: str, here: bool) -> None:
    assert loopback(target) == here


@pytest.mark.parametrize(
    "target, settings, problem",
    [
        ("10.0.0.1:1", {"plaintext": True, "token": "t"}, "token"),
        ("10.0.0.1:1", {"plaintext": True, "ca": b"-----BEGIN CERTIFICATE-----"}, "which of them"),
        ("127.0.0.1:1", {"ca": b"no"}, "PEM"),
        ("127.0.0.1:1", {"hold": 901}, "hold"),
        ("127.0.0.1:1", {"timeout": 0}, "timeout"),
    ],
)
def test_settings_that_cannot_be(target: str, settings: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        noted.Client(target, **settings)


def test_nothing_on_this_machine_goes_through_a_proxy(address: str, donation: noted.Donation) -> None:
    """gRPC uses a proxy of the environment even for 127.0.0.1. In plaintext the proxy could
    read the token and forge answers.
    """
    program = """
import asyncio, sys, noted, noted.aio
target, donation = sys.argv[1], noted.Donation(sys.argv[2])
with noted.Client(target, token="secret") as client:
    print(client.note(donation, timeout=3).verdict)
async def look():
    async with noted.aio.Client(target, token="secret") as client:
        print((await client.note(donation, timeout=3)).verdict)
asyncio.run(look())
"""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        for name in ("grpc_proxy", "http_proxy", "https_proxy"):
            environment[name] = "http://127.0.0.1:%d" % proxy.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-c", program, address, donation.series_id],
            env=environment,
            capture_output=True,
            text=True,
        )
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()
    assert done.stdout == "FIRST\nDUPLICATE\n", done.stderr


def test_tls(address: str, donation: noted.Donation, tmp_path: Path) -> None:
    ours, theirs = Authority("Ours"), Authority("Theirs")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ours.files(tmp_path, "localhost"))
    context.set_alpn_protocols(["h2"])
    proxy = Proxy(address, context)
    target = f"localhost:{proxy.port}"
    with noted.Client(target, ca=ours.pem, token="secret") as client:
        assert client.note(donation).verdict == noted.Verdict.FIRST
    for wrong in (
        noted.Client(target, ca=theirs.pem),
        noted.Client(target),  # plaintext
        noted.Client(target, credentials=grpc.ssl_channel_credentials()),
        noted.Client(f"dns:///127.0.0.1:{proxy.port}", ca=ours.pem),  # the certificate has another name
    ):
        with wrong, pytest.raises(noted.Unavailable):
            wrong.note(donation, timeout=1)
    proxy.close()


def test_the_token_is_sent_and_renewed(donation: noted.Donation) -> None:
    seen: List[str] = []

    class Recorder(grpc.GenericRpcHandler):
        """Keeps the metadata of a call: the server of these tests asks for no token."""

        def service(self, call: Any) -> None:
            seen.append(dict(call.invocation_metadata).get("authorization", ""))

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Recorder()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    tokens = iter(["one", "two"])
    with noted.Client(f"127.0.0.1:{port}", token=lambda: next(tokens)) as client:
        for _ in range(2):
            with pytest.raises(noted.Error, match="UNIMPLEMENTED"):
                client.exists(donation)
    server.stop(None)
    assert seen == ["Bearer one", "Bearer two"]

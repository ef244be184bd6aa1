from __future__ import annotations

import os
import re
import subprocess
import time
import uuid
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

# Some versions of gRPC write a line to standard error at every fork, and so do the programs
# that the tests start.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import noted  # noqa: E402

from .peer import Peer
from .places import ROOT
from .proxy import Proxy


def _built(tmp_path_factory: pytest.TempPathFactory, package: str) -> Path:
    """A program of the repository: built now, or taken from the folder NOTED_TEST_BIN."""
    if "NOTED_TEST_BIN" in os.environ:
        return Path(os.environ["NOTED_TEST_BIN"], package.rsplit("/", 1)[-1])
    program = tmp_path_factory.mktemp("bin") / package.rsplit("/", 1)[-1]
    subprocess.run(["go", "build", "-o", str(program), package], cwd=ROOT, check=True)
    return program


@pytest.fixture(scope="session")
def notectl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _built(tmp_path_factory, "./client/cmd/notectl")


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Starts the real server with the given flags and returns its address."""
    program = _built(tmp_path_factory, "./server/cmd/noted")
    running: List["subprocess.Popen[bytes]"] = []

    def start(*flags: str) -> str:
        log = tmp_path_factory.mktemp("log") / "noted.log"
        with log.open("wb") as file:
            server = subprocess.Popen(
                [program, "-listen", "127.0.0.1:0", "-http-listen", "off", "-admin-listen", "off", *flags],
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        running.append(server)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            text = log.read_text()
            found = re.search(r"serving\b.*?(127\.0\.0\.1:\d+)", text)
            if found:
                return found.group(1)
            assert server.poll() is None, f"the server ended:\n{text}"
            time.sleep(0.02)
        raise AssertionError(f"the server does not say where it listens:\n{text}")

    yield start
    for server in running:
        server.terminate()
    for server in running:
        server.wait(10)


@pytest.fixture(scope="session")
def address(start: Callable[..., str]) -> str:
    """A server that all tests share. Each test uses its own series. The ledger "dark" is in
    shadow.
    """
    return start("-dev", "-shadow-ledgers", "dark")


@pytest.fixture
def client(address: str) -> Iterator[noted.Client]:
    with noted.Client(address) as client:
        yield client


@pytest.fixture
def proxy(address: str) -> Iterator[Proxy]:
    proxy = Proxy(address)
    yield proxy
    proxy.close()


@pytest.fixture
def peer(address: str) -> Iterator[Peer]:
    peer = Peer(address)
    yield peer
    peer.close()


@pytest.fixture
def far(peer: Peer) -> Iterator[noted.Client]:
    with noted.Client(peer.address, settle_timeout=0.4) as far:
        yield far


@pytest.fixture
def donation() -> noted.Donation:
    return noted.Donation("I-" + uuid.uuid4().hex)


def until(what: Callable[[], object], seconds: float = 10) -> None:
    """Polls until the condition is true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "the condition has stayed false"
        time.sleep(0.02)

"""Servers that fork their workers after they have loaded the program: a client that is made
with the program works in each worker.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Iterator, List, Set

import pytest
from celery import Celery  # type: ignore[import-untyped]

from .conftest import until

Run = Callable[..., Path]

TURN = """
import os
import noted

client = noted.Client(os.environ["NOTED"])

def turn(series):
    with client.once(noted.Donation(series)) as turn:
        return f"{os.getpid()} {turn.verdict.name}"
"""

WSGI = """
def application(environ, start_response):
    answer = turn(environ["PATH_INFO"])
    start_response("200 OK", [])
    return [answer.encode()]
"""

TASKS = """
from celery import Celery

app = Celery(broker=os.environ["BROKER"], backend=os.environ["BROKER"])

@app.task(name="turn")
def task(series):
    return turn(series)
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts a program in the test's folder, and returns the file of what it prints."""
    running: List["subprocess.Popen[bytes]"] = []

    def run(*command: str, **environment: str) -> Path:
        log = tmp_path / f"log-{len(running)}"
        with log.open("wb") as file:
            running.append(
                subprocess.Popen(
                    command, cwd=tmp_path, env={**os.environ, **environment}, stdout=file, stderr=subprocess.STDOUT
                )
            )
        return log

    yield run
    for program in reversed(running):
        program.terminate()
        program.wait(60)


def check(ask: Callable[[List[str]], List[str]]) -> None:
    """Asks about eight donations at a time, twice each, until two workers have answered.

    Questions that come one after another may all be answered by one worker.
    """
    workers: Set[str] = set()

    def answered_by_two() -> bool:
        donations = ["I-" + uuid.uuid4().hex for _ in range(8)]
        for want in ("FIRST", "DUPLICATE"):
            for answer in ask(donations):
                worker, verdict = answer.split()
                assert verdict == want
                workers.add(worker)
        return len(workers) > 1

    until(answered_by_two, 60)


def test_under_uwsgi(address: str, tmp_path: Path, run: Run) -> None:
    (tmp_path / "receiving.py").write_text(TURN + WSGI)
    at = f"127.0.0.1:{free_port()}"
    uwsgi = str(Path(sys.executable).with_name("uwsgi"))
    log = run(
        *(uwsgi, "--master", "--processes", "3", "--enable-threads", "--die-on-term", "--http-socket", at),
        *("--wsgi-file", "receiving.py", "--virtualenv", sys.prefix),
        NOTED=address,
    )
    until(lambda: "spawned uWSGI worker 3" in log.read_text(), 60)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(series: str) -> str:
        with opener.open(f"http://{at}/{series}", timeout=60) as answer:
            return str(answer.read().decode())

    with ThreadPoolExecutor(8) as threads:
        check(lambda donations: list(threads.map(ask, donations)))


def test_under_celery(address: str, tmp_path: Path, run: Run) -> None:
    (tmp_path / "receiving.py").write_text(TURN + TASKS)
    port = free_port()
    broker = f"redis://127.0.0.1:{port}"
    redis = run("redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "")
    until(lambda: "Ready to accept connections" in redis.read_text(), 60)
    log = run(
        *(
            sys.executable,
            "-m",
            "celery",
            "-A",
            "receiving",
            "worker",
            "--pool",
            "prefork",
            "--concurrency",
            "2",
            "--loglevel",
            "INFO",
        ),
        NOTED=address,
        BROKER=broker,
    )
    until(lambda: re.search(r"celery@\S+ ready", log.read_text()), 60)
    app = Celery(broker=broker, backend=broker)

    def ask(donations: List[str]) -> List[str]:
        sent = [app.send_task("turn", [series]) for series in donations]
        return [str(task.get(timeout=60)) for task in sent]

    check(ask)
    app.close()

"""Every snippet of the README is run."""
from __future__ import annotations

import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

import noted

from .places import PROJECT, ROOT

README = (PROJECT / "README.md").read_text()


def snippets(language: str) -> List[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def run(snippet: str, address: str, **names: Any) -> Dict[str, Any]:
    assert "127.0.0.1:50051" in snippet
    exec(compile(snippet.replace("127.0.0.1:50051", address), "README.md", "exec"), names)
    return names


def ipn(series: str, more: str = "") -> bytes:
    return f"txn_type=recurring_payment&payment_status=Completed&recurring_payment_id={series}&txn_id=T1{more}".encode()


def test_there_are_no_others() -> None:
    assert len(snippets("python")) == 3 and len(snippets("sh")) == 2 and README.count("```") == 10


def test_twenty_lines(address: str, client: noted.Client) -> None:
    booked: List[str] = []
    told: List[noted.Error] = []

    def book(donation_id: str, donation: noted.Donation) -> None:
        if donation.amount == "13.00":
            raise ZeroDivisionError
        booked.append(donation_id)

    receive: Callable[[bytes], int] = run(snippets("python")[0], address, book=book, tell_a_person=told.append)["receive"]
    series = "I-" + uuid.uuid4().hex
    assert [receive(ipn(series)) for _ in range(2)] == [200, 200] and len(booked) == 1
    assert receive(b"") == 400
    held = "I-" + uuid.uuid4().hex
    client.note(noted.Donation(held, "paypal-live"), hold=60)
    assert receive(ipn(held)) == 503
    assert receive(ipn(series + "-old", "&payment_date=09:05:01 Mar 08, 2021 PST")) == 200
    assert [type(error) for error in told] == [noted.OccurredTooEarly]
    with pytest.raises(ZeroDivisionError):
        receive(ipn(series + "-bad", "&mc_gross=13.00&mc_currency=EUR"))
    assert len(booked) == 1
    away: Callable[[bytes], int] = run(snippets("python")[0], "127.0.0.1:1", book=book, tell_a_person=told.append)["receive"]
    assert away(ipn(series)) == 503


def test_a_receiver(address: str) -> None:
    def start_response(status: str, headers: Any) -> None:
        said.append(status)

    said: List[str] = []
    names = run(snippets("python")[1], address, book=None, tell_a_person=None, application=lambda environ, start: [b"Django's"])
    assert list(names["application"]({"PATH_INFO": "/"}, start_response)) == [b"Django's"]
    for path in ("/paypal/ipn", "/paypal/webhook"):
        names["application"]({"PATH_INFO": path, "REQUEST_METHOD": "GET"}, start_response)
    assert said == ["405 Method Not Allowed"] * 2


def test_the_rest(address: str, client: noted.Client, capsys: pytest.CaptureFixture[str]) -> None:
    donation = noted.Donation("I-" + uuid.uuid4().hex, "paypal-live")
    client.release(client.note(donation, hold=60).receipt)
    run(snippets("python")[2], address)
    assert f"{donation.series_id} 1\n" in capsys.readouterr().out


def test_install(tmp_path: Path) -> None:
    """From a copy of the checkout, so that nothing is left behind in this one."""
    (line, server) = snippets("sh")[0].splitlines()
    command, _, alternative = line.partition("#")
    assert command.split() == ["pip", "install", "./client/python"] and "'./client/python[receiver]'" in alternative
    assert server.split("#")[0].split() == ["go", "run", "./server/cmd/noted", "-dev"]  # which is what the other tests talk to
    leave = shutil.ignore_patterns(".*", "tests", "build", "*.egg-info", "__pycache__")
    shutil.copytree(PROJECT, tmp_path / "client/python", ignore=leave)
    shutil.copytree(ROOT / "gen/python", tmp_path / "gen/python")
    pip = [sys.executable, "-m", *command.split(), "--quiet", "--no-deps", "--no-build-isolation", "--target", str(tmp_path / "site")]
    subprocess.run(pip, cwd=tmp_path, check=True)
    where = "import noted.v1.noted_pb2 as pb; print(pb.__file__)"
    out = subprocess.run([sys.executable, "-c", where], env={"PYTHONPATH": str(tmp_path / "site")}, check=True, capture_output=True, text=True).stdout
    assert out.startswith(str(tmp_path / "site"))


def test_identify(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(ipn("I-1"))
    (line,) = snippets("sh")[1].splitlines()
    out = subprocess.run(line.replace("python3", sys.executable), shell=True, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert out.startswith('{"donation":{"series_id":"I-1","event":"EVENT_PAYMENT"')

"""Runs every snippet of the README."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from fastapi import FastAPI

import noted
from noted.paypal import Pair, identify_ipn

from .peer import Peer
from .places import PROJECT
from .proxy import Proxy
from .reasons import after_processing, before_processing, codes, fail, patience
from .test_aio_receiver import post, served

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
    assert len(snippets("python")) == 7 and len(snippets("sh")) == 2 and README.count("```") == 18


def test_twenty_lines(address: str, client: noted.Client, proxy: Proxy) -> None:
    booked: List[str] = []
    told: List[noted.Error] = []

    def book(donation_id: str, donation: noted.Donation) -> None:
        if donation.amount == "11.00":
            proxy.down()
        if donation.amount == "12.00":
            client.forget(donation.series_id, donation_id, "a test", ledger=donation.ledger)
        if donation.amount == "13.00":
            raise ZeroDivisionError
        booked.append(donation_id)

    names = run(snippets("python")[0], address, book=book, tell_a_person=told.append)
    receive: Callable[[bytes], int] = names["receive"]
    series = "I-" + uuid.uuid4().hex
    assert [receive(ipn(series)) for _ in range(2)] == [200, 200] and len(booked) == 1
    assert receive(b"") == 400
    held = "I-" + uuid.uuid4().hex
    client.note(noted.Donation(held, "paypal-live"), hold=60)
    assert receive(ipn(held)) == 503
    assert receive(ipn(series + "-old", "&payment_date=09:05:01 Mar 08, 2021 PST")) == 200
    assert [type(error) for error in told] == [noted.OccurredTooEarly]
    names["identify_ipn"] = lambda body: dataclasses.replace(
        identify_ipn(body), pairs=(Pair(noted.Donation("an id"), noted.Message()),)
    )
    assert receive(ipn(series)) == 200
    assert [type(error) for error in told] == [noted.OccurredTooEarly, noted.InvalidRequest]
    names["identify_ipn"] = identify_ipn
    with pytest.raises(ZeroDivisionError):
        receive(ipn(series + "-bad", "&mc_gross=13.00&mc_currency=EUR"))
    assert len(booked) == 1
    told.clear()
    assert receive(ipn(series + "-forgotten", "&mc_gross=12.00&mc_currency=EUR")) == 200 and len(booked) == 2
    assert [(type(error), error.reason) for error in told] == [(noted.NotSettled, "NOTE_NOT_FOUND")]
    with noted.Client(proxy.address, settle_timeout=0.5) as names["client"]:
        assert (
            receive(ipn(series + "-cut", "&mc_gross=11.00&mc_currency=EUR")) == 503
            and len(booked) == 3
            and len(told) == 1
        )
    away: Callable[[bytes], int] = run(snippets("python")[0], "127.0.0.1:1", book=book, tell_a_person=told.append)[
        "receive"
    ]
    assert away(ipn(series)) == 503


@pytest.mark.parametrize("reason", [*codes(), "WRONG_ANSWER"])
def test_what_twenty_lines_answer_to_each_reason(address: str, reason: str) -> None:
    """Compares the table with the snippet, before and after the donation is booked."""
    told: List[noted.Error] = []
    booked: List[str] = []
    peer = Peer(address)
    names = run(snippets("python")[0], peer.address, book=lambda id, _: booked.append(id), tell_a_person=told.append)
    receive: Callable[[bytes], int] = names["receive"]
    series = "I-" + uuid.uuid4().hex
    peer.change = fail("NoteDonation", reason)
    assert (receive(ipn(series)), bool(told)) == before_processing(README, reason) and not booked
    told.clear()
    peer.change = fail("SettleDonation", reason)
    expected = after_processing(README, reason)
    with noted.Client(peer.address, settle_timeout=patience(expected)) as names["client"]:
        assert (receive(ipn(series + "-b")), bool(told)) == expected and len(booked) == 1
    peer.close()


def test_a_receiver(address: str) -> None:
    def start_response(status: str, headers: Any) -> None:
        said.append(status)

    said: List[str] = []
    names = run(
        snippets("python")[1], address, book=None, tell_a_person=None, application=lambda environ, start: [b"Django's"]
    )
    assert list(names["application"]({"PATH_INFO": "/"}, start_response)) == [b"Django's"]
    for path in ("/paypal/ipn", "/paypal/webhook"):
        names["application"]({"PATH_INFO": path, "REQUEST_METHOD": "GET"}, start_response)
    assert said == ["405 Method Not Allowed"] * 2


def test_a_receiver_in_django(address: str, tmp_path: Path) -> None:
    receiving = snippets("python")[1].replace("127.0.0.1:50051", address).partition("application =")[0]
    (tmp_path / "receiving.py").write_text(receiving)
    (tmp_path / "wsgi.py").write_text(snippets("python")[2])
    (tmp_path / "mysite").mkdir()
    settings = """SECRET_KEY, ALLOWED_HOSTS, ROOT_URLCONF = "-", ["*"], "mysite.urls"\n"""
    (tmp_path / "mysite/settings.py").write_text(settings)
    (tmp_path / "mysite/urls.py").write_text("urlpatterns = []\n")
    program = """
from wsgiref.util import setup_testing_defaults
from wsgi import application
for path in ("/", "/paypal/ipn", "/paypal/webhook"):
    environ = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    list(application(environ, lambda status, headers, error=None: print(status)))
"""
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert ran.stdout == "404 Not Found\n" + "405 Method Not Allowed\n" * 2, ran.stderr


def test_a_receiver_in_fastapi(address: str) -> None:
    names = run(snippets("python")[3], address, book_delivery=None, keep_for_a_person=None, app=FastAPI())
    with served(names["app"]) as url:
        for path in ("/paypal/ipn", "/paypal/webhook"):
            assert post(url + path, None) == (405, "method")


def test_in_your_tests(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(snippets("python")[4], "README.md", "exec"), {})
    assert capsys.readouterr().out == "FIRST\nDUPLICATE\nSERIES_FULL\n"
    exec(compile(snippets("python")[5], "README.md", "exec"), {})
    assert capsys.readouterr().out == "True\n"


def test_the_rest(address: str, client: noted.Client, capsys: pytest.CaptureFixture[str]) -> None:
    donation = noted.Donation("I-" + uuid.uuid4().hex, "paypal-live")
    client.release(client.note(donation, hold=60).receipt)
    run(snippets("python")[6], address)
    assert f"{donation.series_id} 1\n" in capsys.readouterr().out


def test_install(tmp_path: Path) -> None:
    """From a copy of the checkout, so that the build leaves no files in this one."""
    (line, server) = snippets("sh")[0].splitlines()
    command, _, alternative = line.partition("#")
    assert command.split() == ["pip", "install", "./client/python"] and "'./client/python[receiver]'" in alternative
    assert server.split("#")[0].split() == [
        "go",
        "run",
        "./server/cmd/noted",
        "-dev",
    ]  # the address that the other tests use
    leave = shutil.ignore_patterns(".*", "tests", "build", "*.egg-info", "__pycache__")
    shutil.copytree(PROJECT, tmp_path / "client/python", ignore=leave)
    pip = [
        sys.executable,
        "-m",
        *command.split(),
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(tmp_path / "site"),
    ]
    subprocess.run(pip, cwd=tmp_path, check=True)
    where = "import noted.v1.noted_pb2 as pb; print(pb.__file__)"
    out = subprocess.run(
        [sys.executable, "-c", where],
        env={"PYTHONPATH": str(tmp_path / "site")},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert out.startswith(str(tmp_path / "site"))


def test_install_from_git(tmp_path: Path) -> None:
    """From a repository with this folder in it and nothing else."""
    (command,) = re.findall(r"`(pip install '[^`]*)`", README)
    package, origin = command.split("'")[1], tmp_path / "origin"
    leave = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")
    shutil.copytree(PROJECT, origin / "client/python", ignore=leave)
    git = ["git", "-C", str(origin), "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "test"]):
        subprocess.run([*git, *arguments], check=True)
    github = re.search(r"git\+(https://[^#]*)#", package)
    assert github
    instead = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{origin}.insteadOf",
        "GIT_CONFIG_VALUE_0": github[1],
    }
    pip = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(tmp_path / "site"), package]
    subprocess.run([sys.executable, "-m", "pip", *pip], env={**os.environ, **instead}, cwd=tmp_path, check=True)
    assert (tmp_path / "site/noted/v1/noted_pb2.py").exists()


def test_identify(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(ipn("I-1"))
    (line,) = snippets("sh")[1].splitlines()
    out = subprocess.run(
        line.replace("python3", sys.executable), shell=True, cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    assert out.startswith('{"donation":{"series_id":"I-1","event":"EVENT_PAYMENT"')

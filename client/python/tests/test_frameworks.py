"""The receiver in Flask and Django, under gunicorn, which makes the client before it forks its
workers.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import until
from .paypal_stand import PayPal
from .receiving import ACCOUNT, ipn, paypal, series
from .test_aio_receiver import post

__all__ = ["paypal", "series"]  # fixtures

RECEIVER = """
import os
import noted
from noted.receiver import Receiver, mount

def book(delivery):
    with open(os.environ["BOOKS"], "a") as books:
        print(os.getpid(), delivery.donation.series_id, file=books)

client = noted.Client(os.environ["NOTED"])
receiver = Receiver(client, book, None, accounts=[os.environ["ACCOUNT"]], ipn_verify_url=os.environ["VERIFY"])
"""

FLASK = """
from flask import Flask
application = Flask(__name__)
application.wsgi_app = mount(application.wsgi_app, "/paypal", receiver)
"""

DJANGO = """
import django.conf
from django.core.wsgi import get_wsgi_application
django.conf.settings.configure(SECRET_KEY="-", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)
urlpatterns = []
application = mount(get_wsgi_application(), "/paypal", receiver)
"""


@pytest.mark.parametrize("framework", [FLASK, DJANGO], ids=["flask", "django"])
def test_under_gunicorn(address: str, paypal: PayPal, series: str, framework: str, tmp_path: Path) -> None:
    books, log = tmp_path / "books", tmp_path / "log"
    (tmp_path / "receiving.py").write_text(RECEIVER + framework)
    verify = f"http://127.0.0.1:{paypal.ipn.port}/ipn"
    environment = {**os.environ, "NOTED": address, "BOOKS": str(books), "ACCOUNT": ACCOUNT, "VERIFY": verify}
    command = ["gunicorn", "--preload", "--workers", "3", "--bind", "127.0.0.1:0", "receiving:application"]
    with log.open("wb") as file:
        gunicorn = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=tmp_path, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        until(lambda: re.search(r"Booting worker", log.read_text()), 30)
        (url,) = re.findall(r"Listening at: (\S+)", log.read_text())
        for i in range(6):
            assert post(url + "/paypal/ipn", ipn(f"{series}-{i}")) == (200, ""), log.read_text()
            assert post(url + "/paypal/ipn", ipn(f"{series}-{i}")) == (200, "")
        assert post(url + "/paypal/ipn", b"")[0] == 400
    finally:
        gunicorn.terminate()
        gunicorn.wait(60)
    booked = [line.split() for line in books.read_text().splitlines()]
    assert [told for _, told in booked] == [f"{series}-{i}" for i in range(6)]
    assert str(gunicorn.pid) not in {pid for pid, _ in booked}

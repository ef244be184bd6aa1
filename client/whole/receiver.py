"""The Python receiver in a WSGI server with threads, for the test of the whole system:
receiver.py PORT. It puts donations into the books.
"""
from __future__ import annotations

import json
import os
import sys
import urllib.request
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import noted
from noted.paypal import Identified, Pair
from noted.receiver import Delivery, Receiver, mount


def book(delivery: Delivery) -> None:
    line = Identified(pairs=(Pair(delivery.donation, delivery.message),), nanoseconds=(0,)).lines()
    entry = {**json.loads(line), "body": delivery.body.decode()}
    headers = {"Content-Type": "application/json", "Idempotency-Key": delivery.donation_id}
    request = urllib.request.Request(os.environ["BOOKS"], json.dumps(entry).encode(), headers)
    with urllib.request.urlopen(request, timeout=10):
        pass  # any other status than one of success has raised


def look_at(delivery: Delivery, error: noted.Error) -> None:
    raise RuntimeError(f"there is nothing to be left to a person in this test, and yet: {error}")


def nothing(environ, start_response):
    start_response("404 Not Found", [])
    return [b""]


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class Quiet(WSGIRequestHandler):
    def log_message(self, *_) -> None:
        pass


receiver = Receiver(
    noted.Client(os.environ["NOTED"]),
    book,
    look_at,
    ledger=os.environ["LEDGER"],
    webhook_id=os.environ["WEBHOOK_ID"],
    cert_hosts=[os.environ["CERT_HOST"]],
    cert_roots=Path(os.environ["CERT_ROOTS"]).read_bytes(),
)
make_server("127.0.0.1", int(sys.argv[1]), mount(nothing, "/paypal", receiver), Server, Quiet).serve_forever()

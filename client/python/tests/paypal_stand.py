"""A stand-in of PayPal's own hosts: the post-back of IPNs and the host of certificates. Each
is a real server with real TLS, and the test chooses its answers.
"""

from __future__ import annotations

import base64
import ssl
import threading
import time
import uuid
import zlib
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from .authority import NOW, Authority

NAME = "messageverificationcerts.paypal.com"
WEBHOOK_ID = "8PT597110X687430LKGECATA"


class Web:
    """A web server with a reply for each path, after a pause in seconds. It keeps the paths
    and the posted bodies.
    """

    def __init__(self, tls: Optional[ssl.SSLContext] = None) -> None:
        self.replies: Dict[str, Tuple[int, bytes]] = {}
        self.posted: List[bytes] = []
        self.asked: List[str] = []
        self.pause = 0.0
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                time.sleep(web.pause)
                status, body = web.replies.get(self.path, (404, b""))
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", body.decode())
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                web.posted.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.do_GET()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class PayPal:
    """Posts IPNs and signs webhooks."""

    def __init__(self, folder: Path) -> None:
        self.root = Authority("Root")
        self.between = Authority("Between", self.root)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.root.files(folder, "localhost"))
        self.certificates = Web(context)
        self.plain = Web()
        self.ipn = Web()
        self.ipn.replies["/ipn"] = (200, b"VERIFIED")
        self.issuer_at = f"http://127.0.0.1:{self.plain.port}/between"

    def close(self) -> None:
        for web in (self.certificates, self.plain, self.ipn):
            web.close()

    def certificate(self, name: str = NAME, chain: bool = True, **leaf: Any) -> Tuple[str, rsa.RSAPrivateKey]:
        """Serves a certificate for signing, and returns its URL and its key."""
        pem, key = self.between.leaf(name, **leaf)
        path = "/v1/notifications/certs/CERT-" + uuid.uuid4().hex
        self.certificates.replies[path] = (200, pem + self.between.pem if chain else pem)
        return f"https://localhost:{self.certificates.port}{path}", key


def sign(
    url: str, key: rsa.RSAPrivateKey, body: bytes, at: datetime = NOW, webhook_id: str = WEBHOOK_ID
) -> Dict[str, str]:
    """The headers of a webhook."""
    id, time = str(uuid.uuid4()), at.strftime("%Y-%m-%dT%H:%M:%SZ")
    signature = key.sign(f"{id}|{time}|{webhook_id}|{zlib.crc32(body)}".encode(), padding.PKCS1v15(), hashes.SHA256())
    return {
        "PAYPAL-TRANSMISSION-ID": id,
        "PAYPAL-TRANSMISSION-TIME": time,
        "PAYPAL-TRANSMISSION-SIG": base64.b64encode(signature).decode(),
        "PAYPAL-CERT-URL": url,
        "PAYPAL-AUTH-ALGO": "SHA256withRSA",
    }

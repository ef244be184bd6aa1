"""A TCP proxy before the real server. Like a network, it loses replies, and cuts and refuses
connections.
"""

from __future__ import annotations

import socket
import ssl
import threading
from typing import List, Optional


class Proxy:
    """Passes bytes on until a test changes that. With a TLS context it terminates TLS, as a
    load balancer does.
    """

    def __init__(self, target: str, tls: Optional[ssl.SSLContext] = None) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: List[socket.socket] = []
        self._refusing = False
        self._swallowing = False
        self.swallowed = threading.Event()  # the server has answered since swallow()
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        """From now on drops the server's answers."""
        self.swallowed.clear()
        self._swallowing = True

    def cut(self) -> None:
        """Cuts every connection, and passes new ones on as at first."""
        self._swallowing = False
        with self._lock:
            sockets, self._open = self._open, []
        for s in sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def down(self) -> None:
        self._refusing = True
        self.cut()

    def up(self) -> None:
        self._refusing = False

    def close(self) -> None:
        self.down()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                near.close()
                continue
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        try:
            if self._tls:
                near = self._tls.wrap_socket(near, server_side=True)
            far = socket.create_connection(self._target)
        except OSError:
            near.close()
            return
        with self._lock:
            self._open += [near, far]
        threading.Thread(target=self._pump, args=(near, far, False), daemon=True).start()
        self._pump(far, near, True)

    def _pump(self, source: socket.socket, sink: socket.socket, reply: bool) -> None:
        try:
            while True:
                data = source.recv(1 << 16)
                if not data:
                    break
                if reply and self._swallowing:
                    self.swallowed.set()
                    continue
                sink.sendall(data)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

"""A proxy between client and service that does to connections what a test says.

Plans are taken in the order of connections; those without a plan pass. A connection may carry
several requests.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

#: What becomes of a connection: from client, to service.
Plan = Callable[[socket.socket, socket.socket], None]

_PIECE = 4096


class Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        parts = urlsplit(url)
        self.upstream = (parts.hostname or "", parts.port or 80)
        self.plans: deque[Plan] = deque()
        #: What connections without a plan of their own do.
        self.usual: Plan | None = None
        self.connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_plan(self) -> Plan:
        self.connections += 1
        return self.plans.popleft() if self.plans else self.usual or cut_after(None)


class Handler(socketserver.BaseRequestHandler):
    server: Proxy

    def handle(self) -> None:
        plan = self.server.next_plan()
        with socket.create_connection(self.server.upstream) as upstream, suppress(OSError):
            plan(self.request, upstream)
            # both directions end at once, also where data is on its way
            self.request.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxied(url: str) -> Iterator[Proxy]:
    with Proxy(url) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


def cut_after(most: int | None) -> Plan:
    """Lets so many bytes of the answers pass, then closes. 0: the service does its work, and the
    client hears nothing of it."""

    def plan(client: socket.socket, upstream: socket.socket) -> None:
        upward = threading.Thread(target=_copy, args=(client, upstream), daemon=True)
        upward.start()
        left = most
        while data := upstream.recv(_PIECE):
            if left is not None:
                data, left = data[:left], left - len(data)
            client.sendall(data)
            if left is not None and left <= 0:
                return

    return plan


def answer(text: str) -> Plan:
    """Answers by itself once the request is here, and passes nothing on."""

    def plan(client: socket.socket, upstream: socket.socket) -> None:
        _whole_request(client)
        client.sendall(text.replace("\n", "\r\n").encode())

    return plan


def silence(seconds: float) -> Plan:
    """Takes the request and says nothing for a while."""

    def plan(client: socket.socket, upstream: socket.socket) -> None:
        _whole_request(client)
        threading.Event().wait(seconds)

    return plan


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_PIECE):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def _whole_request(client: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += client.recv(_PIECE)
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        body += client.recv(_PIECE)

"""Bodies over HTTP, so many requests in flight."""

import http.client
import threading
import time
from dataclasses import dataclass

from install import PeerError
from server import LOOPBACK

REQUEST_LIMIT_S = 60.0
ANSWER_CHARS = 500


@dataclass(frozen=True)
class Sent:
    """Seconds from the first request to the last answer, and of each request."""

    seconds: float
    requests: list[float]


class _Pile:
    """Bodies that are left, for all connections together; none any more once one has failed."""

    def __init__(self, bodies: list[bytes]) -> None:
        self._lock = threading.Lock()
        self._left = iter(bodies)
        self._took: list[float] = []
        self._failure: str | None = None

    def next(self) -> bytes | None:
        with self._lock:
            return None if self._failure else next(self._left, None)

    def done(self, seconds: float) -> None:
        with self._lock:
            self._took.append(seconds)

    def fail(self, reason: str) -> None:
        with self._lock:
            self._failure = self._failure or reason

    def times(self) -> list[float]:
        if self._failure:
            raise PeerError(self._failure)
        return sorted(self._took)


def send(port: int, path: str, bodies: list[bytes], in_flight: int) -> Sent:
    """Sends every body once; each must be answered with 2xx."""
    pile = _Pile(bodies)
    connected = threading.Barrier(in_flight + 1)
    threads = [
        threading.Thread(target=_client, args=(port, path, pile, connected))
        for _ in range(in_flight)
    ]
    for thread in threads:
        thread.start()
    connected.wait()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    return Sent(time.perf_counter() - begun, pile.times())


def _client(port: int, path: str, pile: _Pile, connected: threading.Barrier) -> None:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=REQUEST_LIMIT_S)
    try:
        try:
            connection.connect()
        finally:
            connected.wait()
        while (body := pile.next()) is not None:
            begun = time.perf_counter()
            connection.request("POST", path, body, {"content-type": "text/plain"})
            answer = connection.getresponse()
            told = answer.read()
            if not 200 <= answer.status < 300:
                text = told.decode(errors="replace")[:ANSWER_CHARS]
                pile.fail(f"{path} answers {answer.status}: {text}")
            pile.done(time.perf_counter() - begun)
    except (OSError, http.client.HTTPException) as error:
        pile.fail(f"{path} on port {port}: {error!r}")
    finally:
        connection.close()

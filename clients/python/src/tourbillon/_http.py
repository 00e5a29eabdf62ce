"""What both connections share: settings of httpx, and its failures as replies."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import httpx

from ._effects import Broken, Head
from ._requests import Request
from .errors import ConfigError

CONNECT_S = 10.0
#: Connections of one client; a stream of rows or events holds one for as long as it is read.
CONNECTIONS = 64

Failure = (httpx.TransportError, httpx.DecodingError, httpx.StreamError, OSError)
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Address:
    """Where the service is, and how to log in. The token is in no text of this object."""

    def __init__(self, url: str, token: str | None, timeout_s: float, is_compressed: bool) -> None:
        self.url = _checked_url(url)
        if timeout_s <= 0:
            raise ConfigError("timeout_s must be above 0")
        self._token = _checked_token(token)
        self._timeout_s = timeout_s
        self._encodings = "gzip" if is_compressed else "identity"

    def __repr__(self) -> str:
        login = ", token=***" if self._token else ""
        return f"{self.url}{login}"

    def client_arguments(self) -> dict[str, Any]:
        """For `httpx.Client` and `httpx.AsyncClient`. Redirects are not followed: a login goes to
        the address that was given, and nowhere else."""
        headers = {"user-agent": "tourbillon-python", "accept-encoding": self._encodings}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        return {
            "base_url": self.url,
            "headers": headers,
            "timeout": self._timeout(0.0),
            "limits": httpx.Limits(max_connections=CONNECTIONS),
            "follow_redirects": False,
        }

    def request_arguments(self, request: Request) -> dict[str, Any]:
        """For `build_request`."""
        return {
            "method": request.method,
            "url": request.path,
            "params": list(request.params),
            "headers": dict(request.headers),
            "content": request.body,
            "timeout": self._timeout(request.patience_s),
        }

    def _timeout(self, patience_s: float) -> httpx.Timeout:
        silence = self._timeout_s + patience_s
        return httpx.Timeout(silence, connect=min(CONNECT_S, self._timeout_s), pool=silence)


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("the url must be http://HOST:PORT or https://HOST:PORT")
    if "@" in parts.netloc:
        raise ConfigError("the url has a login, which would come into logs: use token=")
    if parts.query or parts.fragment:
        raise ConfigError("the url has a query or a fragment, and must be an address only")
    return url.rstrip("/")


def _checked_token(token: str | None) -> str | None:
    if token is not None and (not token.isascii() or not token.isprintable() or " " in token):
        raise ConfigError("the token has signs that a header cannot carry")
    return token or None


def head_of(response: httpx.Response) -> Head:
    return Head(response.status_code, {k.lower(): v for k, v in response.headers.items()})


def broken(error: BaseException) -> Broken:
    """A failure in words; texts of httpx hold no headers."""
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Broken(reason, is_ambiguous=not isinstance(error, _NOT_SENT))

"""The load balancer's file, in front of a standalone service that stands for every backend."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from deployment import Deployment
from processes import LOOPBACK, NotStarted, answers, eventually, free_port, request, started

GATEWAYS, QUERIES = "gateways", "queries"
EVENTS = "/v1/streams/balanced/events"
STREAM = '{"columns":[{"name":"k","type":"string"}],"key":["k"],"partitions":1,"window":"1s"}'
SQL = '{"query":"select count(*) from balanced"}'
NDJSON, JSON = "application/x-ndjson", "application/json"

# method, path, body, media type, backend, status
REQUESTS = [
    ("PUT", "/v1/streams/balanced", STREAM, JSON, GATEWAYS, 200),
    ("POST", EVENTS, '{"k":"a"}', NDJSON, GATEWAYS, 200),
    ("POST", "/write?precision=ns", "lines,k=a v=1i", "text/plain", GATEWAYS, 204),
    ("POST", "/api/v2/write?bucket=b&precision=ns", "lines,k=b v=1i", "text/plain", GATEWAYS, 204),
    (
        "POST",
        "/api/v3/write_lp?db=d&precision=nanosecond",
        "lines,k=c v=1i",
        "text/plain",
        GATEWAYS,
        204,
    ),
    ("GET", "/ping", None, JSON, GATEWAYS, 204),
    ("GET", "/health", None, JSON, GATEWAYS, 200),
    ("GET", "/settings", None, JSON, GATEWAYS, 200),
    ("GET", "/v1/streams/balanced/window?consistency=latest", None, JSON, QUERIES, 200),
    ("GET", "/v1/streams", None, JSON, QUERIES, 200),
    ("GET", "/v1/streams/balanced/partitions", None, JSON, QUERIES, 200),
    ("POST", "/v1/sql", SQL, JSON, QUERIES, 200),
    ("POST", "/v1/writers/99/fence", "", JSON, QUERIES, 404),
    ("GET", "/docs/", None, JSON, QUERIES, 200),
]


def balance(deployment: Deployment, url: str, folder: Path) -> Iterator[str]:
    """Each request reaches the right kind of process and is answered."""
    port, log = free_port(), folder / "haproxy.log"
    asked = {(method, path) for method, path, *_ in REQUESTS}
    file = folder / "haproxy.cfg"
    file.write_text(here(deployment, url.removeprefix("http://"), port))
    with started(["haproxy", "-f", str(file)], {}, log) as process:
        front = f"http://{LOOPBACK}:{port}"
        answers(process, f"{front}/readyz", log)
        for method, path, body, media, _, status in REQUESTS:
            got, told = request(front + path, method, body, content_type=media)
            if got != status:
                yield f"{method} {path} through the balancer: {got}, not {status}: {told[:300]}"
        # a request is logged when its answer has been sent, which its client may see before
        with contextlib.suppress(NotStarted):
            eventually("every request is logged", lambda: asked <= served(log.read_text()).keys())
    went = served(log.read_text())
    for method, path, _, _, backend, _ in REQUESTS:
        if went.get((method, path)) != backend:
            yield f"{method} {path} went to {went.get((method, path))}, not to {backend}"


def here(deployment: Deployment, service: str, port: int) -> str:
    """The file with every server here, and no fixed port."""
    text = deployment.text("deploy/haproxy.cfg")
    for servers in deployment.backends().values():
        for server in servers:
            text = text.replace(f"{server.host}:{server.port} ", f"{service} ")
    binds = iter([port])
    return re.sub(
        r"bind :\d+", lambda _: f"bind {LOOPBACK}:{next(binds, None) or free_port()}", text
    )


def served(log: str) -> dict[tuple[str, str], str]:
    """Requests in the balancer's log, and the backend that each went to."""
    lines = re.findall(r' clients (\w+)/\S+ .*"(\w+) (\S+) HTTP', log)
    return {(method, path): backend for backend, method, path in lines}

"""Metrics: alerts and dashboards ask only for what our processes export."""

import re
from collections.abc import Iterator
from pathlib import Path

from deployment import Deployment, Query
from processes import eventually, request

# what the dashboard must show
SUBJECTS = {
    "rates": "tourbillon_ingest_acknowledged_rows_total",
    "freshness": "tourbillon_query_complete_through_seconds",
    "watermark delay": "tourbillon_query_watermark_seconds",
    "lag": "tourbillon_query_lag_records",
    "rejects": "tourbillon_worker_refused_rows_total",
    "drift": "tourbillon_query_writer_drift_seconds",
    "commits": "tourbillon_worker_commits_total",
    "errors": "tourbillon_worker_restarts_total",
}

# what Prometheus adds, and a histogram's own
FOREIGN_LABELS = {"instance", "job", "le"}

# metrics that a healthy standalone service does not have: it has no Kafka
NOT_STANDALONE = {"tourbillon_log_broker_errors_total"}

NAME = re.compile(r"\b(tourbillon_\w+)")
SERIES = re.compile(r"^(tourbillon_\w+)(?:\{(.*)\})? \S+$", re.MULTILINE)
LABEL = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')


def declared(root: Path) -> set[str]:
    """Names in the sources, those of histograms with what their export adds."""
    names: set[str] = set()
    for source in root.glob("*/src/**/*.rs"):
        text = source.read_text()
        histograms = set(re.findall(r'histogram!\(\s*"(tourbillon_\w+)"', text))
        names |= set(re.findall(r'"(tourbillon_\w+)"', text)) - histograms
        names |= {name + part for name in histograms for part in ("_bucket", "_sum", "_count")}
    return names


def names(deployment: Deployment, root: Path) -> Iterator[str]:
    """Every metric asked for is declared in the sources, and every subject has a panel."""
    known = declared(root)
    for query in _all(deployment):
        for name in sorted(set(NAME.findall(query.expression)) - known):
            yield f"{query.place}: nothing exports {name}"
    shown = " ".join(query.expression for query in deployment.panel_queries())
    for subject, name in SUBJECTS.items():
        if name not in shown:
            yield f"no panel shows {subject}: {name}"
    sources = {source["uid"] for source in deployment.datasources}
    for file, dashboard in deployment.dashboards.items():
        used = set(re.findall(r"'type': 'prometheus', 'uid': '(.*?)'", str(dashboard)))
        for uid in sorted(used - sources):
            yield f"{file}: there is no data source {uid}"


def scraped(text: str) -> dict[str, set[str]]:
    """Names on a page of metrics, each with its labels."""
    found: dict[str, set[str]] = {}
    for name, labels in SERIES.findall(text):
        found.setdefault(name, set()).update(LABEL.findall(labels))
    return found


def labels(deployment: Deployment, exported: dict[str, set[str]]) -> Iterator[str]:
    """Every metric asked for is on the page of a service that works, with the labels asked for."""
    for query in _all(deployment):
        asked = set(NAME.findall(query.expression)) - NOT_STANDALONE
        missing = sorted(asked - set(exported))
        if missing:
            yield f"{query.place}: not exported by a service that works: {missing}"
            continue
        known = set().union(*(exported[name] for name in asked)) | FOREIGN_LABELS
        for label in sorted(_labels(query.expression) - known):
            yield f"{query.place}: {sorted(asked)} has no label {label}"


def _labels(expression: str) -> set[str]:
    grouped = re.findall(r"\b(?:by|on|without)\s*\(([^)]*)\)", expression)
    found = {label.strip() for group in grouped for label in group.split(",")} - {""}
    for selected in re.findall(r"\{(.*?)\}", expression):
        found |= set(LABEL.findall(selected))
    return found


def _all(deployment: Deployment) -> list[Query]:
    variables = [
        Query(f"{file}, variable {variable['name']}", variable["query"]["query"])
        for file, dashboard in deployment.dashboards.items()
        for variable in dashboard["templating"]["list"]
    ]
    # a variable's label_values(metric, label) is no PromQL, but names a metric as it does
    return deployment.alert_queries() + deployment.panel_queries() + variables


def work(url: str) -> None:
    """Gives a standalone service something to count: rows, a repeat, a refusal, a sealed window."""
    made = '{"columns":[{"name":"k","type":"string"}],"key":["k"],"partitions":1,"window":"100ms"}'
    assert request(f"{url}/v1/streams/checked", "PUT", made)[0] == 200
    for _ in range(2):
        sent = request(
            f"{url}/v1/streams/checked/events",
            "POST",
            '{"k":"a"}\n{"k":"b"}',
            content_type="application/x-ndjson",
            tourbillon_source="check",
            tourbillon_sequence="1",
        )
        assert sent[0] == 200, sent
    assert request(f"{url}/v1/streams/checked/events", "POST", "{")[0] >= 400
    wanted = re.compile(r'^tourbillon_query_sealed_rows\{.*stream="checked".* 2$', re.MULTILINE)
    eventually("sealed rows are shown", lambda: bool(wanted.search(request(f"{url}/metrics")[1])))

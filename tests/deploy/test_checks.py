"""The checks find what is mistyped: python3 -m unittest discover -s tests/deploy"""

import shutil
import tempfile
import unittest
from collections.abc import Callable, Iterable
from pathlib import Path

import balance
import files
import measures
import processes
from deployment import Deployment

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = "deploy/grafana/dashboards/tourbillon.json"


# names of the sources, each with every label that the files ask for as they are
ASKED = {"stream", "partition", "topic", "reason", "outcome", "stage", "writer"}
PAGE = dict.fromkeys(measures.declared(ROOT), ASKED)


def declared(deployment: Deployment) -> Iterable[str]:
    return measures.names(deployment, ROOT)


def labelled(deployment: Deployment) -> Iterable[str]:
    return measures.labels(deployment, PAGE)


Check = Callable[[Deployment], Iterable[str]]

# the file, what is in it, what it becomes, the check that must notice, what it says
MISTAKES: list[tuple[str, str, str, Check, str]] = [
    ("docker-compose.yml", "restart:", "restrat:", files.schema, "restrat"),
    ("docker-compose.yml", "kafka-1:9092,", "kafak-1:9092,", files.addresses, "kafak-1 is no"),
    ("docker-compose.yml", "http://s3:8333", "http://s3:8334", files.addresses, "listen on 8334"),
    ("docker-compose.yml", "8404:8404", "8404:8405", files.addresses, "publishes 8405"),
    ("docker-compose.yml", "localhost:9092", "localhost:9094", files.addresses, "healthcheck"),
    ("deploy/haproxy.cfg", "query-2:8080", "query-3:8080", files.addresses, "query-3 is no"),
    ("deploy/haproxy.cfg", " query-2:", " gateway-1:", files.completeness, "query-2"),
    ("deploy/prometheus.yml", "worker-3:", "worker-2:", files.completeness, "worker-3"),
    ("deploy/prometheus.yml", "worker-3:8080", "worker-3:80", files.addresses, "listen on 80,"),
    ("deploy/Dockerfile", "0.0.0.0:8080", "0.0.0.0:8000", files.addresses, "listen on 8080"),
    ("deploy/Dockerfile", "--profile dist", "--profile distt", files.image, "distt"),
    ("deploy/Dockerfile", "kafka-tls-system", "kafka-tsl", files.image, "kafka-tsl"),
    ("docker-compose.yml", "./deploy/alerts.yml", "./deploy/alert.yml", files.mounts, "alert.yml"),
    ("docker-compose.yml", "kafka-1:/var/lib/kafka/data", "kafka-1:/tmp", files.mounts, "volume"),
    ("docker-compose.yml", ":/var/lib/grafana/d", ":/var/lib/grafana/e", files.mounts, "Grafana"),
    ("deploy/haproxy.cfg", "option redispatch", "option redispath", files.balancer, "redispath"),
    ("deploy/alerts.yml", "max by (stream)", "max by stream", files.prometheus, "parse error"),
    ("deploy/alerts.yml", "> 0.25", "> 0.35", files.alerts, "TourbillonClockDrift"),
    ("deploy/alerts.yml", "alert: TourbillonRejects", "alert: Other", files.alerts, "Other"),
    (DASHBOARD, "worker_commits", "worker_comits", declared, "worker_comits"),
    (DASHBOARD, "query_lag_records", "query_unsealed_rows", declared, "no panel shows lag"),
    (DASHBOARD, '"uid": "prometheus"', '"uid": "prom"', declared, "no data source prom"),
    (DASHBOARD, "by (writer)", "by (wirter)", labelled, "no label wirter"),
    ("deploy/alerts.yml", "{reason!~", "{raeson!~", labelled, "no label raeson"),
]

TOOLS: dict[Check, str] = {
    files.schema: "check-jsonschema",
    files.balancer: "haproxy",
    files.prometheus: "promtool",
    files.alerts: "promtool",
}


class Mistakes(unittest.TestCase):
    def test_each_is_found_where_it_was_made(self) -> None:
        for path, good, bad, check, says in MISTAKES:
            if (tool := TOOLS.get(check)) and not shutil.which(tool):
                print(f"skipped: {bad}: {tool} is not on the path")
                continue
            with self.subTest(f"{path}: {bad}"):
                deployment = self.copy()
                text = deployment.text(path)
                self.assertIn(good, text)
                self.assertEqual(list(check(deployment)), [])
                (deployment.root / path).write_text(text.replace(good, bad))
                said = "\n".join(check(Deployment(deployment.root)))
                self.assertIn(says, said)

    def copy(self) -> Deployment:
        root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        for path in ("deploy", "docker-compose.yml", "Cargo.toml", "cli/Cargo.toml"):
            source, target = ROOT / path, root / path
            target.parent.mkdir(exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        return Deployment(root)


class Reading(unittest.TestCase):
    def test_a_balancers_log_says_where_each_request_went(self) -> None:
        line = '1.1.1.1:5 [t] clients queries/query-1 0/0/0 200 - "GET /v1/x?a=b HTTP/1.1"'
        self.assertEqual(balance.served(line), {("GET", "/v1/x?a=b"): "queries"})

    def test_variables_name_nobody_who_listens(self) -> None:
        given = {"K": "kafka-1:9092,kafka-2:9092", "S": "s3://b/p", "E": "http://s3:8333"}
        here = processes.NOWHERE
        moved = {"K": f"{here},{here}", "S": "s3://b/p", "E": f"http://{here}"}
        self.assertEqual(processes.elsewhere(given), moved)


if __name__ == "__main__":
    unittest.main()

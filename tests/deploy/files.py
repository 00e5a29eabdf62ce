"""Checks that need no process of ours: each gives what is wrong, a line a problem."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deployment import DASHBOARDS, PROVISIONING, Deployment

# which backend and which job of Prometheus a role belongs to
BACKENDS = {"ingest": "gateways", "query": "queries"}
JOBS = {"ingest": "gateway", "shard-worker": "worker", "query": "query"}

UNIT_TESTS = Path(__file__).with_name("alerts_test.yml")


def schema(deployment: Deployment) -> Iterator[str]:
    """docker-compose.yml is a compose file."""
    file = str(deployment.root / "docker-compose.yml")
    yield from ran("check-jsonschema", "--builtin-schema", "vendor.compose-spec", file)


def addresses(deployment: Deployment) -> Iterator[str]:
    """Every host is a service, and listens there."""
    for address in deployment.addresses():
        host, port = address.host, address.port
        if host not in deployment.services:
            yield f"{address.place}: {host} is no service of docker-compose.yml"
        elif port not in deployment.listens(host):
            listens = sorted(deployment.listens(host))
            yield f"{address.place}: {host} does not listen on {port}, but on {listens}"
    for name, service in deployment.services.items():
        for published in service.get("ports", []):
            port = int(published.rsplit(":", 1)[1])
            if port not in deployment.listens(name):
                yield f"docker-compose.yml: {name} publishes {port} and does not listen there"


def completeness(deployment: Deployment) -> Iterator[str]:
    """Every process of ours is balanced and scraped as what it is."""
    backends, targets = deployment.backends(), deployment.targets()
    for name in deployment.own:
        role = deployment.role(name)
        for what, found, wanted in [
            ("backend", backends, BACKENDS.get(role)),
            ("job", targets, JOBS[role]),
        ]:
            holding = [key for key, servers in found.items() if name in [s.host for s in servers]]
            if holding != ([wanted] if wanted else []):
                yield f"{name} runs {role} and is in {what} {holding}, not in {wanted}"


def mounts(deployment: Deployment) -> Iterator[str]:
    """What is mounted is there; the paths inside agree with what looks for them."""
    inside: dict[str, str] = {}
    for name, service in deployment.services.items():
        for mounted in service.get("volumes", []):
            source, target = mounted.split(":")[:2]
            inside[source.removeprefix("./")] = target
            if not source.startswith("."):
                if source not in deployment.compose["volumes"]:
                    yield f"{name}: the volume {source} is not declared"
            elif not (deployment.root / source).exists():
                yield f"{name}: {source} does not exist"
        folders = deployment.environment(name).get("KAFKA_LOG_DIRS")
        if service.get("image", "").startswith("apache/kafka:") and folders not in (
            mounted.split(":")[1] for mounted in service["volumes"]
        ):
            yield f"{name} keeps its log in {folders}, which is not on a volume"
        for needed, condition in dependencies(service):
            if needed not in deployment.services:
                yield f"{name} waits for {needed}, which is no service"
            elif (
                condition == "service_healthy" and "healthcheck" not in deployment.services[needed]
            ):
                yield f"{name} waits until {needed} is healthy, which has no healthcheck"
    for provider in deployment.yaml(f"{PROVISIONING}/dashboards/tourbillon.yml")["providers"]:
        if provider["options"]["path"] != inside.get(DASHBOARDS):
            yield f"Grafana looks for dashboards in {provider['options']['path']}, not mounted there"


def dependencies(service: dict) -> list[tuple[str, str]]:
    found = service.get("depends_on", {})
    if isinstance(found, list):
        return [(name, "service_started") for name in found]
    return [(name, how["condition"]) for name, how in found.items()]


def image(deployment: Deployment) -> Iterator[str]:
    """What the Dockerfile builds with exists."""
    text = deployment.text("deploy/Dockerfile")
    for profile in re.findall(r"--profile (\S+)", text):
        if profile not in deployment.profiles():
            yield f"Dockerfile: no profile {profile} in Cargo.toml"
        if f"target/{profile}/" not in text:
            yield f"Dockerfile: it does not copy from target/{profile}"
    for feature in re.findall(r"--features (\S+)", text):
        if feature not in deployment.features():
            yield f"Dockerfile: no feature {feature} in cli/Cargo.toml"


def balancer(deployment: Deployment) -> Iterator[str]:
    """haproxy takes its file, also while no name resolves."""
    yield from ran("haproxy", "-c", "-f", str(deployment.root / "deploy/haproxy.cfg"))


def prometheus(deployment: Deployment) -> Iterator[str]:
    """promtool takes the configuration and its rules, and every query of the dashboards."""
    yield from ran("promtool", "check", "config", str(deployment.root / "deploy/prometheus.yml"))
    rules = [
        f"  - record: panel:number:{number}\n    expr: {plain(query.expression)!r}\n"
        for number, query in enumerate(deployment.panel_queries())
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        file.write("groups:\n- name: panels\n  rules:\n" + "".join(rules))
        file.flush()
        yield from ran("promtool", "check", "rules", file.name)


def plain(expression: str) -> str:
    """A panel's query without Grafana's variables."""
    return re.sub(r"\$\w+", ".*", expression)


def alerts(deployment: Deployment) -> Iterator[str]:
    """Each alert has a test, fires for a bad series and not for a good one."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(UNIT_TESTS, folder)
        shutil.copy(deployment.root / "deploy/alerts.yml", folder)
        yield from ran("promtool", "test", "rules", f"{folder}/{UNIT_TESTS.name}")
    tested = UNIT_TESTS.read_text()
    for rule in deployment.alerts:
        for key in ("summary", "action"):
            if key not in rule.get("annotations", {}):
                yield f"alert {rule['alert']} has no {key}"
        # once with what it says, once with nothing
        if len(re.findall(rf"alertname: {rule['alert']}\b", tested)) < 2:
            yield f"alert {rule['alert']} is not tested both ways in {UNIT_TESTS.name}"


def ran(*command: str) -> Iterator[str]:
    """What a command says if it fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        yield f"{' '.join(command[:2])}: {done.stdout}{done.stderr}".strip()

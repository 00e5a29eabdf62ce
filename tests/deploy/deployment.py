"""What docker-compose.yml and deploy/ say, read once for every check."""

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

IMAGE = "tourbillon"
DASHBOARDS = "deploy/grafana/dashboards"
PROVISIONING = "deploy/grafana/provisioning"

# where images listen that are not told where to
DEFAULT_PORTS = {"prom/prometheus": {9090}, "grafana/grafana": {3000}}


@dataclass(frozen=True)
class Address:
    """A host and port that a file names, and where it stands."""

    host: str
    port: int
    place: str


@dataclass(frozen=True)
class Query:
    """PromQL of an alert or a panel."""

    place: str
    expression: str


class Deployment:
    """The files below a root, which tests may copy and change."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def text(self, path: str) -> str:
        return (self.root / path).read_text()

    def yaml(self, path: str) -> Any:
        return yaml.safe_load(self.text(path))

    @cached_property
    def compose(self) -> dict[str, Any]:
        return self.yaml("docker-compose.yml")

    @cached_property
    def services(self) -> dict[str, dict[str, Any]]:
        return self.compose["services"]

    @cached_property
    def own(self) -> dict[str, dict[str, Any]]:
        """Services of our image."""
        return {name: s for name, s in self.services.items() if image(s) == IMAGE}

    def role(self, name: str) -> str:
        return self.own[name]["command"][0]

    def environment(self, name: str) -> dict[str, str]:
        """A service's variables, with the defaults of those that the host may set."""
        given = self.services[name].get("environment", {})
        return {key: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", str(value)) for key, value in given.items()}

    @cached_property
    def image_listens(self) -> str:
        found = re.search(
            r"^ENV TOURBILLON_LISTEN=(\S+)$", self.text("deploy/Dockerfile"), re.MULTILINE
        )
        return found[1] if found else ""

    @cached_property
    def image_command(self) -> list[str]:
        """What the image runs by itself, without the binary."""
        found = re.search(r"^CMD (\[.*\])$", self.text("deploy/Dockerfile"), re.MULTILINE)
        return json.loads(found[1]) if found else []

    @cached_property
    def balancer(self) -> list[tuple[str, str, list[str]]]:
        """Lines of haproxy.cfg: the section, its name and the line's words."""
        lines, section, name = [], "", ""
        for line in self.text("deploy/haproxy.cfg").splitlines():
            words = line.split("#")[0].split()
            if words and not line[0].isspace():
                section, name = words[0], " ".join(words[1:])
            elif words:
                lines.append((section, name, words))
        return lines

    def backends(self) -> dict[str, list[Address]]:
        servers: dict[str, list[Address]] = {}
        for section, name, words in self.balancer:
            if section == "backend" and words[0] == "server":
                host, port = words[2].rsplit(":", 1)
                address = Address(host, int(port), f"haproxy.cfg, backend {name}")
                servers.setdefault(name, []).append(address)
        return servers

    def balancer_ports(self) -> set[int]:
        binds = (words[1] for _, _, words in self.balancer if words[0] == "bind")
        return {int(bind.rsplit(":", 1)[1]) for bind in binds}

    @cached_property
    def prometheus(self) -> dict[str, Any]:
        return self.yaml("deploy/prometheus.yml")

    def targets(self) -> dict[str, list[Address]]:
        return {
            job["job_name"]: [
                Address(host, int(port), f"prometheus.yml, job {job['job_name']}")
                for group in job["static_configs"]
                for host, port in (target.rsplit(":", 1) for target in group["targets"])
            ]
            for job in self.prometheus["scrape_configs"]
        }

    @cached_property
    def datasources(self) -> list[dict[str, Any]]:
        return self.yaml(f"{PROVISIONING}/datasources/prometheus.yml")["datasources"]

    @cached_property
    def dashboards(self) -> dict[str, dict[str, Any]]:
        files = sorted((self.root / DASHBOARDS).glob("*.json"))
        return {file.name: json.loads(file.read_text()) for file in files}

    @cached_property
    def alerts(self) -> list[dict[str, Any]]:
        groups = self.yaml("deploy/alerts.yml")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def alert_queries(self) -> list[Query]:
        return [Query(f"alert {rule['alert']}", rule["expr"]) for rule in self.alerts]

    def panel_queries(self) -> list[Query]:
        return [
            Query(f"{file}, panel {panel['title']!r}", target["expr"])
            for file, dashboard in self.dashboards.items()
            for panel in dashboard["panels"]
            for target in panel.get("targets", [])
        ]

    def features(self) -> set[str]:
        return set(tomllib.loads(self.text("cli/Cargo.toml"))["features"])

    def profiles(self) -> set[str]:
        return set(tomllib.loads(self.text("Cargo.toml"))["profile"])

    def listens(self, name: str) -> set[int]:
        """Ports on which a service listens."""
        service, variables = self.services[name], self.environment(name)
        if name in self.own:
            return {int(variables.get("TOURBILLON_LISTEN", self.image_listens).rsplit(":", 1)[1])}
        if listeners := variables.get("KAFKA_LISTENERS"):
            return {int(port) for port in re.findall(r":(\d+)", listeners)}
        if image(service) == "haproxy":
            return self.balancer_ports()
        named = re.findall(r"-s3\.port=(\d+)", " ".join(service.get("command", [])))
        return DEFAULT_PORTS.get(image(service), set()) | {int(port) for port in named}

    def addresses(self) -> Iterator[Address]:
        """Every host and port that any of the files names."""
        for servers in (*self.backends().values(), *self.targets().values()):
            yield from servers
        for source in self.datasources:
            yield from _named(source["url"], f"data source {source['name']}")
        for name in self.services:
            for variable, value in self.environment(name).items():
                yield from _named(value, f"docker-compose.yml, {variable} of {name}")
            tested = " ".join(self.services[name].get("healthcheck", {}).get("test", []))
            for port in re.findall(r"localhost:(\d+)", tested):
                yield Address(name, int(port), f"docker-compose.yml, healthcheck of {name}")


def image(service: dict[str, Any]) -> str:
    return service["image"].rsplit(":", 1)[0]


def _named(text: str, place: str) -> Iterator[Address]:
    for host, port in re.findall(r"(?:^|[@/,])([a-z0-9][a-z0-9.-]*):(\d+)", text):
        yield Address(host, int(port), place)

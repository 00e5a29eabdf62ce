"""A certificate authority of our own, a certificate for the brokers, and a CA that signed nothing."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from processes import LOOPBACK, ServerError

DAYS = "30"
KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


@dataclass(frozen=True)
class Certificates:
    """What the brokers show, and what clients trust."""

    broker: Path
    ca: Path
    stranger: Path


def make(folder: Path) -> Certificates:
    """Makes everything anew in `folder`."""
    folder.mkdir()
    ca, stranger = (_authority(folder, name) for name in ("ca", "stranger"))
    key, request, certificate = (folder / f"broker.{end}" for end in ("key", "csr", "crt"))
    names = folder / "names"
    names.write_text(f"subjectAltName=IP:{LOOPBACK},DNS:localhost\n")
    _openssl(["req", "-new", *KEY, "-subj", "/CN=broker", "-keyout", key, "-out", request])
    signer = ["-CA", ca, "-CAkey", ca.with_suffix(".key"), "-CAcreateserial"]
    signed = ["-days", DAYS, "-extfile", names, "-in", request, "-out", certificate]
    _openssl(["x509", "-req", *signer, *signed])
    broker = folder / "broker.pem"
    broker.write_text(key.read_text() + certificate.read_text())
    return Certificates(broker, ca, stranger)


def _authority(folder: Path, name: str) -> Path:
    ca = folder / f"{name}.pem"
    out = ["-keyout", ca.with_suffix(".key"), "-out", ca]
    _openssl(["req", "-x509", *KEY, "-days", DAYS, "-subj", f"/CN={name} of a test", *out])
    return ca


def _openssl(arguments: Sequence[str | Path]) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        raise ServerError("`openssl` is not on the path; it makes the brokers' certificate")
    command = [openssl, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServerError(f"`{' '.join(command)}` failed:\n{done.stderr}")

#!/usr/bin/env bash
# Checks and tests of the Python client against a service: clients/python/test.sh VENV BINARY
# VENV is a virtual environment, made if it is absent. The sample capture is read from where it lies
# beside the project, or from TOURBILLON_TEST_DATA. With TOURBILLON_KAFKA, TOURBILLON_STORE and AWS_*
# set, the examples run on Kafka and S3 too.
set -euo pipefail
venv="$1" binary="$(realpath "$2")"
cd "$(dirname "$(realpath "$0")")"
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
venv="$(realpath "$venv")"
# the package is installed as it lies here, so only other requirements need another installation
wanted="$(echo "$PWD" | cat - pyproject.toml | sha256sum)"
if [ "$(cat "$venv/installed" 2>/dev/null)" != "$wanted" ]; then
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[test]'
    echo "$wanted" >"$venv/installed"
fi
export PYTHONDONTWRITEBYTECODE=1 PATH="$venv/bin:$PATH"
ruff check --quiet --no-cache .
ruff format --check --quiet --no-cache .
mypy --cache-dir "$venv/mypy"
TOURBILLON_TEST_BINARY="$binary" python -m pytest --quiet -p no:cacheprovider

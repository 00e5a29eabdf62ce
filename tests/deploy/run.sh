#!/usr/bin/env bash
# Checks docker-compose.yml and deploy/ without a container engine:
#   tests/deploy/run.sh CACHE TOURBILLON [--need-all]
# Fetches haproxy, promtool (Debian packages, unpacked below CACHE and not installed) and the schema
# of compose files (PyPI). What cannot be fetched is skipped and said, or an error with --need-all.
set -euo pipefail
cache="$1" tourbillon="$(realpath "$2")"
shift 2
here="$(dirname "$(realpath "$0")")"
packages=(haproxy liblua5.3-0 prometheus)

unpack() {
    [ -f "$cache/root/done" ] && return
    rm -rf "$cache/root" "$cache/packages"
    mkdir -p "$cache/packages" "$cache/root"
    cd "$cache/packages"
    apt-get download -qq "${packages[@]}" 2>/dev/null \
        || { apt-get update -qq && apt-get download -qq "${packages[@]}"; } || return
    for package in *.deb; do
        dpkg-deb -x "$package" "$cache/root" || return
    done
    touch "$cache/root/done"
}

mkdir -p "$cache"
cache="$(realpath "$cache")"
(unpack) || echo "no haproxy and promtool: the Debian packages cannot be fetched"
python="$cache/python/bin/python"
[ -x "$python" ] || python3 -m venv "$cache/python"
if ! "$python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"; then
    echo "skipped: the packages of requirements.txt cannot be fetched"
    [ "${1:-}" != --need-all ]
    exit
fi

export PATH="$cache/python/bin:$cache/root/usr/sbin:$cache/root/usr/bin:$PATH"
export LD_LIBRARY_PATH="$cache/root/usr/lib/$(uname -m)-linux-gnu"
"$python" -m unittest discover -q -s "$here"
"$python" "$here/check.py" --tourbillon "$tourbillon" "$@"

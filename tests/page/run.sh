#!/usr/bin/env bash
# Tests the page: its logic in node, and all of it in Chromium against `standalone` under live load.
#   tests/page/run.sh CACHE TOURBILLON
# Needs node 20. Takes the Chromium of the PATH, or Debian's, unpacked below CACHE and not installed.
# TOURBILLON_PAGE_SHOTS=DIR keeps screenshots.
set -euo pipefail
mkdir -p "$1"
cache="$(realpath "$1")" tourbillon="$(realpath "$2")"
here="$(dirname "$(realpath "$0")")"

unpack() {
    [ -f "$cache/root/done" ] && return
    rm -rf "$cache/root" "$cache/packages"
    mkdir -p "$cache/packages/partial" "$cache/root"
    local get=(apt-get install -qq --yes --reinstall --download-only --no-install-recommends
        -o Debug::NoLocking=1 -o Dir::Cache::archives="$cache/packages" chromium chromium-common fonts-dejavu-core)
    "${get[@]}" >/dev/null 2>&1 || { apt-get update -qq && "${get[@]}" >/dev/null; }
    for package in "$cache"/packages/*.deb; do
        dpkg-deb -x "$package" "$cache/root"
    done
    touch "$cache/root/done"
}

node --test "$here"/unit/*.test.*

chromium="$(command -v chromium || true)"
if [ -z "$chromium" ]; then
    unpack
    chromium="$cache/root/usr/lib/chromium/chromium"
    library="$cache/root/usr/lib/$(uname -m)-linux-gnu"
    export TOURBILLON_CHROMIUM_LIBRARIES="$library:$library/pulseaudio:$library/nss"
    export XDG_DATA_DIRS="$cache/root/usr/share:${XDG_DATA_DIRS:-/usr/local/share:/usr/share}"
fi

# the packages lie in CACHE, the tests here: node looks for packages beside the tests
mkdir -p "$cache/npm"
cp "$here/package.json" "$here/package-lock.json" "$cache/npm/"
(cd "$cache/npm" && npm ci --no-audit --no-fund --loglevel=error >/dev/null)
export TOURBILLON_PLAYWRIGHT="$cache/npm/node_modules/playwright-core/index.mjs"
exec timeout 300 node "$here/browser.mjs" "$chromium" "$tourbillon"

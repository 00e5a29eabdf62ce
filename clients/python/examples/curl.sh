#!/usr/bin/env bash
# The interface with curl alone: make a stream, write to it, read it, follow it.
#
#     clients/python/examples/curl.sh [URL]
set -euo pipefail
url="${1:-http://127.0.0.1:8080}"
stream="curl-$(date +%s%N)"
ask() { curl --silent --show-error --fail-with-body --max-time 30 "$@"; }

echo "== a stream of its own"
ask -X PUT "$url/v1/streams/$stream" -d '{
  "columns": [{"name": "symbol", "type": "string"}, {"name": "ts_event", "type": "timestamp"},
              {"name": "price", "type": "decimal(18,9)"}, {"name": "size", "type": "decimal(18,9)"}],
  "key": ["symbol"], "event_time": "ts_event", "partitions": 2, "window": "1s"}'

send() {
    ask "$url/v1/streams/$stream/events" -H 'content-type: application/x-ndjson' \
        -H "tourbillon-source: $stream" -H "tourbillon-sequence: $1" --data-binary '
{"symbol":"AAPL","ts_event":"2026-01-31T14:30:00.000000001Z","price":"187.15","size":"100"}
{"symbol":"MSFT","ts_event":"2026-01-31T14:30:00.000000002Z","price":"402.5","size":"10"}'
}

printf '\n\n== two rows, sent twice under one number: stored once\n'
receipt="$(send 1)"
echo "$receipt"
receipt="$(send 1)"
echo "$receipt"

printf '\n== read what was written: at_least waits until the node has seen it\n'
positions="$(sed 's/.*"positions":\({[^}]*}\).*/\1/' <<<"$receipt")"
ask --get "$url/v1/streams/$stream/window" --data-urlencode "at_least=$positions" \
    -d consistency=latest -d columns=hlc,symbol,price

printf '\n== only what can never change, up to now, as CSV; the headers tell how far that is\n'
now="$(date --utc +%Y-%m-%dT%H:%M:%S.%NZ)"
ask --get --include "$url/v1/streams/$stream/window" -H 'accept: text/csv' -d "end=$now" -d wait=10s

printf '\n== bars of a second, and SQL\n'
ask --get "$url/v1/streams/$stream/bars" -d interval=1s -d time=event -d consistency=latest
ask "$url/v1/sql" -H 'content-type: application/json' \
    -d "{\"query\": \"select symbol, sum(size) as size from \\\"$stream\\\" group by symbol order by symbol\"}"

printf '\n== history and then live, for two seconds\n'
ask --no-buffer --max-time 2 --get "$url/v1/streams/$stream/subscribe" -d from=earliest || [ $? = 28 ]

#!/usr/bin/env bash
# The real clients against a standalone service: tests/clients/run.sh PYTHON TOURBILLON FOLDER
# Loads the sample capture too, where it lies beside the project.
set -euo pipefail
python="$1" tourbillon="$(realpath "$2")" folder="$3"
here="$(dirname "$(realpath "$0")")"
csv="$here/../../../shared/data/binance_trades.csv.gz"
ticks="$here/../../../shared/data/binance_3venues_ticks.parquet"
mkdir -p "$folder"

"$tourbillon" standalone --data "$folder/data" --listen 127.0.0.1:0 \
    --flight-listen 127.0.0.1:0 2>"$folder/log" &
service=$!
trap 'kill $service 2>/dev/null || true' EXIT
for _ in $(seq 300); do
    url="$(sed -n 's|.*listens address=\([0-9.:]*\).*|http://\1|p' "$folder/log")"
    [ -n "$url" ] && "$python" - "$url" <<'PY' && break
import sys, urllib.request
try:
    sys.exit(urllib.request.urlopen(sys.argv[1] + "/readyz", timeout=2).status != 200)
except OSError:
    sys.exit(1)
PY
    sleep 0.1
done

flight="$(sed -n 's|.*Flight SQL is served address=\([0-9.:]*\).*|\1|p' "$folder/log")"

"$python" -m unittest discover -s "$here"
for client in influxdb-client influxdb3 questdb; do
    "$python" "$here/write_points.py" --url "$url" --client "$client"
done
if [ -f "$csv" ]; then
    "$python" "$here/quotes_csv.py" "$ticks" "$folder/quotes.csv"
    "$tourbillon" load "$folder/quotes.csv" --stream quotes --url "$url" --map ts_event=ts_event:ns,ts_recv=ts_recv:ns
    "$tourbillon" load "$csv" --stream trades --url "$url" --map ts_event=event_ms:ms,ts_recv=recv_ts_ns:ns
    "$python" "$here/check_window.py" --url "$url" --stream trades --csv "$csv" --expect 78638
    "$python" "$here/check_bars.py" --url "$url" --stream trades
    "$python" "$here/check_asof.py" --url "$url" --left trades --right quotes
    "$python" "$here/check_flight_sql.py" --url "$url" --flight "$flight" --stream trades
    "$python" "$here/check_files.py" --url "$url" --stream trades --store "$folder/data/lake"
    "$python" "$here/check_formats.py" --url "$url" --stream trades
else
    echo "skipped: the sample capture is not beside the project"
fi
"$python" "$here/check_subscribe.py" --url "$url"
curl -sS "$url/openapi.json" -o "$folder/openapi.json"
"$python" -m openapi_spec_validator "$folder/openapi.json"
# last, because it fences writers and leaves streams behind; `verify` must bear that too
(cd "$here" && PYTHONPATH=. timeout 240 "$(dirname "$python")/schemathesis" --config-file schemathesis.toml \
    run "$url/openapi.json" --checks all)
kill -TERM $service
wait $service
trap - EXIT
"$tourbillon" verify --data "$folder/data"

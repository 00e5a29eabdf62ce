#!/usr/bin/env bash
# The real clients against three processes on a real Kafka and an S3 store, which TOURBILLON_KAFKA,
# TOURBILLON_STORE and the AWS_* variables name: tests/clients/run_cluster.sh PYTHON TOURBILLON FOLDER
set -euo pipefail
python="$1" tourbillon="$(realpath "$2")" folder="$3"
here="$(dirname "$(realpath "$0")")"
csv="$here/../../../shared/data/binance_trades.csv.gz"
mkdir -p "$folder"
export TOURBILLON_STORE="$TOURBILLON_STORE/clients" TOURBILLON_TOPIC_PREFIX=clients

start() {
    "$tourbillon" "$@" --listen 127.0.0.1:0 2>"$folder/$1.log" &
    pids+=($!)
}

address() {
    for _ in $(seq 600); do
        sed -n 's|.*listens address=\([0-9.:]*\).*|http://\1|p' "$folder/$1.log" | grep . && return
        sleep 0.1
    done
    echo "$1 does not listen:" >&2
    cat "$folder/$1.log" >&2
    return 1
}

pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true' EXIT
start ingest --gateway-name clients
start shard-worker
start query
ingest="$(address ingest)" query="$(address query)"
for url in "$ingest" "$query"; do
    "$python" - "$url" <<'PY'
import sys, time, urllib.request
until = time.time() + 60
while time.time() < until:
    try:
        if urllib.request.urlopen(sys.argv[1] + "/readyz", timeout=2).status == 200:
            sys.exit(0)
    except OSError:
        pass
    time.sleep(0.1)
sys.exit(f"{sys.argv[1]} is not ready")
PY
done

for client in influxdb-client influxdb3 questdb; do
    "$python" "$here/write_points.py" --url "$ingest" --query-url "$query" --client "$client"
done
if [ -f "$csv" ]; then
    "$tourbillon" load "$csv" --stream trades --url "$ingest" \
        --map ts_event=event_ms:ms,ts_recv=recv_ts_ns:ns
    "$python" "$here/check_window.py" --url "$query" --stream trades --csv "$csv" --expect 78638
else
    echo "skipped: the sample capture is not beside the project"
fi
kill -TERM "${pids[@]}"
wait "${pids[@]}"
trap - EXIT
"$tourbillon" verify

#!/usr/bin/env bash
# A gateway that is offline for a day, time compressed: as many records as a day brings, an hour's worth after the other, with
# nobody at the uplink's address; then Apache Kafka comes up there, and everything arrives: once and in order.
# Usage: scripts/offline.sh [--binary FILE] [--hours N] [--rate N] [--port P] [--bound MIB]
# After each hour's worth: memory, and what the status says is waiting, held against what was acknowledged. At the end: how long
# the drain took, and what a read_committed consumer finds. Needs kcat, Python 3; Java 17, Maven.
# Exit codes: 0 as it should be, 1 not, 2 usage, 3 something is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binary=target/release/brooklet
hours=24
rate=100
port=21092
bound=2048
source scripts/lib/gateway.sh
options binary hours rate port bound -- "$@"
for tool in kcat python3; do
  command -v "$tool" >/dev/null || { echo "offline.sh: SKIP: no $tool found" >&2; exit 3; }
done
trap 'scripts/kafka.sh stop --kill --dir "$dir/kafka" >/dev/null 2>&1 || true; end_gateway' EXIT
scripts/kafka.sh fetch

cat >"$dir/brooklet.toml" <<EOF
[store]
max_bytes = "${bound}MiB"
[clock]
trust = "always"
[uplink.centre]
bootstrap = ["127.0.0.1:$port"]
create_topics = true
EOF
start_gateway release --config "$dir/brooklet.toml"

fail() { echo "offline.sh: FAILED: $*" >&2; exit 1; }

# A figure of the status, by a Python expression over it (u: the uplink).
figure() {
  "$binary" status --data "$dir/data" --json | python3 -c "
import json, sys
s = json.load(sys.stdin)
u = s['uplinks'][0]
print($1)"
}
memory_kib() { awk '/^VmRSS:/ { print $2 }' "/proc/$gateway/status"; }

hour=$((rate * 3600)) first=0 last=0
for at in $(seq "$hours"); do
  # 100 bytes a record: a number of 12 digits, and what a sensor says.
  seq -f 'reading %012.0f temperature=21.375 humidity=48.250 pressure=1013.250 battery=3.300 state=running rssi=-71' \
    $(((at - 1) * hour + 1)) $((at * hour)) | "$binary" produce readings --data "$dir/data" 2>"$dir/producer" ||
    { tail -3 "$dir/producer" >&2; fail "producing"; }
  waiting=$(figure "u['lag_records']") last=$(memory_kib)
  if [ "$at" = 1 ]; then first=$last; fi
  printf 'hour %2d: %9d records acknowledged, %9d waiting, %s bytes on disk, memory %d KiB\n' \
    "$at" $((at * hour)) "$waiting" "$(figure "s['store']['disk_bytes']")" "$last"
  [ "$waiting" -eq $((at * hour)) ] || fail "the status says that $waiting records wait"
done
[ "$last" -lt $((first + 8192)) ] || fail "memory grew from $first to $last KiB"

printf 'the centre comes up\n'
scripts/kafka.sh start --fresh --dir "$dir/kafka" --port "$port" >/dev/null
begun=$(date +%s)
while waiting=$(figure "u['lag_records']") && [ "$waiting" -gt 0 ]; do
  [ $(($(date +%s) - begun)) -lt 1800 ] || fail "$waiting records still wait after half an hour"
  sleep 1
done
took=$(($(date +%s) - begun))
printf 'drained in %d s, memory %d KiB\n' "$took" "$(memory_kib)"
kcat -q -C -b "127.0.0.1:$port" -t readings -o beginning -e -X isolation.level=read_committed -f '%s\n' >"$dir/seen"
awk -v wanted=$((hours * hour)) '
  { number = $2 + 0; if (number == before) twice++; else if (number < before) back++; else lost += number - before - 1; if (number > before) before = number }
  END {
    lost += wanted - before
    printf "arrived: %d of %d; lost %d, twice %d, out of order %d\n", NR, wanted, lost, twice, back
    exit NR != wanted || lost || twice || back
  }' "$dir/seen" || fail "not each record once and in order"

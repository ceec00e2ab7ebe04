#!/usr/bin/env bash
# Two topics of equal volume and different priority, with the uplink down: the higher one keeps its data. Then the topic
# with half of what is kept is deleted, and the directory shrinks. Prints bytes written per byte of payload.
# Usage: scripts/priorities.sh [--binary FILE] [--bound MIB] [--rounds N]
# Each round produces 2 MiB to each topic, then pauses a second: faster, rewriting falls behind and the oldest segment
# goes whole. Needs Python 3. Exit codes: 0 as it should be, 1 not, 2 usage.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binary=target/release/brooklet
bound=128
rounds=36
source scripts/lib/gateway.sh
options binary bound rounds -- "$@"

cat >"$dir/brooklet.toml" <<EOF
[store]
max_bytes = "${bound}MiB"
rewrite_budget = "16GiB/day"
[topic.alarms]
priority = 9
[topic.debug]
priority = 1
[uplink.down]
bootstrap = ["127.0.0.1:9"]
EOF
start_gateway release --config "$dir/brooklet.toml"

# A figure of the status, by a Python expression over it (t: topics by name).
figure() {
  "$binary" status --data "$dir/data" --json | python3 -c "
import json, sys
s = json.load(sys.stdin)
t = {topic['name']: topic for topic in s['topics']}
print($1)"
}

for _ in $(seq "$rounds"); do
  for topic in alarms debug; do
    # 1,535 random characters and the line's end.
    head -c 1572864 /dev/urandom | base64 -w 1535 | "$binary" produce "$topic" --data "$dir/data" 2>/dev/null
  done
  sleep 1
done
sleep 3
high=$(figure "t['alarms']['retained']['records'] * 100 // t['alarms']['accepted']['records']")
low=$(figure "t['debug']['retained']['records'] * 100 // t['debug']['accepted']['records']")
printf 'produced %d MiB to each of two topics; bound %d MiB\n' $((rounds * 2)) "$bound"
printf 'kept: %s %% of alarms (priority 9), %s %% of debug (priority 1)\n' "$high" "$low"
printf 'bytes written per byte of payload: %s (%s rewrites made %s bytes)\n' \
  "$(figure "round(s['metrics']['store_bytes_written'] / s['store']['payload_bytes'], 2)")" \
  "$(figure "s['store']['rewrites']")" "$(figure "s['store']['rewritten_bytes']")"
"$binary" losses --data "$dir/data"
before=$(du -s --block-size=1 "$dir/data" | cut -f1)
share=$(figure "t['alarms']['retained']['bytes'] * 100 // max(1, sum(x['retained']['bytes'] for x in t.values()))")
"$binary" topic delete alarms --data "$dir/data" 2>/dev/null
sleep 4
after=$(du -s --block-size=1 "$dir/data" | cut -f1)
printf 'deleted alarms, %s %% of what was kept: the directory went from %d to %d bytes\n' "$share" "$before" "$after"
[ "$high" -gt "$low" ] || { echo "priorities.sh: FAILED: the higher priority did not keep more" >&2; exit 1; }
[ "$after" -lt "$before" ] || { echo "priorities.sh: FAILED: the directory did not shrink" >&2; exit 1; }

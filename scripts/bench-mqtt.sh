#!/usr/bin/env bash
# Brooklet beside Mosquitto with persistence, and NATS' MQTT: one run, one machine, one load generator (`brooklet bench mqtt`).
#
#   scripts/bench-mqtt.sh [--clients LIST] [--qos 1|2] [--bytes N] [--window N] [--seconds N] [--binary FILE] [--dir DIR]
#
#   --clients LIST  publishing clients, case by case, default 100,1000
#   --qos 1|2       default 1
#   --bytes N       of a payload, default 100
#   --window N      messages that a client has under way, default 20
#   --seconds N     for each case, default 8
#   --binary FILE   default target/release/brooklet
#   --dir DIR       where all store, on one filesystem, default .scratch/bench-mqtt; emptied before
#
# A client that is away has a subscription of QoS 1 to everything in each of them, so each has to keep what is published. What an
# acknowledgement means:
#
#   brooklet         committed and fsynced
#   mosquitto-saved  in memory, the whole database written at every change (autosave_on_changes, autosave_interval 1), without fsync:
#                    as near as it comes to keeping what it acknowledges
#   mosquitto        in memory; the database is written every 30 minutes (persistence with its defaults)
#   nats             JetStream's file store: written, fsynced every two minutes (its default)
#
# Every case has a process of its own and an empty store. Memory is the broker's highest (VmHWM); bytes written are what it gave to the
# disk (write_bytes of /proc/PID/io), by byte of payload. A broker that isn't installed is left out.
#
# Exit code 0: measured. 1: failed. 2: usage.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() { sed -n '2,26s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
fail() { printf 'bench-mqtt.sh: %s\n' "$*" >&2; exit 1; }

clients=100,1000 qos=1 bytes=100 window=20 seconds=8
binary=$root/target/release/brooklet dir=$root/.scratch/bench-mqtt
while [ $# -gt 0 ]; do
  case $1 in --help | -h) usage; exit 0 ;; esac
  [ $# -ge 2 ] || { usage >&2; exit 2; }
  case $1 in
    --clients) clients=$2 ;;
    --qos) qos=$2 ;;
    --bytes) bytes=$2 ;;
    --window) window=$2 ;;
    --seconds) seconds=$2 ;;
    --binary) binary=$2 ;;
    --dir) dir=$2 ;;
    *) usage >&2; exit 2 ;;
  esac
  shift 2
done
[ -x "$binary" ] || { echo "bench-mqtt.sh: $binary is missing; build it first" >&2; exit 2; }
case $dir in /*) ;; *) dir=$PWD/$dir ;; esac
ulimit -n 8192 2>/dev/null || ulimit -n "$(ulimit -Hn)"

PORT=21883
broker=''
# Only what was started here.
end_broker() {
  if [ -n "$broker" ]; then
    kill "$broker" 2>/dev/null || true
    wait "$broker" 2>/dev/null || true
  fi
  broker=''
}
trap 'end_broker; rm -rf "$dir"' EXIT

start_brooklet() {
  BROOKLET_LISTEN__MQTT__MAX_CONNECTIONS=4000 BROOKLET_LISTEN__MQTT__MAX_SESSIONS=8000 \
    exec "$binary" serve --data "$dir/data" --native 127.0.0.1:0 --kafka 127.0.0.1:0 --mqtt "127.0.0.1:$PORT"
}

# Queues without a bound, so that it drops nothing of what it acknowledges.
start_mosquitto() {
  printf '%s\n' "listener $PORT 127.0.0.1" 'allow_anonymous true' 'persistence true' "persistence_location $dir/data/" \
    'max_queued_messages 0' "user $(id -un)" "$@" >"$dir/mosquitto.conf"
  exec mosquitto -c "$dir/mosquitto.conf"
}
start_mosquitto-saved() { start_mosquitto 'autosave_on_changes true' 'autosave_interval 1'; }

start_nats() {
  printf '%s\n' 'server_name: bench' 'listen: 127.0.0.1:-1' "jetstream { store_dir: \"$dir/data\" }" "mqtt { listen: \"127.0.0.1:$PORT\" }" \
    >"$dir/nats.conf"
  exec nats-server -c "$dir/nats.conf"
}

figure() { sed -n "s/^$1:[[:space:]]*\([0-9]*\).*/\1/p" "/proc/$broker/$2"; }

# measure CONTENDER CLIENTS: a line CONTENDER CLIENTS RATE P50_US P99_US RSS_KB WRITTEN_PER_BYTE
measure() {
  local result before
  rm -rf "$dir"
  mkdir -p "$dir/data"
  ("start_$1" >"$dir/log" 2>&1) &
  broker=$!
  for _ in $(seq 100); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then break; fi
    kill -0 "$broker" 2>/dev/null || { cat "$dir/log" >&2; fail "$1 does not start"; }
    sleep 0.1
  done
  sleep 1
  before=$(figure write_bytes io)
  result=$("$binary" bench mqtt --broker "127.0.0.1:$PORT" --session away --clients "$2" --qos "$qos" --bytes "$bytes" \
    --window "$window" --duration "${seconds}s" --json) || { tail -5 "$dir/log" >&2; fail "$1, $2 clients"; }
  echo "$result" | python3 -c '
import json, sys
contender, clients, rss, written, size = sys.argv[1:]
case = json.load(sys.stdin)[0]
per_byte = int(written) / max(case["messages"] * int(size), 1)
print(contender, clients, round(case["messages_per_s"]), case["p50_us"], case["p99_us"], rss, f"{per_byte:.2f}")
' "$1" "$2" "$(figure VmHWM status)" $(($(figure write_bytes io) - before)) "$bytes"
  end_broker
}

contenders=(brooklet)
if command -v mosquitto >/dev/null; then contenders+=(mosquitto-saved mosquitto); else echo "mosquitto isn't installed" >&2; fi
if command -v nats-server >/dev/null; then contenders+=(nats); else echo "nats-server isn't installed" >&2; fi

printf '%-16s %7s %12s %10s %10s %9s %12s\n' broker clients messages/s p50 p99 RSS 'written/byte'
for count in ${clients//,/ }; do
  for contender in "${contenders[@]}"; do measure "$contender" "$count"; done
done | awk '
  {
    printf "%-16s %7d %12d %7.1f ms %7.1f ms %5.1f MiB %12.2f\n", $1, $2, $3, $4 / 1000, $5 / 1000, $6 / 1024, $7
    fflush()
    if ($1 == "brooklet") { rate = $3; p99 = $5; rss = $6; written = $7 }
    else ratios = ratios sprintf("brooklet : %-16s %7d clients: messages/s %.2f, p99 %.2f, RSS %.2f, written/byte %.3f\n", $1, $2, rate / $3, p99 / $5, rss / $6, $7 > 0 ? written / $7 : 0)
  }
  END { printf "\n%s", ratios }'

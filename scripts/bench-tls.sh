#!/usr/bin/env bash
# What TLS costs: the same gateway, in the clear and by TLS in turns within one run. Throughput of one Kafka producer and one consumer, CPU
# of the gateway's process for each megabyte, and memory and latency with idle connections. Ratios are TLS to in the clear.
#
# Exit codes: 0 measured, 1 something failed or memory is over the goal, 2 usage, 3 a program is missing.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

usage() {
  cat <<'TEXT'
  scripts/bench-tls.sh [--binary FILE] [--rounds N] [--mb N] [--idle N] [--duration TIME]

  --binary FILE    the brooklet to measure                              (target/release/brooklet, built)
  --rounds N       how often each is measured; the median counts        (3)
  --mb N           megabytes a measurement, in records of 1 kB          (100)
  --idle N         idle connections                                     (1000)
  --duration TIME  of each of the twelve turns with idle connections    (5s)
TEXT
}

binary='' rounds=3 mb=100 idle=1000 duration=5s
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --binary | --rounds | --mb | --idle | --duration)
      [ $# -ge 2 ] || { echo "bench-tls.sh: $1 needs a value" >&2; exit 2; }
      printf -v "${1#--}" %s "$2"
      shift 2 ;;
    *) echo "bench-tls.sh: $1: unknown option" >&2; usage >&2; exit 2 ;;
  esac
done
command -v kcat >/dev/null || { echo "SKIP: kcat isn't installed (Debian: kcat)" >&2; exit 3; }
command -v python3 >/dev/null || { echo "SKIP: python3 isn't installed" >&2; exit 3; }
[ -n "$binary" ] || { cargo build --quiet --release --locked; binary=target/release/brooklet; }
binary=$(cd "$(dirname "$binary")" && pwd)/$(basename "$binary")

dir=$(mktemp -d)
gateway=''
finish() {
  [ -z "$gateway" ] || { kill "$gateway" 2>/dev/null || true; wait "$gateway" 2>/dev/null || true; }
  rm -rf "$dir"
}
trap finish EXIT

free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

for args in "ca --name Bench" "gateway gw --host localhost" "device client"; do
  # shellcheck disable=SC2086 # words
  "$binary" cert $args --dir "$dir/tls" >/dev/null 2>&1
done
plain=$(free_port) tls=$(free_port) native=$(free_port)
cat >"$dir/brooklet.toml" <<TEXT
store.max_bytes = "4GiB"
listen.mqtt.enabled = false
listen.native.addr = "127.0.0.1:$native"
[listen.kafka]
addr = "127.0.0.1:$plain"
auth = ["certificate", "none"]
if_no_rule = "allow"
[listen.kafka.tls]
addr = "127.0.0.1:$tls"
cert = "$dir/tls/gw.pem"
key = "$dir/tls/gw.key"
client_ca = "$dir/tls/ca.pem"
TEXT
"$binary" serve --config "$dir/brooklet.toml" --data "$dir/data" 2>"$dir/log" &
gateway=$!
for _ in $(seq 600); do
  "$binary" status --data "$dir/data" >/dev/null 2>&1 && break
  kill -0 "$gateway" 2>/dev/null || { cat "$dir/log" >&2; exit 1; }
  sleep 0.1
done

python3 -c "import random,sys
random.seed(1)
line = lambda: ''.join(random.choices('abcdefghijklmnopqrstuvwxyz0123456789', k=999))
lines = [line() for _ in range(1000)]
for n in range($mb): sys.stdout.write('\n'.join(lines) + '\n')" >"$dir/records"

# Clock ticks that the gateway has used.
ticks() { awk '{sub(/.*\) /, ""); print $12 + $13}' "/proc/$gateway/stat"; }
way() { # the options of kcat
  case $1 in
    plain) echo "-b 127.0.0.1:$plain" ;;
    tls)
      echo "-b localhost:$tls -X security.protocol=SSL -X ssl.ca.location=$dir/tls/ca.pem" \
        "-X ssl.certificate.location=$dir/tls/client.pem -X ssl.key.location=$dir/tls/client.key" ;;
  esac
}
# measure WAY produce|consume TOPIC: a line "WAY WHAT SECONDS TICKS"
measure() {
  local before begun options
  read -ra options <<<"$(way "$1")"
  before=$(ticks) begun=$(date +%s.%N)
  if [ "$2" = produce ]; then
    kcat -P "${options[@]}" -t "$3" -X linger.ms=5 -X batch.num.messages=1000 -l "$dir/records" 2>>"$dir/kcat"
  else
    kcat -C "${options[@]}" -t "$3" -o beginning -c $((mb * 1000)) -q 2>>"$dir/kcat" >/dev/null
  fi
  echo "$1 $2 $(date +%s.%N) $begun $(ticks) $before" >>"$dir/measured"
}

echo "measuring $rounds rounds of $mb MB each way" >&2
for round in $(seq "$rounds"); do
  for way in plain tls; do
    "$binary" topic create "$way-$round" --data "$dir/data" >/dev/null 2>&1
    measure "$way" produce "$way-$round"
    measure "$way" consume "$way-$round"
    "$binary" topic delete "$way-$round" --data "$dir/data" >/dev/null 2>&1 || true
  done
done
kill "$gateway"; wait "$gateway" 2>/dev/null || true
gateway=''
echo "measuring $idle idle connections" >&2
"$binary" bench connections --idle "$idle" --duration "$duration" --json >"$dir/idle-plain"
"$binary" bench connections --idle "$idle" --duration "$duration" --tls --json >"$dir/idle-tls"

python3 - "$dir" "$mb" "$idle" "$(getconf CLK_TCK)" <<'PYTHON'
import json, statistics, sys
dir, mb, idle, hz = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
seconds, cpu = {}, {}
for line in open(f"{dir}/measured"):
    way, what, end, begin, after, before = line.split()
    seconds.setdefault((way, what), []).append(float(end) - float(begin))
    cpu.setdefault((way, what), []).append((float(after) - float(before)) / hz)
print(f"| {mb} MB | in the clear | TLS | ratio |\n|---|---|---|---|")
for what in ("produce", "consume"):
    plain, tls = (mb / statistics.median(seconds[way, what]) for way in ("plain", "tls"))
    print(f"| {what}, MB/s | {plain:.0f} | {tls:.0f} | {tls / plain:.2f} |")
    plain, tls = (1000 * statistics.median(cpu[way, what]) / mb for way in ("plain", "tls"))
    print(f"| {what}, gateway's CPU, ms/MB | {plain:.2f} | {tls:.2f} | {tls / max(plain, 1e-9):.2f} |")
goal, worst = 40 << 20, 0
memory = {}
for way in ("plain", "tls"):
    alone, beside = json.load(open(f"{dir}/idle-{way}"))
    memory[way] = beside["memory_bytes"]
mib = {way: bytes / (1 << 20) for way, bytes in memory.items()}
print(f"| {idle} idle beside 100 active, MiB | {mib['plain']:.1f} | {mib['tls']:.1f} | {mib['tls'] / mib['plain']:.2f} |")
if memory["tls"] > goal and idle <= 1000:
    print(f"over the goal of {goal >> 20} MiB")
    sys.exit(1)
PYTHON

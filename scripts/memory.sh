#!/usr/bin/env bash
# What the gateway holds in memory, in four scenes, judged by scripts/ceilings.txt: at rest; with 10,000 partitions; with 1,000 devices that
# send 1,000 records a second while an uplink reads a backlog, in the clear and by TLS. "Own" is the peak without pages of the binary's file:
# that is what a ceiling is of, so that any build may be judged (scripts/build-release.sh makes the one to be shipped, which is the smallest).
# Usage: scripts/memory.sh [--binary FILE] [--tool FILE] [--seconds N] [--scenes "NAME…"]
#   --binary   the gateway that is measured, by default the static one for this machine
#   --tool     a brooklet with `bench`, which plays the devices and is the centre; by default target/release/brooklet
#   --seconds  how long devices send, by default 10
#   --scenes   of: idle partitions plain tls
# The load is paced, so how busy the machine is changes latencies, hardly memory. Prints a table.
# Exit codes: 0 all within, 1 one beyond its ceiling, or a scene failed, 2 usage.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binary=target/x86_64-unknown-linux-musl/dist/brooklet
tool=target/release/brooklet
seconds=10
scenes='idle partitions plain tls'
devices=1000 rate=1000 partitions=10000
# MB of records that wait for the uplink, and what it may send a second: it reads for as long as the devices send.
backlog=64
source scripts/lib/gateway.sh
options binary tool seconds scenes -- "$@"
# One arena, as musl's allocator has: with glibc's by thread, memory is a matter of luck.
export MALLOC_ARENA_MAX=1
[ -x "$tool" ] || { echo "memory.sh: no $tool; cargo build --release" >&2; exit 2; }

kib() { awk -v field="$1:" '$1 == field { print $2 }' "/proc/$gateway/status"; }
# From here on the peak is that of what follows.
forget_peak() { echo 5 >"/proc/$gateway/clear_refs"; }
failed() { echo "memory.sh: $1" >&2; tail -5 "$dir"/log "$dir"/centre-log >&2 2>/dev/null || true; exit 1; }
stop_gateway() {
  kill "$gateway"
  wait "$gateway" || failed 'the gateway did not end in order'
  gateway=''
}
status=0
# judge SCENE PEAK OWN: a line of the table, KiB.
judge() {
  local ceiling goal
  read -r ceiling goal < <(awk -v name="memory-$1" '$1 == name { print $2, $3 }' scripts/ceilings.txt)
  awk -v scene="$1" -v peak="$2" -v own="$3" -v ceiling="$ceiling" -v goal="$goal" \
    'BEGIN { printf "| %s | %.1f | %.1f | %.1f | %.1f |\n", scene, peak / 1024, goal / 1024, own / 1024, ceiling / 1024 }'
  if [ "$3" -gt "$ceiling" ]; then
    echo "memory.sh: $1: its own $3 KiB are more than the ceiling of $ceiling (scripts/ceilings.txt)" >&2
    status=1
  fi
}
judge_now() { judge "$1" "$(kib VmHWM)" $(($(kib VmHWM) - $(kib RssFile))); }

forwards() { "$tool" status --data "$dir/data" --json | grep -q '"delivered_records":[1-9]'; }

idle() {
  start_gateway dist
  sleep 2
  judge_now idle
  stop_gateway
}

# What partitions add to a gateway that has none: as they were created, and after a start that finds them, whichever is more.
partitions() {
  local before created number
  start_gateway dist
  sleep 1
  before=$(kib RssAnon)
  for number in $(seq 10); do
    "$tool" topic create "many-$number" --partitions $((partitions / 10)) --data "$dir/data" >/dev/null 2>&1 || failed 'topic create'
  done
  sleep 1
  created=$(kib RssAnon)
  stop_gateway
  start_gateway dist
  sleep 1
  if [ "$(kib RssAnon)" -gt "$created" ]; then created=$(kib RssAnon); fi
  judge partitions $((created - before)) $((created - before))
  stop_gateway
}

# devices SCENE DOOR ARGUMENT…: by which address of its status the gateway is called, with what other arguments of `bench publish`. A backlog
# is stored first, without an uplink.
devices() {
  local scene=$1 door=$2 config=$dir/$1.toml way=("${@:3}")
  start_gateway dist --config "$config"
  head -c $((backlog * 786432)) /dev/urandom | base64 -w 1023 | "$tool" produce backlog --data "$dir/data" 2>"$dir/producer" || failed "produce: $(tail -1 "$dir/producer")"
  stop_gateway
  printf '[uplink.centre]\nbootstrap = ["%s"]\ntopic = "%s.{topic}"\ncreate_topics = true\ndelivery = "at-least-once"\nrate_limit = "%dMB/s"\n' \
    "$centre" "$scene" $((backlog / seconds)) >>"$config"
  start_gateway dist --config "$config"
  forget_peak
  address=$("$tool" status --data "$dir/data" --json | sed -n "s/.*\"$door\":\"127.0.0.1:\([0-9]*\)\".*/localhost:\1/p")
  "$tool" bench publish --broker "$address" "${way[@]}" --devices $devices --rate $rate --duration "${seconds}s" --acks flash \
    >"$dir/bench" 2>&1 || { cat "$dir/bench" >&2; failed "$scene: the devices were not served"; }
  # It may take a busy machine longer than the devices do to begin with it.
  for _ in $(seq 60); do
    if forwards; then break; fi
    sleep 1
  done
  forwards || failed "$scene: the uplink forwarded nothing"
  judge_now "$scene"
  stop_gateway
}

# More connections than by default; all else as it is.
configure() { printf 'clock.trust = "always"\nlisten.native.max_connections = %d\n%s\n' $((devices + 50)) "$2" >"$dir/$1.toml"; }

plain() {
  configure plain ''
  devices plain native
}

tls() {
  "$tool" cert ca --name Bench --dir "$dir/tls" >/dev/null 2>&1
  "$tool" cert gateway gw --host localhost --dir "$dir/tls" >/dev/null 2>&1
  configure tls "$(printf 'listen.native.tls.addr = "127.0.0.1:0"\nlisten.native.tls.cert = "%s"\nlisten.native.tls.key = "%s"' "$dir/tls/gw.pem" "$dir/tls/gw.key")"
  devices tls native_tls --tls-ca "$dir/tls/ca.pem"
}

# The centre is another gateway.
start_centre() {
  "$tool" serve --data "$dir/centre" --native 127.0.0.1:0 --kafka 127.0.0.1:0 --mqtt 127.0.0.1:0 --http 127.0.0.1:0 2>"$dir/centre-log" &
  others=$!
  for _ in $(seq 600); do
    centre=$("$tool" status --data "$dir/centre" --json 2>/dev/null | sed -n 's/.*"kafka":"\([^"]*\)".*/\1/p') || true
    if [ -n "$centre" ]; then return; fi
    sleep 0.1
  done
  failed 'the centre did not start'
}

start_centre
echo '| scene | peak, MiB | goal | own, MiB | ceiling |'
echo '|---|---|---|---|---|'
for scene in $scenes; do
  "$scene"
  rm -rf "$dir/data"
done
exit $status

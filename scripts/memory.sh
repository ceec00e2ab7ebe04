#!/usr/bin/env bash
# What the gateway holds in memory, in four scenes, judged by scripts/ceilings.txt: at rest; with 10,000 partitions; with 1,000 devices that
# send 1,000 records a second while an uplink reads a backlog, in the clear and by TLS. The peak counts, pages of the binary included.
# Usage: scripts/memory.sh [--binary FILE] [--tool FILE] [--seconds N] [--scenes "NAME…"]
#   --binary   the gateway that is measured, by default the static one for this machine (scripts/build-release.sh x86_64-unknown-linux-musl)
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
# judge SCENE KIB: a line of the table.
judge() {
  local ceiling goal
  read -r ceiling goal < <(awk -v name="memory-$1" '$1 == name { print $2, $3 }' scripts/ceilings.txt)
  awk -v scene="$1" -v kib="$2" -v files="$(kib RssFile)" -v ceiling="$ceiling" -v goal="$goal" \
    'BEGIN { printf "| %s | %.1f | %.1f | %.1f | %.1f |\n", scene, kib / 1024, files / 1024, ceiling / 1024, goal / 1024 }'
  if [ "$2" -gt "$ceiling" ]; then
    echo "memory.sh: $1: $2 KiB are more than the ceiling of $ceiling (scripts/ceilings.txt)" >&2
    status=1
  fi
}

idle() {
  start_gateway dist
  sleep 2
  judge idle "$(kib VmHWM)"
  stop_gateway
}

# What partitions add to a gateway that has none: as they were created, and after a start that finds them, whichever is more.
partitions() {
  local before created number
  start_gateway dist
  sleep 1
  before=$(kib VmRSS)
  for number in $(seq 10); do
    "$tool" topic create "many-$number" --partitions $((partitions / 10)) --data "$dir/data" >/dev/null 2>&1 || failed 'topic create'
  done
  sleep 1
  created=$(kib VmRSS)
  stop_gateway
  start_gateway dist
  sleep 1
  if [ "$(kib VmRSS)" -gt "$created" ]; then created=$(kib VmRSS); fi
  judge partitions $((created - before))
  stop_gateway
}

# devices SCENE ARGUMENT…: what arguments of `bench publish` call the gateway. A backlog is stored first, without an uplink.
devices() {
  local scene=$1 config=$dir/$1.toml way=("${@:2}")
  start_gateway dist --config "$config"
  head -c $((backlog * 786432)) /dev/urandom | base64 -w 1023 | "$tool" produce backlog --data "$dir/data" 2>"$dir/producer" || failed "produce: $(tail -1 "$dir/producer")"
  stop_gateway
  printf '[uplink.centre]\nbootstrap = ["%s"]\ntopic = "%s.{topic}"\ncreate_topics = true\ndelivery = "at-least-once"\nrate_limit = "%dMB/s"\n' \
    "$centre" "$scene" $((backlog / seconds)) >>"$config"
  start_gateway dist --config "$config"
  forget_peak
  "$tool" bench publish --broker "${address/127.0.0.1/localhost}" "${way[@]}" --devices $devices --rate $rate --duration "${seconds}s" --acks flash \
    >"$dir/bench" 2>&1 || { cat "$dir/bench" >&2; failed "$scene: the devices were not served"; }
  "$tool" status --data "$dir/data" --json | grep -q '"delivered_records":[1-9]' || failed "$scene: the uplink forwarded nothing"
  judge "$scene" "$(kib VmHWM)"
  stop_gateway
}

# More connections than by default; all else as it is.
configure() { printf 'clock.trust = "always"\nlisten.native.max_connections = %d\n%s\n' $((devices + 50)) "$2" >"$dir/$1.toml"; }

plain() {
  configure plain ''
  devices plain
}

tls() {
  "$tool" cert ca --name Bench --dir "$dir/tls" >/dev/null 2>&1
  "$tool" cert gateway gw --host localhost --dir "$dir/tls" >/dev/null 2>&1
  configure tls "$(printf 'listen.native.tls.cert = "%s"\nlisten.native.tls.key = "%s"' "$dir/tls/gw.pem" "$dir/tls/gw.key")"
  devices tls --tls-ca "$dir/tls/ca.pem"
}

# The centre is another gateway.
start_centre() {
  "$tool" serve --data "$dir/centre" --native 127.0.0.1:0 --kafka 127.0.0.1:0 --mqtt 127.0.0.1:0 --http 127.0.0.1:0 2>"$dir/centre-log" &
  others=$!
  for _ in $(seq 100); do
    centre=$("$tool" status --data "$dir/centre" --json 2>/dev/null | sed -n 's/.*"kafka":"\([^"]*\)".*/\1/p') || true
    if [ -n "$centre" ]; then return; fi
    sleep 0.1
  done
  failed 'the centre did not start'
}

start_centre
echo '| scene | peak, MiB | of it files | ceiling | goal |'
echo '|---|---|---|---|---|'
for scene in $scenes; do
  "$scene"
  rm -rf "$dir/data"
done
exit $status

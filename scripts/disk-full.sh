#!/usr/bin/env bash
# Fills the disk under a running gateway for a while, with a producer at work, and counts afterwards.
#
#   scripts/disk-full.sh [--seconds N] [--rate R] [--binary FILE]
#
#   --seconds N     how long the disk stays full, default 60
#   --rate R        records a second, default 500
#   --binary FILE   default target/release/brooklet
#
# The store lies on a filesystem of its own: ext4 in a file if that can be mounted, else tmpfs. Both need root.
# Exit code 0: everything acknowledged is there, once and in order, and the gateway went on without a restart.
# 1: not so. 2: usage. 3: nothing can be mounted here.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() { sed -n '2,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
say() { printf '%s  %s\n' "$(date +%T)" "$*"; }
fail() { printf 'disk-full.sh: %s\n' "$*" >&2; exit 1; }

seconds=60 rate=500 binary=$root/target/release/brooklet
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=${2:?--seconds needs a number}; shift 2 ;;
    --rate) rate=${2:?--rate needs a number}; shift 2 ;;
    --binary) binary=${2:?--binary needs a file}; shift 2 ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
for number in "$seconds" "$rate"; do
  case $number in '' | 0 | *[!0-9]*) usage >&2; exit 2 ;; esac
done
[ -x "$binary" ] || { echo "disk-full.sh: $binary is missing; build it first" >&2; exit 2; }

work=$(mktemp -d) mounted='' gateway='' producer=''
cleanup() {
  local status=$?
  # Only what was started here.
  for pid in $producer $gateway; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; done
  if [ -n "$mounted" ]; then umount "$work/disk" || true; fi
  if [ $status = 0 ]; then rm -rf "$work"; else echo "left in $work" >&2; fi
}
trap cleanup EXIT

mkdir "$work/disk"
truncate -s 160M "$work/image"
if mkfs.ext4 -q -F -m 0 "$work/image" 2>/dev/null && mount -o loop "$work/image" "$work/disk" 2>/dev/null; then
  mounted=ext4
elif mount -t tmpfs -o size=160m tmpfs "$work/disk" 2>/dev/null; then
  mounted=tmpfs
else
  echo "disk-full.sh: SKIP: no filesystem can be mounted here" >&2
  exit 3
fi

cat >"$work/brooklet.toml" <<TOML
data_dir = "$work/disk/data"
store.max_bytes = "128MiB"
listen.native.enabled = false
listen.kafka.enabled = false
listen.mqtt.enabled = false
TOML
"$binary" serve --config "$work/brooklet.toml" >"$work/gateway.log" 2>&1 &
gateway=$!
status() { "$binary" status --data "$work/disk/data" --json 2>/dev/null; }
figure() { status | grep -o "\"$1\":[0-9]*" | head -1 | cut -d: -f2; }
for _ in $(seq 100); do
  if status >/dev/null; then break; fi
  sleep 0.1
done
status >/dev/null || { cat "$work/gateway.log" >&2; fail "the gateway does not start"; }

# Numbered lines, a tenth of a second's worth at a time, for as long as the disk is full and 15 s around it.
lines() {
  local n=0 step=$((rate / 10 > 0 ? rate / 10 : 1)) rounds=$(((seconds + 15) * 10))
  for _ in $(seq "$rounds"); do
    seq -f 'reading %.0f with some words behind it, as a sensor would send them now and then' "$n" $((n + step - 1))
    n=$((n + step))
    sleep 0.1
  done
}
lines | tee "$work/sent" |
  "$binary" produce readings --data "$work/disk/data" --client-id meter --timeout 0s --json >"$work/acknowledged" &
producer=$!

acknowledged() { tail -c 60 "$work/acknowledged" | grep -o '[0-9]*' | tail -1; }
sleep 5
before=$(acknowledged)
say "on $mounted, $before records acknowledged; filling the disk"
# Everything there is, down to the last block.
dd if=/dev/zero of="$work/disk/filler" bs=1M 2>/dev/null || true
dd if=/dev/zero of="$work/disk/filler2" bs=4k 2>/dev/null || true
free=$(df --output=avail "$work/disk" | tail -1)
say "full: $free KiB free; for $seconds s"
sleep "$seconds"
full=$(acknowledged)
stopped=$(status | grep -o '"stopped":\(null\|"[^"]*"\)' || true)
say "$full acknowledged; store: ${stopped:-no answer}"
rm "$work/disk/filler" "$work/disk/filler2"
freed=$SECONDS
until [ "$(acknowledged)" -gt "$full" ]; do
  [ $((SECONDS - freed)) -lt 60 ] || fail "60 s after there was room again nothing more is acknowledged"
  sleep 0.2
done
say "there is room again; it goes on after $((SECONDS - freed)) s"
wait "$producer" || fail "the producer failed"
producer=''

sent=$(wc -l <"$work/sent")
"$binary" consume readings --data "$work/disk/data" --from beginning --format '%v\n' >"$work/read"
healed=$(figure healed)
kill -0 "$gateway" || fail "the gateway has ended"
read=$(wc -l <"$work/read")
say "sent $sent, acknowledged $(acknowledged), read back $read; the store was opened again ${healed:-0} times"
cmp -s "$work/sent" "$work/read" || fail "what is read back is not what was sent"
kill "$gateway"
wait "$gateway" || fail "the gateway ended with an error"
gateway=''
"$binary" fsck "$work/disk/data" || fail "fsck found something"
say "nothing lost, nothing twice"

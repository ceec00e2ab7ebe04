#!/usr/bin/env bash
# Measures what the gateway takes: size of the binary, memory at rest, and memory under a steady load of devices.
# Usage: scripts/footprint.sh [--binary FILE] [--devices N] [--rate N] [--seconds N]
# Prints one line a figure. Exit codes: 0 measured, 1 failed, 2 usage.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binary=target/dist/brooklet
devices=100
rate=1000
seconds=600
while [ $# -gt 0 ]; do
  case $1 in
    --binary) binary=$2 ;;
    --devices) devices=$2 ;;
    --rate) rate=$2 ;;
    --seconds) seconds=$2 ;;
    *)
      echo "footprint.sh: $1: not an option; see the head of this script" >&2
      exit 2
      ;;
  esac
  shift 2
done
[ -x "$binary" ] || { echo "footprint.sh: no $binary; build it by cargo build --profile dist, or name one by --binary" >&2; exit 2; }

dir=$(mktemp -d)
gateway=''
cleanup() {
  if [ -n "$gateway" ]; then kill "$gateway" 2>/dev/null || true; wait "$gateway" 2>/dev/null || true; fi
  rm -rf "$dir"
}
trap cleanup EXIT

memory_kib() { awk '/^VmRSS:/ { print $2 }' "/proc/$gateway/status"; }
peak_kib() { awk '/^VmHWM:/ { print $2 }' "/proc/$gateway/status"; }

# Free ports are chosen by the gateway and told in its status, by the socket in its data directory.
"$binary" serve --data "$dir/data" --native 127.0.0.1:0 --kafka 127.0.0.1:0 2>"$dir/log" &
gateway=$!
address=''
for _ in $(seq 100); do
  address=$("$binary" status --data "$dir/data" --json 2>/dev/null | sed -n 's/.*"native":"\([^"]*\)".*/\1/p') || true
  [ -n "$address" ] && break
  sleep 0.1
done
[ -n "$address" ] || { echo "footprint.sh: the gateway did not start:" >&2; cat "$dir/log" >&2; exit 1; }

sleep 3
printf 'binary: %d bytes\n' "$(stat -c %s "$binary")"
printf 'memory at rest: %d KiB\n' "$(memory_kib)"
"$binary" bench publish --broker "$address" --devices "$devices" --rate "$rate" --duration "${seconds}s" --acks flash
printf 'memory after %d s of %d records/s from %d devices: %d KiB (peak %d KiB)\n' \
  "$seconds" "$rate" "$devices" "$(memory_kib)" "$(peak_kib)"
"$binary" status --data "$dir/data" --json | sed 's/.*"commits":\([0-9]*\).*"payload_bytes":\([0-9]*\).*/commits: \1, payload: \2 bytes/'
awk '/^write_bytes/ { print "written to disk: " $2 " bytes" }' "/proc/$gateway/io"

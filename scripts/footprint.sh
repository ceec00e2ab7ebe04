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
source scripts/lib/gateway.sh
options binary devices rate seconds -- "$@"

memory_kib() { awk '/^VmRSS:/ { print $2 }' "/proc/$gateway/status"; }
peak_kib() { awk '/^VmHWM:/ { print $2 }' "/proc/$gateway/status"; }

start_gateway dist

sleep 3
printf 'binary: %d bytes\n' "$(stat -c %s "$binary")"
printf 'memory at rest: %d KiB\n' "$(memory_kib)"
"$binary" bench publish --broker "$address" --devices "$devices" --rate "$rate" --duration "${seconds}s" --acks flash
printf 'memory after %d s of %d records/s from %d devices: %d KiB (peak %d KiB)\n' \
  "$seconds" "$rate" "$devices" "$(memory_kib)" "$(peak_kib)"
"$binary" status --data "$dir/data" --json | sed 's/.*"commits":\([0-9]*\).*"payload_bytes":\([0-9]*\).*/commits: \1, payload: \2 bytes/'
awk '/^write_bytes/ { print "written to disk: " $2 " bytes" }' "/proc/$gateway/io"

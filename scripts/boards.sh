#!/usr/bin/env bash
# Runs the gateway with each configuration of board-configs/ and prints what it takes: memory at rest and under a steady load of
# devices, commits, and bytes written per byte of payload. On this machine, not on the board: what depends on the configuration.
# Usage: scripts/boards.sh [--binary FILE] [--tool FILE] [--devices N] [--rate N] [--seconds N] [--boards "NAME…"]
#   --tool   a brooklet with `bench`, which plays the devices, where the binary has none; by default the binary
# Prints a table. Exit codes: 0 every configuration started and took the load, 1 one did not, 2 usage.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binary=target/dist/brooklet
devices=20
rate=200
seconds=20
tool=''
boards=''
source scripts/lib/gateway.sh
options binary tool devices rate seconds boards -- "$@"
tool=${tool:-$binary}
if [ -z "$boards" ]; then
  for file in board-configs/*.toml; do boards+=" $(basename "$file" .toml)"; done
fi

memory_mib() { awk -v field="$1:" '$1 == field { printf "%.1f", $2 / 1024 }' "/proc/$gateway/status"; }
figure() { "$binary" status --data "$dir/data" --json | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }

echo "| configuration | at rest, MiB | under $rate records/s, MiB | peak, MiB | commits | written per payload byte |"
echo '|---|---|---|---|---|---|'
for board in $boards; do
  [ -f "board-configs/$board.toml" ] || { echo "boards.sh: no board-configs/$board.toml" >&2; exit 2; }
  start_gateway dist --config "board-configs/$board.toml"
  sleep 2
  rest=$(memory_mib VmRSS)
  "$tool" bench publish --broker "$address" --devices "$devices" --rate "$rate" --duration "${seconds}s" --acks flash >"$dir/bench" ||
    { cat "$dir/bench" "$dir/log" >&2; echo "boards.sh: $board does not take the load" >&2; exit 1; }
  written=$(awk '/^write_bytes/ { print $2 }' "/proc/$gateway/io")
  printf '| %s | %s | %s | %s | %s | %s |\n' "$board" "$rest" "$(memory_mib VmRSS)" "$(memory_mib VmHWM)" "$(figure commits)" \
    "$(awk -v written="$written" -v payload="$(figure payload_bytes)" 'BEGIN { printf "%.1f", payload ? written / payload : 0 }')"
  kill "$gateway"
  wait "$gateway" || { cat "$dir/log" >&2; echo "boards.sh: $board: the gateway did not end in order" >&2; exit 1; }
  gateway=''
  rm -rf "$dir/data"
done

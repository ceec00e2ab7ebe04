#!/usr/bin/env bash
# Pushes much more through a gateway than its store may hold, and watches that it never takes more.
# Usage: scripts/size-bound.sh [--binary FILE] [--bound MIB] [--push MIB]
# Disk use is the blocks of all files in the data directory plus those unlinked and still open. Exit codes: 0 the bound
# held, 1 it did not, 2 usage.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binary=target/release/brooklet
bound=64
push=1024
source scripts/lib/gateway.sh
options binary bound push -- "$@"

# Bytes on disk now: what du counts, and what only the process still holds open. It is stopped meanwhile: else what it renames or removes
# while it is counted would count twice.
used() {
  local here gone
  kill -STOP "$gateway"
  here=$(du -s --block-size=1 "$dir/data" 2>/dev/null | cut -f1)
  gone=$(find "/proc/$gateway/fd" -lname "$dir/data/* (deleted)" -exec stat -L -c '%b' {} + 2>/dev/null |
    awk '{ sum += $1 * 512 } END { print sum + 0 }')
  kill -CONT "$gateway"
  echo $((here + gone))
}

# Stopped, it would not end.
trap 'kill -CONT "$gateway" 2>/dev/null || true; end_gateway' EXIT
BROOKLET_STORE__MAX_BYTES="${bound}MiB" start_gateway release

# A record a line, 1,023 random characters and the line's end.
head -c $((push * 786432)) /dev/urandom | base64 -w 1023 | "$binary" produce pushed --data "$dir/data" 2>"$dir/producer" &
producer=$! others=$!
peak=0 samples=0
while kill -0 "$producer" 2>/dev/null; do
  now=$(used)
  samples=$((samples + 1))
  if [ "$now" -gt "$peak" ]; then peak=$now; fi
  sleep 0.02
done
wait "$producer" || { echo "size-bound.sh: the producer failed:" >&2; tail -3 "$dir/producer" >&2; exit 1; }
others=''
tail -1 "$dir/producer"
limit=$((bound * 1048576))
printf 'bound %d bytes; most on disk %d bytes (%d %%) in %d looks\n' "$limit" "$peak" $((peak * 100 / limit)) "$samples"
[ "$peak" -le "$limit" ] || { echo "size-bound.sh: FAILED: the bound did not hold" >&2; exit 1; }

#!/usr/bin/env bash
# Runs a binary that was built for an ARM board on this machine, by qemu-user: its version, records in and out by the native protocol, a
# SIGKILL and what is there after it, a look at every byte stored, and the demo.
# Usage: scripts/try-under-qemu.sh [--binary FILE] [--no-demo]
# Exit codes: 0 all well, 1 failed, 2 usage, 3 no qemu for it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binary=target/aarch64-unknown-linux-musl/dist/brooklet
demo=yes
while [ $# -gt 0 ]; do
  case $1 in
    --binary) [ $# -ge 2 ] || { echo "try-under-qemu.sh: --binary needs a file" >&2; exit 2; }; binary=$2; shift 2 ;;
    --no-demo) demo=no; shift ;;
    *) echo "try-under-qemu.sh: $1: not an option; see the head of this script" >&2; exit 2 ;;
  esac
done
[ -x "$binary" ] || { echo "try-under-qemu.sh: no $binary; run scripts/build-release.sh" >&2; exit 2; }

source scripts/lib/runner.sh
runner_for "$binary" || exit
[ -n "$runner" ] || { echo "try-under-qemu.sh: $binary is not for ARM" >&2; exit 2; }
export BROOKLET_RUNNER=$runner

brooklet() { "$runner" "$binary" "$@"; }
dir=$(mktemp -d)
gateway=''
trap '[ -z "$gateway" ] || kill "$gateway" 2>/dev/null || true; rm -rf "$dir"' EXIT
failed() { echo "try-under-qemu.sh: $1" >&2; [ ! -f "$dir/log" ] || tail -20 "$dir/log" >&2; exit 1; }

start() {
  "$runner" "$binary" serve --data "$dir/data" --native 127.0.0.1:0 --kafka 127.0.0.1:0 --mqtt 127.0.0.1:0 2>>"$dir/log" &
  gateway=$!
  for _ in $(seq 600); do
    if brooklet status --data "$dir/data" >/dev/null 2>&1; then return; fi
    sleep 0.2
  done
  failed 'the gateway did not start'
}

brooklet --version
start
seq 1000 | brooklet produce readings --data "$dir/data" >/dev/null
kill -9 "$gateway"
wait "$gateway" 2>/dev/null || true
brooklet fsck "$dir/data" >"$dir/fsck" || { cat "$dir/fsck" >&2; failed 'fsck found damage after the SIGKILL'; }
start
brooklet consume readings --data "$dir/data" >"$dir/read"
[ "$(seq 1000)" = "$(cat "$dir/read")" ] || failed "of 1000 acknowledged records $(wc -l <"$dir/read") are there after the SIGKILL, or out of order"
kill "$gateway"
wait "$gateway" || failed 'the gateway did not end in order'
gateway=''
echo '1000 records acknowledged, SIGKILL, fsck, 1000 read back in order'
if [ "$demo" = yes ]; then brooklet demo | tail -3; fi

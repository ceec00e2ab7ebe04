#!/usr/bin/env bash
# From the start of the process to "ready", with nothing stored and with much, after a clean end and after a SIGKILL. Neither the binary nor
# the store is in the kernel's memory before.
# Usage: scripts/cold-start.sh [--binaries "FILE…"] [--tool FILE] [--gib N] [--rounds N]
#   --binaries  what is measured; those for ARM run under qemu-user; by default the static one for x86-64
#   --tool      fills the store; by default the first of the binaries
#   --gib       what is stored in the second case, by default 1
#   --rounds    how often each is measured, by default 5; the median counts
# Prints a table. Exit codes: 0 measured, 1 failed, 2 usage, 3 no qemu for a binary.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binaries=target/x86_64-unknown-linux-musl/dist/brooklet
tool='' gib=1 rounds=5
source scripts/lib/gateway.sh
source scripts/lib/runner.sh
options binaries tool gib rounds -- "$@"
tool=${tool:-${binaries%% *}}
for binary in $binaries $tool; do
  [ -x "$binary" ] || { echo "cold-start.sh: no $binary; scripts/build-release.sh makes it" >&2; exit 2; }
done
failed() { echo "cold-start.sh: $1" >&2; tail -5 "$dir/log" >&2; exit 1; }

# Until the log says so; the time is that of its line.
wait_ready() {
  local line
  for _ in $(seq 600); do
    line=$(grep -m1 'serve: ready' "$dir/log") && { date -d "${line%% *}" +%s%3N; return; }
    kill -0 "$gateway" 2>/dev/null || break
    sleep 0.05
  done
  failed 'the gateway did not start'
}
serve() {
  local command=()
  [ -z "$runner" ] || command=("$runner")
  # Here, not by the redirection, which is the new process's doing: else the line of the run before might be found.
  : >"$dir/log"
  "${command[@]}" "$binary" serve --data "$dir/data" --native 127.0.0.1:0 --kafka 127.0.0.1:0 --mqtt 127.0.0.1:0 --http 127.0.0.1:0 2>"$dir/log" &
  gateway=$!
}
end_by() {
  kill "-$1" "$gateway"
  local code=0
  wait "$gateway" 2>/dev/null || code=$?
  [ "$1" = KILL ] || [ $code = 0 ] || failed "the gateway did not end in order: $code"
  gateway=''
}
forget() {
  local file
  sync "$dir/data"
  for file in "$binary" "$dir"/data/* "$dir"/data/*/*; do
    if [ -f "$file" ]; then dd if="$file" iflag=nocache count=0 status=none; fi
  done
}
# measure SIGNAL: the median, ms, of starts after the gateway ended by that signal.
measure() {
  local begun ready took=()
  for _ in $(seq "$rounds"); do
    serve
    wait_ready >/dev/null
    end_by "$1"
    forget
    begun=$(date +%s%3N)
    serve
    ready=$(wait_ready)
    took+=($((ready - begun)))
    end_by TERM
  done
  printf '%s\n' "${took[@]}" | sort -n | sed -n "$((rounds / 2 + 1))p"
}

# What is stored is the same for all binaries.
export BROOKLET_STORE__MAX_BYTES=$((gib + gib / 2 + 1))GiB
echo '| binary | run by | stored | ready after a clean end, ms | after a SIGKILL, ms |'
echo '|---|---|---|---|---|'
for stored in 0 "$gib"; do
  if [ "$stored" != 0 ]; then
    runner='' binary=$tool
    serve
    wait_ready >/dev/null
    # A record a line, 1,023 random characters and the line's end.
    head -c $((stored * 768 * 1048576)) /dev/urandom | base64 -w 1023 | "$tool" produce filled --data "$dir/data" 2>>"$dir/producer" ||
      failed "produce: $(tail -1 "$dir/producer")"
    end_by TERM
  fi
  for binary in $binaries; do
    runner_for "$binary" || exit
    clean=$(measure TERM)
    killed=$(measure KILL)
    printf '| %s | %s | %s GiB | %s | %s |\n' "$(basename "$binary")" "${runner:-this machine}" "$stored" "$clean" "$killed"
  done
done

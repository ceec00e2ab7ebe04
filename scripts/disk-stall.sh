#!/usr/bin/env bash
# Lets the disk under a running gateway stand still for a while, as cards do, with a producer at work and a service manager's
# watchdog that kills what does not feed it; and counts afterwards.
#
#   scripts/disk-stall.sh [--seconds N] [--rate R] [--watchdog W] [--binary FILE]
#
#   --seconds N     how long nothing can be written, default 30
#   --rate R        records a second, default 500
#   --watchdog W    seconds without a sign of life after which the gateway is killed, default 180, as in the unit
#   --binary FILE   default target/release/brooklet
#
# The store lies on a filesystem of its own, ext4 in a file, which is frozen (fsfreeze) meanwhile. That needs root.
# Exit code 0: the watchdog was fed all the time, and everything acknowledged is there, once and in order. 1: not so. 2: usage.
# 3: nothing can be mounted here.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() { sed -n '2,15s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

seconds=30 rate=500 watchdog=180 binary=$root/target/release/brooklet
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=${2:?--seconds needs a number}; shift 2 ;;
    --rate) rate=${2:?--rate needs a number}; shift 2 ;;
    --watchdog) watchdog=${2:?--watchdog needs a number}; shift 2 ;;
    --binary) binary=${2:?--binary needs a file}; shift 2 ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
for number in "$seconds" "$rate" "$watchdog"; do
  case $number in '' | 0 | *[!0-9]*) usage >&2; exit 2 ;; esac
done
[ -x "$binary" ] || { echo "disk-stall.sh: $binary is missing; build it first" >&2; exit 2; }

# shellcheck source=scripts/lib/loop-disk.sh
. "$root/scripts/lib/loop-disk.sh"

mount_disk ext4
release() { fsfreeze --unfreeze "$work/disk" 2>/dev/null || true; }

# The service manager: notes each sign of life with its time, and kills what gives none for too long.
export NOTIFY_SOCKET=$work/notify WATCHDOG_USEC=$((watchdog * 1000000))
start_gateway_after_manager() {
  python3 - "$NOTIFY_SOCKET" "$work/signs" "$work/pid" "$watchdog" <<'PYTHON' &
import os, signal, socket, sys, time
path, signs, pid, patience = *sys.argv[1:4], float(sys.argv[4])
heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
heard.bind(path)
heard.settimeout(1)
last = time.monotonic()
with open(signs, "w", buffering=1) as out:
    while True:
        try:
            text = heard.recv(4096).decode()
            out.write(f"{time.time():.1f} {text!r}\n")
            if "WATCHDOG=1" in text or "READY=1" in text:
                last = time.monotonic()
        except TimeoutError:
            pass
        if time.monotonic() - last > patience and os.path.exists(pid):
            out.write(f"{time.time():.1f} killed\n")
            os.kill(int(open(pid).read()), signal.SIGABRT)
            break
PYTHON
  others=$!
  until [ -S "$NOTIFY_SOCKET" ]; do sleep 0.1; done
  start_gateway
  echo "$gateway" >"$work/pid.new" && mv "$work/pid.new" "$work/pid"
}
start_gateway_after_manager
unset NOTIFY_SOCKET WATCHDOG_USEC
start_producer
sleep 5
before=$(acknowledged)
say "$before records acknowledged; the disk stands still for $seconds s"
[ "$before" -gt 0 ] || fail "nothing is acknowledged to begin with"
fsfreeze --freeze "$work/disk"
frozen=$(date +%s)
sleep 1
at_first=$(acknowledged)
sleep $((seconds - 1))
during=$(acknowledged)
fsfreeze --unfreeze "$work/disk"
[ "$at_first" = "$during" ] || fail "$((during - at_first)) records were acknowledged while nothing could be written"
fed=$(awk -v from="$frozen" -v to="$((frozen + seconds))" '$1 >= from && $1 <= to && /WATCHDOG=1/' "$work/signs" | wc -l)
say "$during acknowledged; meanwhile the watchdog was fed $fed times"
goes_on "$during"
all_is_there
# Beyond two minutes it may be told that something hangs; then the service manager decides.
bad='killed'
if [ "$seconds" -le 120 ]; then bad='killed\|hangs'; fi
if grep -q "$bad" "$work/signs"; then fail "the watchdog: $(grep "$bad" "$work/signs")"; fi
say "the watchdog was content: $(grep -c WATCHDOG=1 "$work/signs") signs of life"

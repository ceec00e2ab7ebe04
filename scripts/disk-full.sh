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

# shellcheck source=scripts/lib/loop-disk.sh
. "$root/scripts/lib/loop-disk.sh"

mount_disk ext4 tmpfs
start_gateway
start_producer
sleep 5
until [ "$(acknowledged)" ]; do sleep 0.2; done
say "on $mounted, $(acknowledged) records acknowledged; filling the disk"
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
say "there is room again"
goes_on "$full"
all_is_there

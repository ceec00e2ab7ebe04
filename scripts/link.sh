#!/usr/bin/env bash
# Measures what an uplink makes of a thin link: bytes a day when idle and with little traffic, and how much of 10 Mbit/s it uses
# at 100 ms and 1 s of round trip. About six minutes; nothing but this machine's loopback.
#
#   scripts/link.sh [bytes_a_day|use_of_a_link]
#
# BROOKLET_TEST_BINARY=FILE measures that brooklet; else cargo builds one.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
case ${1-} in
  -h | --help) sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
  "" | bytes_a_day | use_of_a_link) ;;
  *) echo "link.sh: $1: unknown measurement" >&2; exit 2 ;;
esac
exec cargo test --locked --test link -- --ignored --nocapture --test-threads=1 "$@"

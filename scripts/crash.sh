#!/usr/bin/env bash
# Cuts the power over the store, over the whole broker and under MQTT clients, in simulation; kills, fails and fills their disk as well.
#
#   scripts/crash.sh [--minutes N] [--only TEST]
#                                      random seeds for so long, default 10; prints the crashes by kind, and violations
#   scripts/crash.sh --seed S [TEST]   one seed again, as a violation prints it
#   scripts/crash.sh --planted         breaks a rule of the store on purpose, one after the other: each must be found
#
# Exit code 0: nothing acknowledged was lost (and with --planted, every fault was found).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

minutes=10
while [ $# -gt 0 ]; do
  case $1 in
    --minutes) minutes=${2:?--minutes needs a number}; shift 2 ;;
    --only) export BROOKLET_CRASH_ONLY=${2:?--only needs the name of a test}; shift 2 ;;
    --seed)
      BROOKLET_CRASH_SEED=${2:?--seed needs a number} exec cargo test --test store_crash --test broker_crash --test mqtt_crash -- --nocapture ${3:+"$3"}
      ;;
    --planted) exec cargo test --test broker_crash -- --ignored --nocapture planted ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
case $minutes in '' | *[!0-9]*) usage >&2; exit 2 ;; esac

# A part of the time for each.
export BROOKLET_CRASH_SECONDS=$((minutes * 20))
status=0
for test in broker_crash store_crash mqtt_crash; do
  printf '\n=== %s: %d s\n' "$test" "$BROOKLET_CRASH_SECONDS"
  cargo test --test "$test" -- --ignored --nocapture everything || status=$?
done
exit $status

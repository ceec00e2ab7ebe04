#!/usr/bin/env bash
# Cuts the power over a whole store, in simulation, with random seeds, for as long as you like.
#
#   scripts/crash.sh [--minutes N]     default 10
#   scripts/crash.sh --seed S          one seed again: the tests print it when they fail
#
# Exit code 0: nothing acknowledged was lost.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

minutes=10
while [ $# -gt 0 ]; do
  case $1 in
    --minutes) minutes=${2:?--minutes needs a number}; shift 2 ;;
    --seed) BROOKLET_CRASH_SEED=${2:?--seed needs a number} exec cargo test --test store_crash -- --nocapture ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
case $minutes in '' | *[!0-9]*) usage >&2; exit 2 ;; esac

BROOKLET_CRASH_SECONDS=$((minutes * 60)) exec cargo test --test store_crash -- --ignored --nocapture

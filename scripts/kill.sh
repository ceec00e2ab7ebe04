#!/usr/bin/env bash
# Kills the real gateway by SIGKILL under real producers, and under MQTT clients, again and again, and counts what is there afterwards.
#
#   scripts/kill.sh [--rounds N] [--binary FILE]     default 50 rounds, the binary that cargo builds for tests
#
# Exit code 0: everything acknowledged is there once and in order, and committed offsets are kept; MQTT subscribers got everything, with QoS 2
# once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

rounds=50
while [ $# -gt 0 ]; do
  case $1 in
    --rounds) rounds=${2:?--rounds needs a number}; shift 2 ;;
    --binary) BROOKLET_TEST_BINARY=$(realpath "${2:?--binary needs a file}"); export BROOKLET_TEST_BINARY; shift 2 ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
case $rounds in '' | *[!0-9]*) usage >&2; exit 2 ;; esac

BROOKLET_KILL_ROUNDS=$rounds exec cargo test --test kill --test mqtt_kill -- --nocapture

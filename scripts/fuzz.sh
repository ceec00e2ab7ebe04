#!/usr/bin/env bash
# Feeds every decoder with made-up and damaged bytes (tests/fuzz), from a seed, and prints a table: executions by target, crashes.
#
# Usage: scripts/fuzz.sh --minutes N [--target NAME] [--seed N]     NAME: a target's name, or how it begins (kafka, live, …)
#        scripts/fuzz.sh --replay TARGET:SEED:INDEX | TARGET:FILE   one case again
#
# The minutes are shared out among the targets. A finding is made smaller and written to target/tmp/fuzz. What ends the process (a
# stack that overflows, a hang) is named at the end. Exit codes: 0 nothing found, 1 something is, 2 usage.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

minutes='' target='' seed=$((RANDOM * 32768 + RANDOM)) replay=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --minutes | --target | --seed | --replay)
      [ $# -ge 2 ] || { echo "fuzz.sh: $1 needs a value" >&2; exit 2; }
      printf -v "${1#--}" %s "$2"
      shift 2 ;;
    *) echo "fuzz.sh: $1: unknown option; see --help" >&2; exit 2 ;;
  esac
done
if [ -z "$minutes$replay" ]; then echo "fuzz.sh: --minutes N, or --replay CASE" >&2; exit 2; fi

seconds=$(awk -v minutes="${minutes:-0}" 'BEGIN { print minutes * 60 }')
[ -n "$replay" ] || echo "seed $seed"
status=0
BROOKLET_FUZZ_SECONDS=$seconds BROOKLET_FUZZ_SEED=$seed BROOKLET_FUZZ_TARGET=$target BROOKLET_FUZZ_REPLAY=$replay \
  cargo test --locked --quiet --config profile.test.package.brooklet.opt-level=2 --test fuzz -- --ignored --nocapture for_as_long_as_told || status=$?
last=target/tmp/fuzz/last
if [ $status != 0 ] && [ -s $last ]; then
  case=$(tr -d ' \n' <$last)
  echo "fuzz.sh: the process ended within a case; again: scripts/fuzz.sh --replay $case" >&2
fi
[ $status = 0 ] || exit 1

#!/usr/bin/env bash
# Tortures the uplink: tests/torture between a gateway and an Apache Kafka of three nodes, started for the occasion.
#
# Exit codes: 0 everything arrived exactly once and in order, 1 not so (the seed is printed; story and logs are kept), 2 usage,
# 3 a program is missing (named on a line that begins with SKIP).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

usage() {
  cat <<'TEXT'
  scripts/torture.sh [--minutes N] [OPTION...]     the torture
  scripts/torture.sh scenes [OPTION...] [NAME...]  single scenes: a copied store, two gateways of one name, offsets expired in
                                                   doubt, another one's open transaction, 3,000 gateways, twenty at once

  --minutes N      how long devices publish; a fraction will do                   (5; of the scene of twenty: 1)
  --least N        fail where a fault occurred less often than that               (0; 20 takes about half an hour)
  --tv1            a cluster of transactions v1 (its feature transaction.version lowered)
  --kafka V        version of Apache Kafka, from 2.8; before 4.0 it has transactions v1 only
                                                                                  (the newest of scripts/kafka.sh)
  --at-least-once  with that delivery: duplicates are counted and allowed
  --seed S         order of the faults, and the readings                          (by chance)
  --data DIR       readings of CSV files (a heading, then TIME,VALUE) instead of made ones
  --devices N                                                                     (24)
  --binary FILE    the brooklet to torture                                        (a release build of this checkout)
  --port P         the cluster's first port                                       (32092)
TEXT
}

minutes='' port=32092 binary='' version=() features=() names=()
what=(--exact run::torture)
if [ "${1:-}" = scenes ]; then
  what=(--test-threads=1 --skip run::torture)
  shift
fi
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --tv1) features=(--feature transaction.version=1); shift; continue ;;
    [!-]*) names+=("$1"); shift; continue ;;
    --at-least-once) export BROOKLET_TORTURE_DELIVERY=at-least-once; shift; continue ;;
  esac
  [ $# -ge 2 ] || { echo "torture.sh: $1: unknown option, or its value is missing" >&2; usage >&2; exit 2; }
  case $1 in
    --minutes) minutes=$2 ;;
    --least) export BROOKLET_TORTURE_LEAST=$2 ;;
    --seed) export BROOKLET_TORTURE_SEED=$2 ;;
    --data) BROOKLET_TORTURE_DATA=$(cd "$2" && pwd); export BROOKLET_TORTURE_DATA ;;
    --devices) export BROOKLET_TORTURE_DEVICES=$2 ;;
    --binary) binary=$2 ;;
    --port) port=$2 ;;
    --kafka) version=(--kafka "$2") ;;
    *) echo "torture.sh: $1: unknown option" >&2; usage >&2; exit 2 ;;
  esac
  shift 2
done
[ "${what[0]}" != --exact ] || [ ${#names[@]} = 0 ] || { echo "torture.sh: ${names[0]}: only scenes have names" >&2; exit 2; }
[ -n "$minutes" ] || { [ "${what[0]}" = --exact ] && minutes=5 || minutes=1; }
case $minutes in *[!0-9.]*) echo "torture.sh: --minutes is a number" >&2; exit 2 ;; esac

command -v kcat >/dev/null || { echo "torture.sh: SKIP: kcat isn't installed (Debian: apt-get install kcat)" >&2; exit 3; }
if [ -z "$binary" ]; then
  cargo build --locked --release
  binary=target/release/brooklet
fi
BROOKLET_TEST_BINARY=$(cd "$(dirname "$binary")" && pwd)/$(basename "$binary")
BROOKLET_TORTURE_SECONDS=$(awk -v minutes="$minutes" 'BEGIN { printf "%d", minutes * 60 }')
work=$root/.scratch/torture
export BROOKLET_TEST_BINARY BROOKLET_TORTURE_SECONDS BROOKLET_TORTURE_WORK=$work

# Before the cluster starts: else two programs would want all processors at once.
cargo test --locked --test torture --no-run

# So that an expired transaction is noticed when it expires, not up to 10 s later.
cluster=(--dir "$work/kafka")
status=0
scripts/kafka.sh start "${cluster[@]}" --fresh --nodes 3 --port "$port" ${version[@]+"${version[@]}"} ${features[@]+"${features[@]}"} \
  --set transaction.abort.timed.out.transaction.cleanup.interval.ms=1000 >/dev/null || status=$?
trap 'scripts/kafka.sh stop --kill "${cluster[@]}"' EXIT
[ $status = 0 ] || exit $status
BROOKLET_TEST_KAFKA=$(scripts/kafka.sh bootstrap "${cluster[@]}")
export BROOKLET_TEST_KAFKA BROOKLET_TEST_KAFKA_DIR=$work/kafka
cargo test --locked --test torture -- --ignored --nocapture "${what[@]}" ${names[@]+"${names[@]}"} || exit 1

#!/usr/bin/env bash
# Runs the tests with other people's programs (tests/interop): kcat, and a real Apache Kafka started for the occasion.
# As `interop.sh clients` the matrix of client libraries, as `interop.sh mqtt` that of MQTT clients (scripts/clients.sh); as `interop.sh
# security` who may do what (scripts/security.sh).
#
# Exit codes: 0 passed, 1 failed, 2 usage, 3 passed as far as it went, but a program is missing (named on a line that
# begins with SKIP). With BROOKLET_REQUIRE_PEERS=1 a missing program is a failure.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

usage() {
  cat <<'TEXT'
  scripts/interop.sh [--binary FILE] [--kafka V] [--nodes 1|3] [--port P] [NAME...]
  scripts/interop.sh clients [--binary FILE] [CLIENT...]
  scripts/interop.sh mqtt [--binary FILE] [CLIENT...]
  scripts/interop.sh security [--binary FILE] [--port P] [--no-kafka]

  --binary FILE  the brooklet to test                                            (cargo builds one for the tests)
  --kafka V      version of the Apache Kafka, from 2.8                           (the newest of scripts/kafka.sh)
  --nodes N      nodes of the Apache Kafka                                       (1)
  --port P       its first port                                                  (29092)
  NAME           only tests whose names contain it, as with cargo test           (all)
TEXT
}

case ${1:-} in
  clients) shift; exec scripts/clients.sh "$@" ;;
  mqtt) exec scripts/clients.sh "$@" ;;
  security) shift; exec scripts/security.sh "$@" ;;
esac

nodes=1 port=29092
names=() version=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --binary | --kafka | --nodes | --port)
      [ $# -ge 2 ] || { echo "interop.sh: $1 needs a value" >&2; exit 2; }
      case $1 in
        --binary) BROOKLET_TEST_BINARY=$(cd "$(dirname "$2")" && pwd)/$(basename "$2"); export BROOKLET_TEST_BINARY ;;
        --kafka) version=(--kafka "$2") ;;
        --nodes) nodes=$2 ;;
        --port) port=$2 ;;
      esac
      shift 2 ;;
    -*) echo "interop.sh: $1: unknown option" >&2; usage >&2; exit 2 ;;
    *) names+=("$1"); shift ;;
  esac
done

missing=0
skip() {
  echo "SKIP: $*" >&2
  missing=1
}

if command -v kcat >/dev/null; then
  export BROOKLET_TEST_KCAT=1
else
  skip "kcat isn't installed (Debian: apt-get install kcat)"
fi

for tool in openssl mosquitto_pub; do
  # Debian: openssl, mosquitto-clients.
  if command -v "$tool" >/dev/null; then
    declare -x "BROOKLET_TEST_${tool^^}=1"
  else
    skip "$tool isn't installed"
  fi
done

# Certificates of both sides, by the program that is tested.
certs=$root/.scratch/interop/certs
if [ -z "${BROOKLET_TEST_BINARY:-}" ]; then cargo build --locked; fi
brooklet=${BROOKLET_TEST_BINARY:-$root/target/debug/brooklet}
rm -rf "$certs"
"$brooklet" cert ca --dir "$certs" >/dev/null
for owner in kafka gw; do "$brooklet" cert gateway "$owner" --dir "$certs" >/dev/null; done
"$brooklet" cert device dev --dir "$certs" >/dev/null
export BROOKLET_TEST_CERTS=$certs

kafka=(--dir "$root/.scratch/interop/kafka")
status=0
# So that nobody waits 10 s for a transaction that is to expire.
soon=(--set transaction.abort.timed.out.transaction.cleanup.interval.ms=500)
scripts/kafka.sh start "${kafka[@]}" --fresh ${version[@]+"${version[@]}"} --nodes "$nodes" --port "$port" --tls "$certs" "${soon[@]}" >/dev/null || status=$?
case $status in
  0)
    trap 'scripts/kafka.sh stop --kill "${kafka[@]}"' EXIT
    BROOKLET_TEST_KAFKA=$(scripts/kafka.sh bootstrap "${kafka[@]}")
    export BROOKLET_TEST_KAFKA_TLS=127.0.0.1:$((port + 200))
    export BROOKLET_TEST_KAFKA BROOKLET_TEST_KAFKA_DIR=$root/.scratch/interop/kafka
    ;;
  3) skip "without Java and Maven there is no Apache Kafka to test with" ;;
  *) echo "interop.sh: Apache Kafka didn't start" >&2; exit 1 ;;
esac

if [ $missing = 1 ] && [ -n "${BROOKLET_REQUIRE_PEERS:-}" ]; then exit 1; fi

# Each test has processes of its own; more than two at once would measure the machine.
cargo test --locked --test interop -- --test-threads=2 ${names[@]+"${names[@]}"} || exit 1
# Whether the uplink's tests may believe their fake cluster.
[ ${#names[@]} -gt 0 ] || cargo test --locked --test uplink_fake -- a_real_cluster || exit 1
[ $missing = 0 ] || exit 3

#!/usr/bin/env bash
# Measures what an uplink makes of a thin link: bytes a day when idle and with little traffic, and how much of 10 Mbit/s it uses
# at 100 ms and 1 s of round trip. About six minutes; nothing but this machine's loopback.
#
#   scripts/link.sh [--kafka V] [bytes_a_day|use_of_a_link]
#
# The centre is another gateway, at least once; with --kafka an Apache Kafka of that version, exactly once (Java 17, Maven).
# BROOKLET_TEST_BINARY=FILE measures that brooklet; else cargo builds one.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
centre=()
if [ "${1-}" = --kafka ] && [ -n "${2-}" ]; then
  port=28092 kafka=$PWD/.scratch/link/kafka
  centre=(start --fresh --dir "$kafka" --port "$port" --kafka "$2")
  shift 2
fi
case ${1-} in
  -h | --help) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
  "" | bytes_a_day | use_of_a_link) ;;
  *) echo "link.sh: $1: unknown measurement" >&2; exit 2 ;;
esac
if [ ${#centre[@]} -gt 0 ]; then
  # Two listeners: what the brokers say to each other goes past the relay.
  out=127.0.0.1:$((port + 300)) front=127.0.0.1:$((port + 301)) plain=127.0.0.1:$port
  trap 'scripts/kafka.sh stop --kill --dir "$kafka"' EXIT
  scripts/kafka.sh "${centre[@]}" --set "listeners=PLAINTEXT://$plain,OUT://$out,CONTROLLER://127.0.0.1:$((port + 100))" \
    --set "advertised.listeners=PLAINTEXT://$plain,OUT://$front" \
    --set listener.security.protocol.map=PLAINTEXT:PLAINTEXT,OUT:PLAINTEXT,CONTROLLER:PLAINTEXT \
    --set inter.broker.listener.name=PLAINTEXT >/dev/null
  export BROOKLET_TEST_KAFKA=$plain BROOKLET_TEST_KAFKA_OUT=$out BROOKLET_TEST_KAFKA_FRONT=$front
fi
cargo test --locked --test link -- --ignored --nocapture --test-threads=1 "$@"

#!/usr/bin/env bash
# kcat. Its members commit by themselves, now and then and when they leave. The verbs are those of ../main.rs.
set -euo pipefail

verb=$1
[ "$verb" = version ] || bootstrap=$2
shift 2 2>/dev/null || true

# kcat tells each assignment on standard error, all partitions at a time.
assignments() {
  sed -u -n -E \
    -e '/ assigned: /{ s/.* assigned: //; s/[^ ]+ \[([0-9]+)\],?/\1/g; s/^/assigned /p; d }' \
    -e '/ revoked: /{ s/.*/assigned/p; d }' \
    -e 'w /dev/stderr'
}

group() {
  local strategy=()
  [ $# -lt 3 ] || strategy=(-X "partition.assignment.strategy=$3")
  kcat -G "$2" "$1" -b "$bootstrap" -u -E -f 'record %p %o %k %s\n' -X auto.offset.reset=earliest -X session.timeout.ms=6000 \
    -X heartbeat.interval.ms=500 -X auto.commit.interval.ms=200 ${strategy[@]+"${strategy[@]}"} </dev/null 2> >(assignments) &
  local member=$!
  cat >/dev/null
  kill -TERM "$member"
  wait "$member"
}

case $verb in
  version) kcat -V | sed -n 's/^Version \([^ ]*\) .*librdkafka \([^ ]*\) .*/kcat \1 (librdkafka \2)/p' ;;
  produce)
    seq "$2" $(($3 - 1)) | sed 's/.*/k&:v&/' |
      kcat -P -E -b "$bootstrap" -t "$1" -K: -z "$4" -X acks=all -X linger.ms=20 \
        -X "enable.idempotence=$([ "${5:-}" = idempotent ] && echo true || echo false)" ;;
  consume) kcat -C -q -b "$bootstrap" -t "$1" -o beginning -c "$2" -f '%p %o %k %s\n' ;;
  group) group "$@" ;;
  *) echo "kcat has no admin calls"; exit 3 ;;
esac

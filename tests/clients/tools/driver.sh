#!/usr/bin/env bash
# The programs that come with Apache Kafka, as its users call them: kafka-topics, kafka-configs, kafka-consumer-groups,
# kafka-delete-records, the console producer and consumer; as members VerifiableConsumers, which tell what they do in
# JSON. The verbs are those of ../main.rs, and `tool BOOTSTRAP CLASS ARGS…` for others. KAFKA_SCRIPT names scripts/kafka.sh.
set -euo pipefail

tools=org.apache.kafka.tools
verb=$1
shift
if [ "$verb" != version ]; then
  bootstrap=$1
  shift
fi

tool() { "$KAFKA_SCRIPT" tool "$@"; }

topics() { tool $tools.TopicCommand --bootstrap-server "$bootstrap" "$@"; }
configs() { tool kafka.admin.ConfigCommand --bootstrap-server "$bootstrap" --entity-type topics "$@"; }
groups() { tool $tools.consumer.group.ConsumerGroupCommand --bootstrap-server "$bootstrap" "$@"; }

produce() {
  seq "$2" $(($3 - 1)) | sed 's/.*/k&:v&/' |
    tool $tools.ConsoleProducer --bootstrap-server "$bootstrap" --topic "$1" --compression-codec "$4" \
      --reader-property parse.key=true --reader-property key.separator=: --message-send-max-retries 1000000 \
      --request-timeout-ms 30000 --command-property linger.ms=20 --command-property "enable.idempotence=$([ "${5:-}" = idempotent ] && echo true || echo false)" >&2
}

consume() {
  tool $tools.consumer.ConsoleConsumer --bootstrap-server "$bootstrap" --topic "$1" --from-beginning --max-messages "$2" \
    --formatter-property print.partition=true --formatter-property print.offset=true --formatter-property print.key=true |
    sed 's/^Partition:\([0-9]*\)\tOffset:\([0-9]*\)\t\([^\t]*\)\t/\1 \2 \3 /'
}

# One JSON object a line. An assignment comes with all partitions (the assignor is an eager one).
events() {
  local partition='\{"topic":"[^"]*","partition":([0-9]+)'
  sed -u -n -E \
    -e "/\"name\":\"partitions_assigned\"/{ s/.*\"partitions\":\[//; s/\].*//; s/$partition\},?/ \1/g; s/^/assigned/p }" \
    -e '/"name":"partitions_revoked"/s/.*/assigned/p' \
    -e 's/.*"name":"record_data","key":"([^"]*)","value":"([^"]*)".*"partition":([0-9]+),"offset":([0-9]+).*/record \3 \4 \1 \2/p' \
    -e "/\"name\":\"offsets_committed\".*\"success\":true/{ s/.*\"offsets\":\[//; s/\].*//; s/$partition,\"offset\":([0-9]+)\},?/committed \1 \2\n/g; s/\n\$//p }"
}

group() {
  local member
  "$KAFKA_SCRIPT" tool $tools.VerifiableConsumer --bootstrap-server "$bootstrap" --topic "$1" --group-id "$2" --verbose \
    --session-timeout 6000 --assignment-strategy org.apache.kafka.clients.consumer.RangeAssignor </dev/null > >(events) &
  member=$!
  cat >/dev/null
  kill -TERM "$member"
  # Java says 128 and the signal's number of an end that was asked for.
  wait "$member" || [ $? = 143 ]
}

case $verb in
  version) echo "Kafka's tools $(tool $tools.TopicCommand --version | cut -d' ' -f1)" ;;
  tool) tool "$1" --bootstrap-server "$bootstrap" "${@:2}" ;;
  create) topics --create --topic "$1" --partitions "$2" --replication-factor 1 >&2 ;;
  produce) produce "$@" ;;
  consume) consume "$@" ;;
  group) group "$@" ;;
  committed) groups --describe --group "$2" | awk -v topic="$1" '$2 == topic { print $3, $4 }' ;;
  describe)
    topics --describe --topic "$1" | sed -n 's/.*PartitionCount: \([0-9]*\).*/partitions \1/p'
    configs --describe --all --entity-name "$1" | sed -n 's/^  \([^=]*\)=\([^ ]*\) .*/config \1 \2/p' ;;
  alter) configs --alter --entity-name "$1" --add-config "$2=$3" >&2 ;;
  list-groups) groups --list ;;
  describe-group) groups --describe --state --group "$1" | awk '$1 == group { print $(NF - 1), $NF }' group="$1" ;;
  delete-group) groups --delete --group "$1" >&2 ;;
  delete-records)
    offsets=$(mktemp)
    trap 'rm -f "$offsets"' EXIT
    echo "{\"partitions\":[{\"topic\":\"$1\",\"partition\":$2,\"offset\":$3}],\"version\":1}" >"$offsets"
    tool $tools.DeleteRecordsCommand --bootstrap-server "$bootstrap" --offset-json-file "$offsets" >&2 ;;
  delete) topics --delete --topic "$1" ;;
  *) echo "no $verb"; exit 3 ;;
esac

#!/usr/bin/env bash
# Brooklet beside Apache Kafka: one run, one machine, the same client with the same settings, the contenders in turns.
#
#   scripts/bench-kafka.sh [--rounds N] [--megabytes N] [--sizes LIST] [--partitions LIST] [--rate R] [--without-flush]
#                          [--client-config LIST] [--binary FILE] [--dir DIR] [--raw FILE]
#
#   --rounds N            counted rounds; one more before them warms up, default 3
#   --megabytes N         payload of a produce run, default 300 (10^6 bytes)
#   --sizes LIST          bytes of a record, default 100,1000
#   --partitions LIST     default 1,8
#   --rate R              records a second of the run that measures latency, default 2000; 0: none
#   --without-flush       leaves Kafka with flush.messages=1 out
#   --client-config LIST  further settings of the producer, K=V,K=V
#   --binary FILE         default target/release/brooklet
#   --dir DIR             where both store, on one filesystem, default .scratch/bench-kafka; emptied before
#   --raw FILE            keeps every measurement of every round: contender, case, figure, value
#
# The client is Kafka's own ProducerPerformance (acks=all, otherwise its defaults: idempotent, batches of 16 KiB, five
# requests in flight; the first fifth of the records doesn't count, its virtual machine warms up) and ConsumerPerformance. Brooklet syncs before it acknowledges. Kafka runs with its defaults, so it
# acknowledges what is in the kernel's memory, and a second time with flush.messages=1, so that it syncs as well; heap and
# collector are those of its own start script. Printed are medians over the rounds, and ratios to Kafka with its defaults.
# CPU is the broker's own, of /proc/PID/stat, per 10^9 bytes of payload; memory is the broker's highest (VmHWM). Latency at
# full speed is mostly the wait in the client's own buffer; "even" is latency at --rate.
#
# Exit code 0: measured. 1: failed. 2: usage. 3: Java or Maven is missing.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() { sed -n '2,24s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
say() { printf '%s  %s\n' "$(date +%T)" "$*" >&2; }
fail() { printf 'bench-kafka.sh: %s\n' "$*" >&2; exit 1; }

rounds=3 megabytes=300 sizes=100,1000 partitions=1,8 rate=2000 client_config='' raw=''
binary=$root/target/release/brooklet dir=$root/.scratch/bench-kafka
contenders=(brooklet kafka kafka-flush)
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage; exit 0 ;;
    --without-flush) contenders=(brooklet kafka); shift; continue ;;
  esac
  [ $# -ge 2 ] || { usage >&2; exit 2; }
  case $1 in
    --rounds) rounds=$2 ;;
    --megabytes) megabytes=$2 ;;
    --sizes) sizes=$2 ;;
    --partitions) partitions=$2 ;;
    --rate) rate=$2 ;;
    --client-config) client_config=$2 ;;
    --binary) binary=$2 ;;
    --dir) dir=$2 ;;
    --raw) raw=$2 ;;
    *) usage >&2; exit 2 ;;
  esac
  shift 2
done
for number in "$rounds" "$megabytes" "$rate" ${sizes//,/ } ${partitions//,/ }; do
  case $number in '' | *[!0-9]*) usage >&2; exit 2 ;; esac
done
[ "$rounds" -gt 0 ] && [ "$megabytes" -gt 0 ] || { usage >&2; exit 2; }
[ -x "$binary" ] || { echo "bench-kafka.sh: $binary is missing; build it first" >&2; exit 2; }
case $dir in /*) ;; *) dir=$PWD/$dir ;; esac

# --- the contenders -------------------------------------------------------------------------------------------------

# As Kafka's own start script has them.
export KAFKA_JVM='-Xms1G -Xmx1G -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent'
export KAFKA_TOOL_JVM='-Xmx512m -XX:+UseSerialGC'
gateway=''
declare -A address=() process=()

cleanup() {
  local status=$? name
  # Only what was started here.
  if [ -n "$gateway" ]; then kill "$gateway" 2>/dev/null && wait "$gateway" 2>/dev/null || true; fi
  for name in kafka kafka-flush; do
    [ ! -d "$dir/$name" ] || "$root/scripts/kafka.sh" stop --kill --dir "$dir/$name" || true
  done
  if [ $status = 0 ]; then rm -rf "$dir"; else echo "left in $dir" >&2; fi
}

start_brooklet() {
  # Room for what two runs store, as a deleted topic gives its room back a little later.
  BROOKLET_STORE__MAX_BYTES=$((megabytes * 4))MiB "$binary" serve --data "$dir/brooklet" \
    --native 127.0.0.1:0 --kafka 127.0.0.1:0 --mqtt 127.0.0.1:0 >"$dir/brooklet.log" 2>&1 &
  gateway=$!
  local tries
  for tries in $(seq 100); do
    address[brooklet]=$("$binary" status --data "$dir/brooklet" --json 2>/dev/null | sed -n 's/.*"kafka":"\([^"]*\)".*/\1/p') || true
    [ -z "${address[brooklet]}" ] || break
    sleep 0.1
  done
  [ -n "${address[brooklet]}" ] || { cat "$dir/brooklet.log" >&2; fail "Brooklet does not start (try $tries)"; }
  process[brooklet]=$gateway
}

start_kafka() {
  local name=$1 port=$2 status=0
  shift 2
  address[$name]=$("$root/scripts/kafka.sh" start --fresh --dir "$dir/$name" --port "$port" \
    --set num.network.threads=3 --set num.io.threads=8 "$@") || status=$?
  [ $status = 0 ] || exit $status
  process[$name]=$(cat "$dir/$name/node-1/pid")
}

# --- one measurement ------------------------------------------------------------------------------------------------

tool() { "$root/scripts/kafka.sh" tool "$@"; }

# Processor time that a contender has used, in hundredths of a second or whatever the kernel counts in.
ticks() { sed 's/.*) //' "/proc/${process[$1]}/stat" | awk '{ print $12 + $13 }'; }

note() { [ "$counted" = no ] || printf '%s %s %s %s\n' "$@" >>"$dir/results"; }

topic() {
  local name=$1 verb=$2
  shift 2
  tool org.apache.kafka.tools.TopicCommand --bootstrap-server "${address[$name]}" "--$verb" --topic bench "$@" >"$dir/topic.log" 2>&1 ||
    { cat "$dir/topic.log" >&2; fail "$name: the topic: $verb failed"; }
}

# Prints its last line: RECORDS records sent, R records/sec (M MB/sec), A ms avg latency, …, P ms 50th, …, P ms 99th, …
produce() {
  local name=$1 size=$2 records=$3 throughput=$4
  # shellcheck disable=SC2086 # several settings
  tool org.apache.kafka.tools.ProducerPerformance --topic bench --record-size "$size" --num-records "$records" \
    --throughput "$throughput" --warmup-records $((records / 5)) --bootstrap-server "${address[$name]}" \
    --command-property acks=all ${client_config//,/ } >"$dir/produce.log" 2>&1 || { tail -n 5 "$dir/produce.log" >&2; fail "$name: producing failed"; }
  grep '99.9th' "$dir/produce.log" | tail -n 1
}

# Prints: records, records a second without the time it took to join.
consume() {
  local name=$1 records=$2
  tool org.apache.kafka.tools.ConsumerPerformance --bootstrap-server "${address[$name]}" --topic bench \
    --num-records "$records" --timeout 60000 --hide-header >"$dir/consume.log" 2>&1 ||
    { tail -n 5 "$dir/consume.log" >&2; fail "$name: consuming failed"; }
  awk -F', *' 'NF >= 10 { print $5, $10 }' "$dir/consume.log" | tail -n 1
}

cpu_per_gigabyte() { awk -v ticks="$1" -v hz="$(getconf CLK_TCK)" -v bytes="$2" 'BEGIN { print ticks / hz / bytes * 1e9 }'; }

measure() {
  local name=$1 size=$2 parts=$3 records before after line got per_second
  local case=$size,$parts
  records=$((megabytes * 1000000 / size))
  topic "$name" create --partitions "$parts" --replication-factor 1
  before=$(ticks "$name")
  line=$(produce "$name" "$size" "$records" -1)
  after=$(ticks "$name")
  note "$name" "$case" produced "$(sed 's/.* sent, \([0-9.]*\) records.sec.*/\1/' <<<"$line")"
  note "$name" "$case" full50 "$(sed 's/.* \([0-9]*\) ms 50th.*/\1/' <<<"$line")"
  note "$name" "$case" full99 "$(sed 's/.* \([0-9]*\) ms 99th.*/\1/' <<<"$line")"
  note "$name" "$case" produce-cpu "$(cpu_per_gigabyte $((after - before)) $((records * size)))"
  before=$(ticks "$name")
  read -r got per_second < <(consume "$name" "$records")
  after=$(ticks "$name")
  [ "${got:-0}" -ge "$records" ] || { cat "$dir/consume.log" >&2; fail "$name: consumed ${got:-0} of $records records"; }
  note "$name" "$case" fetched "$per_second"
  note "$name" "$case" fetch-cpu "$(cpu_per_gigabyte $((after - before)) $((records * size)))"
  if [ "$rate" -gt 0 ]; then
    line=$(produce "$name" "$size" $((rate * 5)) "$rate")
    note "$name" "$case" even50 "$(sed 's/.* \([0-9]*\) ms 50th.*/\1/' <<<"$line")"
    note "$name" "$case" even99 "$(sed 's/.* \([0-9]*\) ms 99th.*/\1/' <<<"$line")"
  fi
  topic "$name" delete
}

# --- the table ------------------------------------------------------------------------------------------------------

report() {
  local name
  for name in "${contenders[@]}"; do
    printf '%s - peak %s\n' "$name" "$(awk '/^VmHWM/ { print $2 / 1024 }' "/proc/${process[$name]}/status")" >>"$dir/results"
  done
  [ -z "$raw" ] || cp "$dir/results" "$raw"
  sort -k1,1 -k2,2 -k3,3 -k4,4g "$dir/results" | awk -v names="${contenders[*]}" -v sizes="$sizes" -v parts="$partitions" '
    function median(name, at, figure,    key, n) {
      key = name " " at " " figure
      n = count[key]
      if (!n) return -1
      return n % 2 ? values[key, (n + 1) / 2] : (values[key, n / 2] + values[key, n / 2 + 1]) / 2
    }
    function ratio(name, at, figure,    base) {
      base = median("kafka", at, figure)
      return base > 0 ? sprintf("%.2f", median(name, at, figure) / base) : "-"
    }
    { key = $1 " " $2 " " $3; values[key, ++count[key]] = $4 }
    END {
      n = split(names, name, " "); s = split(sizes, size, ","); p = split(parts, part, ",")
      f = split("produced - full50 full99 even50 even99 produce-cpu fetched - fetch-cpu", figure, " ")
      split("11 7 8 8 8 8 8 11 7 8", width, " ")
      split("produced/s,MB/s,p50 ms,p99 ms,even p50,even p99,CPU s/GB,fetched/s,MB/s,CPU s/GB", title, ",")
      split("0 1 0 0 0 0 2 0 1 2", digits, " ")
      for (i = 1; i <= s; i++) for (j = 1; j <= p; j++) {
        at = size[i] "," part[j]
        printf "\nrecords of %s B, %s partition%s\n%-20s", size[i], part[j], part[j] == 1 ? "" : "s", ""
        for (c = 1; c <= f; c++) printf " %*s", width[c], title[c]
        printf "\n"
        for (k = 1; k <= n; k++) {
          printf "%-20s", name[k]
          for (c = 1; c <= f; c++) {
            value = figure[c] == "-" ? value * size[i] / 1e6 : median(name[k], at, figure[c])
            printf " %*.*f", width[c], digits[c], value
          }
          printf "\n"
        }
        for (k = 1; k <= n; k++) if (name[k] != "kafka") {
          printf "%-20s", name[k] " : kafka"
          for (c = 1; c <= f; c++) printf " %*s", width[c], figure[c] == "-" ? "" : ratio(name[k], at, figure[c])
          printf "\n"
        }
      }
      printf "\nhighest memory, MiB\n"
      for (k = 1; k <= n; k++) printf "%-20s %11.1f   1/%.1f of Kafka\n", name[k], median(name[k], "-", "peak"), median("kafka", "-", "peak") / median(name[k], "-", "peak")
    }'
}

trap cleanup EXIT
trap 'exit 130' INT TERM
status=0
"$root/scripts/kafka.sh" fetch || status=$?
[ $status = 0 ] || exit $status
for name in kafka kafka-flush; do [ ! -d "$dir/$name" ] || "$root/scripts/kafka.sh" stop --kill --dir "$dir/$name"; done
rm -rf "$dir"
mkdir -p "$dir"
: >"$dir/results"
say "starting ${contenders[*]}"
start_brooklet
start_kafka kafka 19292
case " ${contenders[*]} " in *' kafka-flush '*) start_kafka kafka-flush 19293 --set log.flush.interval.messages=1 ;; esac

for round in $(seq 0 "$rounds"); do
  counted=yes
  [ "$round" -gt 0 ] || counted=no
  for size in ${sizes//,/ }; do
    for parts in ${partitions//,/ }; do
      # Another one begins each time.
      for turn in $(seq ${#contenders[@]}); do
        name=${contenders[$(((turn + round) % ${#contenders[@]}))]}
        say "round $round of $rounds: $size B, $parts partition(s): $name"
        measure "$name" "$size" "$parts"
      done
    done
  done
done
report

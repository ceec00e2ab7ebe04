#!/usr/bin/env bash
# Draining a backlog into one Apache Kafka: Brooklet's uplink beside MirrorMaker 2, in one run, on one machine.
#
#   scripts/bench-mirror.sh [--records N] [--partitions N] [--only LIST] [--uplink LINE]... [--binary FILE] [--dir DIR] [--port P]
#
#   --records N     readings of 200 B each, default 1000000
#   --partitions N  of the topic, on every side, default 1
#   --only LIST     of brooklet,mirrormaker,mirrormaker-eos, default all
#   --uplink LINE   one more line for Brooklet's uplink, for instance 'codec = "none"'
#   --binary FILE   default target/release/brooklet
#   --dir DIR       where everything lies, default .scratch/bench-mirror; emptied before
#   --port P        of the centre; the source 10 above, MirrorMaker's own listener 20 above; default 24092
#
# Brooklet's store and the source Kafka, which MirrorMaker reads, are filled beforehand by Kafka's ProducerPerformance with the same
# settings and the same lines. Then each drains into its own topic of the same centre, while nothing of the others runs: Brooklet with its
# defaults (exactly once); MirrorMaker with its defaults (at least once), and with exactly.once.source.support and a read_committed consumer.
# MirrorMaker has the heap and collector of its own start script, and mirrors no more than the topic: no heartbeats, checkpoints, configs.
#
# The topics at the centre have message.timestamp.type=LogAppendTime, so the centre's own clock says when a record arrived. The rate counts
# from the first arrival to the last: what it takes to start is shown for itself ("start": from the start of the process to the first arrival).
# Java's compilers still warm up after that, so the second half's rate is shown too. "CPU s" is the process's own between first and
# last arrival, "with start" all of it to the last; the source Kafka's, which Brooklet doesn't need, stands below the table. Memory is the highest (VmHWM).
# Bytes are the TCP payload of the process's connections with the centre, by the kernel's counters (ss), looked at each half second: of a connection
# that ends before its time the last half second is missing.
#
# Exit code 0: measured, and each record arrived (exactly once: no more than once). 1: failed. 2: usage. 3: a program is missing.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() { sed -n '2,27s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
say() { printf '%s  %s\n' "$(date +%T)" "$*" >&2; }
fail() { printf 'bench-mirror.sh: %s\n' "$*" >&2; exit 1; }

records=1000000 partitions=1 port=24092
binary=$root/target/release/brooklet dir=$root/.scratch/bench-mirror
contenders=(brooklet mirrormaker mirrormaker-eos)
uplink=()
while [ $# -gt 0 ]; do
  case $1 in --help | -h) usage; exit 0 ;; esac
  [ $# -ge 2 ] || { usage >&2; exit 2; }
  case $1 in
    --records) records=$2 ;;
    --partitions) partitions=$2 ;;
    --only) IFS=, read -ra contenders <<<"$2" ;;
    --uplink) uplink+=("$2") ;;
    --binary) binary=$2 ;;
    --dir) dir=$2 ;;
    --port) port=$2 ;;
    *) usage >&2; exit 2 ;;
  esac
  shift 2
done
for number in "$records" "$partitions" "$port"; do
  case $number in '' | *[!0-9]*) usage >&2; exit 2 ;; esac
done
for name in "${contenders[@]}"; do
  case $name in brooklet | mirrormaker | mirrormaker-eos) ;; *) usage >&2; exit 2 ;; esac
done
[ -x "$binary" ] || { echo "bench-mirror.sh: $binary is missing; build it first" >&2; exit 2; }
for tool in kcat ss; do
  command -v "$tool" >/dev/null || { echo "bench-mirror.sh: SKIP: no $tool found (Debian: kcat, iproute2)" >&2; exit 3; }
done
case $dir in /*) ;; *) dir=$PWD/$dir ;; esac

record_bytes=200
centre=127.0.0.1:$port source=127.0.0.1:$((port + 10))
# As Kafka's own start scripts have them.
collector='-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent'
export KAFKA_JVM="-Xms1G -Xmx1G $collector"
export KAFKA_TOOL_JVM='-Xmx512m -XX:+UseSerialGC'
running='' sampler=''

end() {
  local pid=$1
  [ -n "$pid" ] || return 0
  kill "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
}

cleanup() {
  local status=$? name
  # Only what was started here.
  end "$sampler"
  end "$running"
  for name in centre source; do
    [ ! -d "$dir/$name" ] || "$root/scripts/kafka.sh" stop --kill --dir "$dir/$name" || true
  done
  if [ $status = 0 ]; then rm -rf "$dir"; else echo "left in $dir" >&2; fi
}

tool() { "$root/scripts/kafka.sh" tool "$@"; }

create_topic() {
  tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$1" --create --topic "$2" --partitions "$partitions" \
    --replication-factor 1 "${@:3}" >"$dir/topic.log" 2>&1 || { cat "$dir/topic.log" >&2; fail "$1: no topic $2"; }
}

# --- the backlog ----------------------------------------------------------------------------------------------------

readings() {
  awk -v size=$record_bytes 'BEGIN {
    srand(7)
    for (n = 0; n < 20000; n++) {
      line = sprintf("site=plant-%02d line=%d device=pump-%04d sequence=%08d temperature=%.3f humidity=%.2f pressure=%.2f " \
        "vibration=%.5f current=%.3f voltage=%.2f battery=%.3f rssi=%d state=running alarms=none", rand() * 12, rand() * 8, rand() * 900,
        rand() * 1e8, 20 + rand() * 5, 40 + rand() * 20, 1000 + rand() * 30, rand(), rand() * 16, 228 + rand() * 4, 3 + rand() * 0.3, -90 + rand() * 40)
      while (length(line) < size) line = line "."
      print substr(line, 1, size)
    }
  }'
}

fill() {
  tool org.apache.kafka.tools.ProducerPerformance --topic bench --payload-file "$dir/readings" --num-records "$records" \
    --throughput -1 --bootstrap-server "$1" --command-property acks=all >"$dir/fill.log" 2>&1 || { tail -n 5 "$dir/fill.log" >&2; fail "filling $1"; }
}

serve() {
  "$binary" serve --config "$dir/$1.toml" --data "$dir/store" --native 127.0.0.1:0 --kafka 127.0.0.1:0 --mqtt 127.0.0.1:0 >"$dir/$1.log" 2>&1 &
  running=$!
}

fill_brooklet() {
  local address=''
  printf '[store]\nmax_bytes = "%dMiB"\n[clock]\ntrust = "always"\n[topic.bench]\npartitions = %d\n' \
    $((records * record_bytes * 3 / 1048576 + 256)) "$partitions" >"$dir/fill.toml"
  { cat "$dir/fill.toml"; printf '[uplink.centre]\nbootstrap = ["%s"]\n' "$centre"; printf '%s\n' ${uplink[@]+"${uplink[@]}"}; } >"$dir/brooklet.toml"
  serve fill
  for _ in $(seq 100); do
    address=$("$binary" status --data "$dir/store" --json 2>/dev/null | sed -n 's/.*"kafka":"\([^"]*\)".*/\1/p') || true
    [ -z "$address" ] || break
    sleep 0.1
  done
  [ -n "$address" ] || { cat "$dir/fill.log" >&2; fail "Brooklet does not start"; }
  fill "$address"
  end "$running"
  running=''
}

fill_source() {
  "$root/scripts/kafka.sh" start --fresh --dir "$dir/source" --port $((port + 10)) >/dev/null
  create_topic "$source" bench
  fill "$source"
}

# --- the contenders -------------------------------------------------------------------------------------------------

mirror_properties() {
  cat <<TEXT
clusters = source, centre
source.bootstrap.servers = $source
centre.bootstrap.servers = $centre
source->centre.enabled = true
source->centre.topics = bench
centre->source.enabled = false
tasks.max = $partitions
replication.factor = 1
offset-syncs.topic.replication.factor = 1
config.storage.replication.factor = 1
offset.storage.replication.factor = 1
status.storage.replication.factor = 1
emit.heartbeats.enabled = false
emit.checkpoints.enabled = false
sync.topic.configs.enabled = false
sync.topic.acls.enabled = false
TEXT
  [ "$1" = mirrormaker-eos ] || return 0
  cat <<TEXT
centre.exactly.once.source.support = enabled
source.consumer.isolation.level = read_committed
dedicated.mode.enable.internal.rest = true
listeners = http://127.0.0.1:$((port + 20))
TEXT
}

launch() {
  local name=$1
  if [ "$name" = brooklet ]; then serve brooklet; return; fi
  mirror_properties "$name" >"$dir/$name.properties"
  # shellcheck disable=SC2086 # several options
  java -Xms256M -Xmx2G $collector -Dlog4j2.configurationFile="$mirror/log4j2.properties" -Dbrooklet.log.level=warn -cp "$mirror/jars/*" \
    org.apache.kafka.connect.mirror.MirrorMaker "$dir/$name.properties" </dev/null >"$dir/$name.log" 2>&1 &
  running=$!
}

# Each tenth of a second: milliseconds, processor time; every fifth of them what the kernel counts of the connections. Without starting a
# process but for that: it runs on the same processors.
sample() {
  local name=$1 pid=$2 line at nth=0 nothing
  exec {nothing}<> <(:)
  while read -r line <"/proc/$pid/stat"; do
    at=${EPOCHREALTIME/[.,]/}
    # shellcheck disable=SC2086 # its fields
    set -- ${line##*) }
    echo "${at%???} $((${12} + ${13}))"
    nth=$((nth + 1))
    if [ $((nth % 5)) = 0 ]; then ss -tinpH "dst $centre" >>"$dir/$name.ss" 2>/dev/null || true; fi
    read -rt 0.1 -u "$nothing" || true
  done 2>/dev/null >"$dir/$name.samples"
}

# How far the topic's partitions have got in all, transactions' markers included.
end_offsets() {
  local ask=() n
  for n in $(seq 0 $((partitions - 1))); do ask+=(-t "$1:$n:-1"); done
  kcat -Q -b "$centre" "${ask[@]}" 2>/dev/null | awk '{ n += $NF } END { print n + 0 }'
}

# Milliseconds at which each record arrived, sorted.
arrivals() {
  kcat -C -q -e -b "$centre" -t "$1" -o beginning -X isolation.level=read_committed -f '%T\n' | sort -n >"$dir/$2.arrivals"
}

await_all() {
  local name=$1 topic=$2 before=-1 now deadline=$((SECONDS + 120 + records / 500))
  while :; do
    [ $SECONDS -lt $deadline ] || { tail -n 5 "$dir/$name.log" >&2; fail "$name: ${now:-0} of $records records after $((120 + records / 500)) s"; }
    kill -0 "$running" 2>/dev/null || { tail -n 20 "$dir/$name.log" >&2; fail "$name ended"; }
    sleep 1.5
    now=$(end_offsets "$topic")
    # Standing still, so that nothing is measured of this.
    if [ "$now" -ge "$records" ] && [ "$now" = "$before" ]; then
      arrivals "$topic" "$name"
      [ "$(wc -l <"$dir/$name.arrivals")" -lt "$records" ] || return 0
    fi
    before=$now
  done
}

# Processor time of a process, in what the kernel counts in.
ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }

measure() {
  local name=$1 topic=bench begin source_ticks=0 source_pid=''
  if [ "$name" != brooklet ]; then
    topic=source.bench
    source_pid=$(cat "$dir/source/node-1/pid")
    source_ticks=$(ticks "$source_pid")
  fi
  say "$name drains"
  create_topic "$centre" "$topic" --config message.timestamp.type=LogAppendTime
  begin=${EPOCHREALTIME/[.,]/}
  launch "$name"
  sample "$name" "$running" &
  sampler=$!
  await_all "$name" "$topic"
  awk '/^VmHWM/ { print $2 / 1024 }' "/proc/$running/status" >"$dir/$name.peak"
  if [ -n "$source_pid" ]; then echo $(($(ticks "$source_pid") - source_ticks)) >"$dir/$name.source"; fi
  end "$running"
  wait "$sampler" || true
  sampler=''
  note "$name" "${begin%???}" "$running" >>"$dir/results"
  running=''
  # So that both forms of MirrorMaker have a topic of their own, and begin at its beginning.
  tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$centre" --delete --topic "(mm2-.*|$topic)" >"$dir/topic.log" 2>&1 ||
    { cat "$dir/topic.log" >&2; fail "the topics of $name remain"; }
}

# Prints: name, records, s to the first arrival, s to the last from there, records/s, the second half's, CPU s, CPU s with start, MiB, MB sent, MB received.
note() {
  local name=$1 begin=$2
  awk -v name="$name" -v begin="$begin" -v owner="pid=$3," -v hz="$(getconf CLK_TCK)" -v peak="$(cat "$dir/$name.peak")" '
    FILENAME ~ /arrivals$/ { at[++n] = $1; next }
    FILENAME ~ /samples$/ { when[++m] = $1; cpu[m] = $2; next }
    # A line says whose connection it is, the next one what it has carried.
    /^[A-Z]/ { connection = index($0, owner) ? $4 : ""; next }
    connection != "" {
      for (f = 1; f <= NF; f++) {
        split($f, part, ":")
        if (part[1] == "bytes_sent" && part[2] > sent[connection]) sent[connection] = part[2]
        if (part[1] == "bytes_received" && part[2] > received[connection]) received[connection] = part[2]
      }
    }
    function used(t,    k) {
      for (k = 1; k < m && when[k] < t; k++);
      if (k == 1) return cpu[1]
      return cpu[k - 1] + (cpu[k] - cpu[k - 1]) * (t - when[k - 1]) / (when[k] - when[k - 1])
    }
    END {
      half = int(n / 2)
      for (c in sent) out += sent[c]
      for (c in received) back += received[c]
      printf "%s %d %.2f %.2f %.0f %.0f %.2f %.2f %.1f %.2f %.2f\n", name, n, (at[1] - begin) / 1e3, (at[n] - at[1]) / 1e3, n / (at[n] - at[1]) * 1e3,
        (n - half) / (at[n] - at[half]) * 1e3, (used(at[n]) - used(at[1])) / hz, used(at[n]) / hz, peak, out / 1e6, back / 1e6
    }' "$dir/$name.arrivals" "$dir/$name.samples" "$dir/$name.ss"
}

report() {
  awk -v of="$records" '
    { name[NR] = $1; for (f = 2; f <= NF; f++) value[$1, f] = $f }
    END {
      split("x arrived start/s drain/s records/s 2nd/half CPU/s with/start peak/MiB MB/sent received", title, " ")
      split("x 0 2 2 0 0 2 2 1 2 2", digits, " ")
      printf "%-26s", of " records"
      for (f = 2; f <= 11; f++) { text = title[f]; if (text !~ /s.s$/) sub("/", " ", text); printf " %11s", text }
      print ""
      for (n = 1; n <= NR; n++) {
        printf "%-26s", name[n]
        for (f = 2; f <= 11; f++) printf " %11.*f", digits[f], value[name[n], f]
        print ""
      }
      for (n = 1; n <= NR; n++) if (name[n] != "brooklet" && name[1] == "brooklet") {
        printf "%-26s", "brooklet : " name[n]
        for (f = 2; f <= 11; f++) printf " %11.3f", value[name[n], f] ? value["brooklet", f] / value[name[n], f] : 0
        print ""
      }
    }' "$dir/results"
  for name in "${contenders[@]}"; do
    [ ! -f "$dir/$name.source" ] || awk -v hz="$(getconf CLK_TCK)" -v name="$name" '{ printf "the source Kafka beside %s: CPU %.2f s\n", name, $1 / hz }' "$dir/$name.source"
  done
}

trap cleanup EXIT
trap 'exit 130' INT TERM
status=0
mirror=$("$root/scripts/kafka.sh" lib --with connect-mirror) || status=$?
[ $status != 0 ] || "$root/scripts/kafka.sh" fetch || status=$?
[ $status = 0 ] || exit $status
for name in centre source; do [ ! -d "$dir/$name" ] || "$root/scripts/kafka.sh" stop --kill --dir "$dir/$name"; done
rm -rf "$dir"
mkdir -p "$dir"
readings >"$dir/readings"
"$root/scripts/kafka.sh" start --fresh --dir "$dir/centre" --port "$port" >/dev/null
filled=no
for name in "${contenders[@]}"; do
  if [ "$name" = brooklet ]; then
    say "filling Brooklet's store"
    fill_brooklet
  elif [ $filled = no ]; then
    say "filling the source Kafka"
    fill_source
    filled=yes
  fi
  measure "$name"
done
report
for name in "${contenders[@]}"; do
  arrived=$(wc -l <"$dir/$name.arrivals")
  [ "$name" = mirrormaker ] || [ "$arrived" = "$records" ] || fail "$name: $arrived records arrived of $records"
done

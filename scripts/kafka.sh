#!/usr/bin/env bash
# Runs Apache Kafka on loopback, from Maven artifacts, for tests and demonstrations: by KRaft, before 3.3 with a ZooKeeper.
#
# Everything it writes is below one directory: configuration, data, logs, and a process id per node. Only processes
# whose recorded id still belongs to that directory are ever signalled.
#
# Exit codes: 0 done (status: all nodes answer), 1 failed (status: not all answer), 2 usage, 3 Java or Maven missing.
set -euo pipefail

NEWEST=4.3.1
SCALA_VERSION=2.13
LOG4J_VERSION=2.24.3
# Kafka before 4 logs by log4j 1; this is what became of it.
RELOAD4J_VERSION=1.2.25
SLF4J_VERSION=1.7.36
DEPENDENCY_PLUGIN_VERSION=3.6.1
JAVA_MIN=17
START_SECONDS=120
STOP_SECONDS=30
# A killed node may register again only once its old session has run out.
ZOOKEEPER_SESSION_SECONDS=4

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/again.sh
. "$root/scripts/lib/again.sh"

usage() {
  cat <<TEXT
Apache Kafka $NEWEST, or an older one, on loopback.

  scripts/kafka.sh start  [--nodes 1|3] [--port P] [--fresh] [--set KEY=VALUE]...  start (or start again, data kept)
  scripts/kafka.sh stop   [--kill]          stop; --kill does it by SIGKILL
  scripts/kafka.sh pause                    freeze the processes (connections stay open, nothing answers)
  scripts/kafka.sh resume                   let them go on
  scripts/kafka.sh status                   a line per node
  scripts/kafka.sh bootstrap                print the bootstrap address
  scripts/kafka.sh fetch                    download the artifacts only
  scripts/kafka.sh lib                      the same, and print where they are (jars/, log4j2.properties)
  scripts/kafka.sh tool CLASS [ARG...]      run one of the newest Kafka's own programs, for instance:
      tool org.apache.kafka.tools.TopicCommand --bootstrap-server 127.0.0.1:19092 --list
      tool org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server ... --topic T --from-beginning
      also org.apache.kafka.tools.DumpLogSegments, VerifiableProducer, ProducerPerformance, ConsumerPerformance

  --kafka V    version, from 2.8; before 3.3 with a ZooKeeper beside it      ($NEWEST, or what DIR was made with)
  --with NAME  fetch, lib: another of Kafka's artifacts as well, for instance connect-mirror
  --dir DIR    where the cluster lives                                       (.scratch/kafka)
  --node N     start, stop, pause, resume: this node only, of three          (all)
  --nodes N    1, or 3 with replication factor 3 and min.insync.replicas 2   (1, or what DIR was made with)
  --port P     node n listens on 127.0.0.1:(P+n-1), its controller, or the
               ZooKeeper, 100 above                                          (19092, or what DIR was made with)
  --tls CERTS  an SSL listener as well, 200 above: with kafka.pem, kafka.key and ca.pem of the directory CERTS (as brooklet cert makes
               them); clients must show a certificate of that CA
  --fresh      forget the data of an earlier run
  --set K=V    one more line of server.properties (later lines win)
  --feature F=N  level of a feature that a fresh cluster begins with, for instance transaction.version=1 (the newest)

BROOKLET_KAFKA_LIB names another directory for the artifacts, which has one for each version; KAFKA_HEAP another heap than 512m; KAFKA_JVM and KAFKA_TOOL_JVM
all options of the brokers' and the programs' Java machine.
TEXT
}

say() { printf '%s\n' "$*" >&2; }
die() { say "kafka.sh: $*"; exit 1; }
wrong() { say "kafka.sh: $*"; say "Try: scripts/kafka.sh help"; exit 2; }
skip() { say "kafka.sh: SKIP: $*"; exit 3; }

# --- the artifacts --------------------------------------------------------------------------------------------------

need_java() {
  local version
  command -v java >/dev/null || skip "no Java found; Kafka needs Java $JAVA_MIN or later (Debian: default-jre-headless)"
  version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
  [ "${version:-0}" -ge "$JAVA_MIN" ] || skip "Java ${version:-of unknown version} found; Kafka needs $JAVA_MIN or later"
}

# Whether the version is at least this one.
since() { [ "$(printf '%s\n%s\n' "$1" "$version" | sort -V | head -n 1)" = "$1" ]; }

dependency() { echo "    <dependency><groupId>$1</groupId><artifactId>$2</artifactId><version>$3</version></dependency>"; }

# Kafka speaks slf4j 1.7 and brings what logs at most, but not what joins the two.
dependencies() {
  local artifact
  for artifact in "kafka_$SCALA_VERSION" kafka-tools $with; do dependency org.apache.kafka "$artifact" "$version"; done
  if since 4.0; then
    dependency org.apache.logging.log4j log4j-slf4j-impl "$LOG4J_VERSION"
  else
    dependency ch.qos.reload4j reload4j "$RELOAD4J_VERSION"
    dependency org.slf4j slf4j-reload4j "$SLF4J_VERSION"
  fi
}

write_pom() {
  cat >"$1" <<XML
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>brooklet.scratch</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
$(dependencies)
  </dependencies>
</project>
XML
}

write_logging() {
  cat >"$1/log4j.properties" <<'TEXT'
log4j.rootLogger=${brooklet.log.level}, console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{HH:mm:ss.SSS} %-5p %m (%c{1})%n
TEXT
  cat >"$1/log4j2.properties" <<'TEXT'
status = error
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss.SSS} %-5p %m (%c{1})%n
rootLogger.level = ${sys:brooklet.log.level:-warn}
rootLogger.appenderRef.console.ref = console
TEXT
}

fetch() {
  local fresh_lib
  lib=${BROOKLET_KAFKA_LIB:-$root/.scratch/kafka-lib}/$version${with:+-$with}
  fresh_lib=$lib.$$
  logging=(-Dlog4j2.configurationFile="$lib/log4j2.properties" -Dlog4j.configuration="file:$lib/log4j.properties")
  need_java
  [ -f "$lib/complete" ] && return
  command -v mvn >/dev/null || skip "no Maven found; it fetches Kafka's artifacts (Debian: maven)"
  say "Fetching Apache Kafka $version (about 60 MB) into $lib ..."
  rm -rf "$fresh_lib"
  mkdir -p "$fresh_lib"
  write_pom "$fresh_lib/pom.xml"
  write_logging "$fresh_lib"
  # -U: also what could not be had a moment ago.
  if ! again mvn -B -q -U -f "$fresh_lib/pom.xml" \
    "org.apache.maven.plugins:maven-dependency-plugin:$DEPENDENCY_PLUGIN_VERSION:copy-dependencies" \
    -DincludeScope=runtime -DoutputDirectory="$fresh_lib/jars" >"$fresh_lib/mvn.log" 2>&1; then
    tail -n 20 "$fresh_lib/mvn.log" >&2
    rm -rf "$fresh_lib"
    die "Maven could not fetch Kafka's artifacts"
  fi
  touch "$fresh_lib/complete"
  # Two callers may have fetched at once: the first to finish wins.
  if [ -f "$lib/complete" ] || ! mv -T "$fresh_lib" "$lib" 2>/dev/null; then rm -rf "$fresh_lib"; fi
  [ -f "$lib/complete" ] || die "could not put the artifacts into $lib"
}

run_tool() {
  local class=${1:-}
  [ -n "$class" ] || wrong "tool: which class?"
  shift
  fetch
  # A short-lived program: compile quickly, collect simply.
  # shellcheck disable=SC2086 # several options
  exec java ${KAFKA_TOOL_JVM:--Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1} \
    "${logging[@]}" -cp "$lib/jars/*" "$class" "$@"
}

# --- one cluster directory ------------------------------------------------------------------------------------------

# Node count, first port and version are a property of the data: `start` settles them, the others read them.
load() {
  local kept_nodes kept_port kept_version
  kept_nodes=$(cat "$dir/nodes" 2>/dev/null || true)
  kept_port=$(cat "$dir/port" 2>/dev/null || true)
  kept_version=$(cat "$dir/version" 2>/dev/null || true)
  if [ -n "$kept_version" ] && [ -n "$version" ] && [ "$version" != "$kept_version" ]; then
    die "$dir holds a cluster of version $kept_version; --fresh makes a new one"
  fi
  if [ -n "$kept_nodes" ] && [ -n "$nodes" ] && [ "$nodes" != "$kept_nodes" ]; then
    die "$dir holds a cluster of $kept_nodes; --fresh makes a new one"
  fi
  nodes=${nodes:-${kept_nodes:-1}}
  port=${port:-${kept_port:-19092}}
  version=${version:-${kept_version:-$NEWEST}}
}

with_zookeeper() { ! since 3.3; }

# Locals, seen by what it calls: what the old cluster was made with is no wish for the new one.
forget() {
  local nodes='' port='' only='' version='' signal=KILL
  load
  stop_all
  rm -rf "$dir"/node-[123] "$dir/node-zookeeper" "$dir/nodes" "$dir/port" "$dir/version" "$dir/cluster-id"
}

each_node() { if [ -n "$only" ]; then echo "$only"; else seq 1 "$nodes"; fi; }
client_port() { echo $((port + $1 - 1)); }
controller_port() { echo $((port + 100 + $1 - 1)); }
ssl_port() { echo $((port + 200 + $1 - 1)); }

bootstrap() {
  local node list=''
  for node in $(seq 1 "$nodes"); do list="$list,127.0.0.1:$(client_port "$node")"; done
  echo "${list#,}"
}

# The id of a node's process, only while it is the one that was started for this very directory.
pid_of() {
  local pid line
  pid=$(cat "$dir/node-$1/pid" 2>/dev/null) || return 1
  if [ -d /proc/self ]; then
    line=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") || return 1
  else
    line=$(ps -ww -o args= -p "$pid" 2>/dev/null) || return 1
  fi
  case $line in *"-Dbrooklet.node=$dir/node-$1 "*) echo "$pid" ;; *) return 1 ;; esac
}

# ApiVersions v0, correlation id 1, no client id. An answer of any length will do.
answers() {
  # shellcheck disable=SC2016 # $1 is the inner shell's
  timeout 3 bash -c '
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
    printf "\0\0\0\12\0\22\0\0\0\0\0\1\377\377" >&3
    [ "$(head -c 8 <&3 | tail -c 1 | od -An -tu1 | tr -d " ")" = 1 ]' _ "$(client_port "$1")" 2>/dev/null
}

ready() {
  local said='Kafka Server started'
  if with_zookeeper; then said='\[KafkaServer id=[0-9]*\] started'; fi
  grep -q "$said" "$dir/node-$1/server.log" 2>/dev/null && answers "$1"
}

one_line() { tr '\n' ' ' <"$1"; }

# Lines that win over those of the plain listener. Key and certificate as values: before 3.0 a file of them wants a password.
write_tls() {
  local node=$1 controller
  controller=,CONTROLLER://127.0.0.1:$(controller_port "$node")
  if with_zookeeper; then controller=''; fi
  cat <<TEXT
listeners=PLAINTEXT://127.0.0.1:$(client_port "$node"),SSL://127.0.0.1:$(ssl_port "$node")$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$(client_port "$node"),SSL://127.0.0.1:$(ssl_port "$node")
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.key=$(one_line "$tls/kafka.key")
ssl.keystore.certificate.chain=$(one_line "$tls/kafka.pem")
ssl.truststore.type=PEM
ssl.truststore.location=$tls/ca.pem
ssl.client.auth=required
TEXT
}

# Who a node is, and who decides.
write_role() {
  local node=$1 voter voters=''
  if with_zookeeper; then
    cat <<TEXT
broker.id=$node
listeners=PLAINTEXT://127.0.0.1:$(client_port "$node")
zookeeper.connect=127.0.0.1:$(controller_port 1)
zookeeper.session.timeout.ms=${ZOOKEEPER_SESSION_SECONDS}000
TEXT
    return
  fi
  cat <<TEXT
process.roles=broker,controller
node.id=$node
listeners=PLAINTEXT://127.0.0.1:$(client_port "$node"),CONTROLLER://127.0.0.1:$(controller_port "$node")
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
TEXT
  if [ "$nodes" = 1 ] && since 4.0; then
    echo "controller.quorum.bootstrap.servers=127.0.0.1:$(controller_port 1)"
  else
    for voter in $(seq 1 "$nodes"); do voters="$voters,$voter@127.0.0.1:$(controller_port "$voter")"; done
    echo "controller.quorum.voters=${voters#,}"
  fi
}

write_properties() {
  local node=$1 home=$dir/node-$1 replicas=1 in_sync=1
  if [ "$nodes" = 3 ]; then replicas=3 in_sync=2; fi
  {
    write_role "$node"
    cat <<TEXT
advertised.listeners=PLAINTEXT://127.0.0.1:$(client_port "$node")
log.dirs=$home/data
default.replication.factor=$replicas
min.insync.replicas=$in_sync
offsets.topic.replication.factor=$replicas
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$in_sync
share.coordinator.state.topic.replication.factor=$replicas
share.coordinator.state.topic.min.isr=$in_sync
# Small: these run beside what is being tested.
offsets.topic.num.partitions=3
transaction.state.log.num.partitions=3
share.coordinator.state.topic.num.partitions=3
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
group.initial.rebalance.delay.ms=0
# A killed node may register again once its old session has run out.
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
# Tests replay readings that are years old: by record time they would be deleted at once.
log.retention.ms=-1
TEXT
    [ -z "$tls" ] || write_tls "$node"
    [ ${#extra[@]} -eq 0 ] || printf '%s\n' "${extra[@]}"
  } | (umask 077 && cat >"$home/server.properties")
}

# 22 characters of URL-safe base64, not led by a dash, which would read as an option.
cluster_id() {
  [ -s "$dir/cluster-id" ] || printf 'B%sA\n' "$(head -c 15 /dev/urandom | base64 | tr '+/' '-_')" >"$dir/cluster-id"
  cat "$dir/cluster-id"
}

format() {
  local home=$dir/node-$1 options=()
  if with_zookeeper || [ -f "$home/data/meta.properties" ]; then return; fi
  [ "$nodes" = 1 ] && since 4.0 && options=(--standalone)
  [ ${#features[@]} -eq 0 ] || options+=(--feature "${features[@]}")
  java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dbrooklet.log.level=warn "${logging[@]}" \
    -cp "$lib/jars/*" kafka.tools.StorageTool format -t "$(cluster_id)" -c "$home/server.properties" \
    ${options[@]+"${options[@]}"} >"$home/format.log" 2>&1 || { cat "$home/format.log" >&2; die "node $1: formatting failed"; }
}

# launch NODE CLASS PROPERTIES
launch() {
  local home=$dir/node-$1 jvm=${KAFKA_JVM:--Xms64m -Xmx${KAFKA_HEAP:-512m} -XX:+UseSerialGC} detach=(nohup)
  # A session of its own: an interrupt at the terminal that started it is not meant for it.
  command -v setsid >/dev/null && detach=(setsid nohup)
  # shellcheck disable=SC2086 # several options
  "${detach[@]}" java $jvm -Dbrooklet.node="$home" -Dbrooklet.log.level=info \
    "${logging[@]}" -cp "$lib/jars/*" "$2" "$home/$3" \
    </dev/null >"$home/server.log" 2>&1 &
  echo $! >"$home/pid"
}

await_ready() {
  local home=$dir/node-$1 deadline=$2
  until ready "$1"; do
    if ! pid_of "$1" >/dev/null && sleep 0.5 && ! pid_of "$1" >/dev/null; then
      tail -n 20 "$home/server.log" >&2
      die "node $1 stopped; its log is $home/server.log"
    fi
    [ $SECONDS -lt "$deadline" ] || die "node $1 doesn't answer after $START_SECONDS s; its log is $home/server.log"
    sleep 0.2
  done
}

start_zookeeper() {
  local home=$dir/node-zookeeper
  if pid_of zookeeper >/dev/null; then return; fi
  mkdir -p "$home"
  printf '%s\n' "dataDir=$home/data" "clientPort=$(controller_port 1)" clientPortAddress=127.0.0.1 maxClientCnxns=0 \
    tickTime=1000 admin.enableServer=false >"$home/zookeeper.properties"
  KAFKA_JVM='-Xmx128m -XX:+UseSerialGC' launch zookeeper org.apache.zookeeper.server.quorum.QuorumPeerMain zookeeper.properties
}

start() {
  local node deadline
  [ "$fresh" = no ] || forget
  load
  fetch
  mkdir -p "$dir"
  echo "$nodes" >"$dir/nodes"
  echo "$port" >"$dir/port"
  echo "$version" >"$dir/version"
  if with_zookeeper; then start_zookeeper; fi
  for node in $(each_node); do
    pid_of "$node" >/dev/null && continue
    ! answers "$node" || die "port $(client_port "$node") is served by something else; choose another with --port"
    if with_zookeeper && [ -d "$dir/node-$node" ]; then sleep $((ZOOKEEPER_SESSION_SECONDS + 1)); fi
    mkdir -p "$dir/node-$node"
    write_properties "$node"
    format "$node"
    launch "$node" kafka.Kafka server.properties
  done
  deadline=$((SECONDS + START_SECONDS))
  for node in $(each_node); do await_ready "$node" "$deadline"; done
  bootstrap
}

signal_node() {
  local pid
  if pid=$(pid_of "$2"); then kill "-$1" "$pid" 2>/dev/null || true; fi
}

signal_all() {
  local node
  for node in $(each_node); do signal_node "$1" "$node"; done
}

stop_all() {
  stop_nodes
  # Last: a broker that ends as it should says so there.
  if [ -z "$only" ] && [ -d "$dir/node-zookeeper" ]; then only=zookeeper stop_nodes; fi
}

stop_nodes() {
  local node deadline=$((SECONDS + STOP_SECONDS))
  # All at once: a node that hands over to a quorum that is going away would wait for nothing.
  signal_all "$signal"
  # A paused process takes the signal only once it runs again.
  signal_all CONT
  for node in $(each_node); do
    while pid_of "$node" >/dev/null; do
      [ $SECONDS -lt $deadline ] || signal_node KILL "$node"
      sleep 0.1
    done
    rm -f "$dir/node-$node/pid"
  done
}

status() {
  local node pid state bad=0
  for node in $(each_node); do
    if ! pid=$(pid_of "$node"); then
      state=stopped bad=1
    elif ready "$node"; then
      state="running, pid $pid, $(awk '/^VmRSS/ {print int($2 / 1024)}' "/proc/$pid/status" 2>/dev/null || true) MiB resident"
    else
      state="pid $pid doesn't answer" bad=1
    fi
    echo "node $node 127.0.0.1:$(client_port "$node"): $state"
  done
  return $bad
}

# --- arguments ------------------------------------------------------------------------------------------------------

command=${1:-help}
[ $# -eq 0 ] || shift
# Everything after the class belongs to the program.
version='' with='' lib='' logging=()
if [ "$command" = tool ]; then version=$NEWEST; run_tool "$@"; fi

dir=$root/.scratch/kafka
nodes='' port='' only='' fresh=no signal=TERM tls=''
extra=() features=()
while [ $# -gt 0 ]; do
  case $1 in
    --fresh) fresh=yes; shift; continue ;;
    --kill) signal=KILL; shift; continue ;;
  esac
  [ $# -ge 2 ] || wrong "$1: unknown option, or its value is missing"
  case $1 in
    --dir) dir=$2 ;;
    --kafka) version=$2 ;;
    --with) with=$2 ;;
    --node) only=$2 ;;
    --nodes) nodes=$2 ;;
    --port) port=$2 ;;
    --set) extra+=("$2") ;;
    --feature) features+=("$2") ;;
    --tls) tls=$(cd "$2" && pwd) ;;
    *) wrong "$1: unknown option" ;;
  esac
  shift 2
done
case $nodes in '' | 1 | 3) ;; *) wrong "--nodes is 1 or 3" ;; esac
case $only in '' | 1 | 2 | 3) ;; *) wrong "--node is 1, 2 or 3" ;; esac
case $version in *[!0-9.]*) wrong "--kafka is a version such as $NEWEST" ;; esac
[ -z "$with" ] || [ "$command" = fetch ] || [ "$command" = lib ] || wrong "--with is for fetch and lib"
case $port in *[!0-9]*) wrong "--port is a number" ;; esac
case $dir in /*) ;; *) dir=$PWD/$dir ;; esac

case $command in
  start) start ;;
  stop) load; stop_all ;;
  pause) load; signal_all STOP ;;
  resume) load; signal_all CONT ;;
  status) load; status ;;
  bootstrap) load; bootstrap ;;
  fetch) version=${version:-$NEWEST}; fetch ;;
  lib) version=${version:-$NEWEST}; fetch; echo "$lib" ;;
  help | -h | --help) usage ;;
  *) wrong "$command: unknown command" ;;
esac

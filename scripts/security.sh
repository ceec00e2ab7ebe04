#!/usr/bin/env bash
# Other people's clients against a gateway that asks who they are: a table of what each gets done, by way of authenticating, and that it gets
# nothing else done. Then the uplink into a real Apache Kafka that asks the same of it.
#
# Rows are clients and ways; columns are operations, each with what is expected: `yes`, or `no` where it must be refused.
#
# Exit codes: 0 as expected, 1 not, 2 usage, 3 as expected as far as it went, but a program is missing (named on a line that begins with
# SKIP). With BROOKLET_REQUIRE_PEERS=1 a missing program is a failure.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
source scripts/lib/again.sh

usage() {
  cat <<'TEXT'
  scripts/interop.sh security [--binary FILE] [--port P] [--no-kafka] [--all]

  --binary FILE  the brooklet to test                                            (target/debug/brooklet, built)
  --port P       first port of the Apache Kafka that the uplink goes to          (29392)
  --no-kafka     without that Kafka
  --all          also franz-go and Sarama, more of Java's tools (minutes), and OAUTHBEARER towards Kafka
TEXT
}

binary='' port=29392 with_kafka=1 all=0
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --no-kafka) with_kafka=0; shift ;;
    --all) all=1; shift ;;
    --binary | --port)
      [ $# -ge 2 ] || { echo "security.sh: $1 needs a value" >&2; exit 2; }
      printf -v "${1#--}" %s "$2"
      shift 2 ;;
    *) echo "security.sh: $1: unknown option" >&2; usage >&2; exit 2 ;;
  esac
done
[ -n "$binary" ] || { cargo build --quiet --locked; binary=target/debug/brooklet; }
binary=$(cd "$(dirname "$binary")" && pwd)/$(basename "$binary")

missing=0 failed=0
skip() { echo "SKIP: $*" >&2; missing=1; }
have() { command -v "$1" >/dev/null || { skip "$1 isn't installed ($2)"; return 1; }; }

# --- the gateway: TLS beside what is in the clear, passwords and certificates, rules -----------------------------------------------------

dir=$(mktemp -d)
gateway='' kafka=''
finish() {
  [ -z "$gateway" ] || { kill "$gateway" 2>/dev/null || true; wait "$gateway" 2>/dev/null || true; }
  [ -z "$kafka" ] || scripts/kafka.sh stop --kill --dir "$kafka" >/dev/null 2>&1 || true
  rm -rf "$dir"
}
trap finish EXIT

# free_port NAME: sets it to a port that nobody listens on, below those of outgoing connections and the Kafka's, and no other name's.
ports=' '
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 9000))
    [[ $ports != *" $port "* ]] || continue
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  ports+="$port "
  printf -v "$1" %s "$port"
}

cert() { "$binary" cert "$@" --dir "$dir/tls" >/dev/null 2>&1; }
cert ca --name Site && cert gateway gw --host localhost && cert device pump
for name in kafka_clear kafka_tls mqtt_clear mqtt_tls native_clear native_tls; do free_port $name; done
# What Java calls a key store.
cat "$dir/tls/pump.key" "$dir/tls/pump.pem" >"$dir/tls/pump.both.pem"

start_gateway() {
  {
    cat <<TEXT
clock.trust = "always"
TEXT
    local listener tls
    for listener in native kafka mqtt; do
      tls=${listener}_tls clear=${listener}_clear
      cat <<TEXT
[listen.$listener]
addr = "127.0.0.1:${!clear}"
auth = ["password", "certificate"]
if_no_rule = "deny"
[listen.$listener.tls]
addr = "127.0.0.1:${!tls}"
cert = "$dir/tls/gw.pem"
key = "$dir/tls/gw.key"
client_ca = "$dir/tls/ca.pem"
client_auth = "optional"
TEXT
    done
    cat "$dir/more" 2>/dev/null || true
  } >"$dir/brooklet.toml"
  "$binary" serve --config "$dir/brooklet.toml" --data "$dir/data" 2>>"$dir/log" &
  gateway=$!
  for _ in $(seq 1200); do
    "$binary" status --data "$dir/data" >/dev/null 2>&1 && return
    sleep 0.1
  done
  echo "security.sh: the gateway did not start:" >&2
  cat "$dir/log" >&2
  exit 1
}

admin() { "$binary" "$@" --data "$dir/data" >/dev/null 2>"$dir/said" || { cat "$dir/said" >&2; exit 1; }; }

start_gateway
(umask 077; for user in writer reader; do echo "$user-secret" >"$dir/$user.password"; done; echo wrong >"$dir/wrong.password")
for user in writer reader; do admin user add "$user" --password-file "$dir/$user.password"; done
admin topic create allowed
admin topic create other
echo seed | "$binary" produce allowed --data "$dir/data" >/dev/null 2>&1
# Who writes may read too, which shows that both go; the certificate's device as well.
for user in writer pump; do admin acl add --principal "$user" --operation Read,Write --topic allowed; done
admin acl add --principal reader --operation Read --topic allowed
for user in writer reader pump; do admin acl add --principal "$user" --operation Read --group '*'; done

# --- the clients: TRY_NAME WAY USER PASSWORD-FILE OPERATION TOPIC succeeds if the operation is done ---------------------------------------

security() { # the protocol of Kafka's clients by way
  case $1 in mtls) echo SSL ;; *-tls) echo SASL_SSL ;; *) echo SASL_PLAINTEXT ;; esac
}
mechanism() { case $1 in plain*) echo PLAIN ;; scram512*) echo SCRAM-SHA-512 ;; *) echo SCRAM-SHA-256 ;; esac; }
kafka_address() { case $1 in mtls | *-tls) echo "localhost:$kafka_tls" ;; *) echo "127.0.0.1:$kafka_clear" ;; esac; }

try_kcat() {
  local way=$1 user=$2 password=$3 operation=$4 topic=$5
  local args=(-b "$(kafka_address "$way")" -t "$topic" -X broker.address.family=v4 -X "security.protocol=$(security "$way")" -X "ssl.ca.location=$dir/tls/ca.pem")
  case $way in
    mtls) args+=(-X "ssl.certificate.location=$dir/tls/pump.pem" -X "ssl.key.location=$dir/tls/pump.key") ;;
    *) args+=(-X "sasl.mechanism=$(mechanism "$way")" -X "sasl.username=$user" -X "sasl.password=$(cat "$password")") ;;
  esac
  local said
  if [ "$operation" = write ]; then
    said=$(echo x | timeout $patience kcat -P -X message.timeout.ms=$((patience * 250)) "${args[@]}" 2>&1) || return 1
  else
    said=$(timeout $patience kcat -C -o beginning -c 1 -e "${args[@]}" 2>&1) || return 1
  fi
  ! grep -qiE 'fail|error|denied' <<<"$said"
}

python=''
python_client() {
  [ -z "$python" ] || return 0
  have python3 "Debian: python3-venv" || return 1
  local venv=$root/.scratch/security/python
  if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv" && again "$venv/bin/pip" install --quiet --disable-pip-version-check kafka-python==2.2.15 paho-mqtt==2.1.0 ||
      { rm -rf "$venv"; skip "kafka-python and paho-mqtt could not be installed"; return 1; }
  fi
  python=$venv/bin/python
}

try_kafka-python() {
  python_client || return 1
  timeout $((patience + 10)) "$python" tests/security/kafka_client.py "$(kafka_address "$1")" "$(security "$1")" "$(mechanism "$1")" "$2" "$3" "$4" "$5" \
    "$dir/tls" "$patience" >/dev/null 2>&1
}

try_paho() {
  python_client || return 1
  local port=$mqtt_clear
  case $1 in mtls | *-tls) port=$mqtt_tls ;; esac
  timeout $((patience + 10)) "$python" tests/security/mqtt_client.py "$port" "$1" "$2" "$3" "$4" "$5" "$dir/tls" "$patience" >/dev/null 2>&1
}

try_mosquitto() {
  local way=$1 user=$2 password=$3 operation=$4 topic=$5
  local args=(-h localhost -p "$mqtt_clear" -t "$topic/x" -V mqttv5 -q 1)
  case $way in mtls | *-tls) args=(-h localhost -p "$mqtt_tls" --cafile "$dir/tls/ca.pem" -t "$topic/x" -V mqttv5 -q 1) ;; esac
  case $way in
    mtls) args+=(--cert "$dir/tls/pump.pem" --key "$dir/tls/pump.key") ;;
    *) args+=(-u "$user" -P "$(cat "$password")") ;;
  esac
  local said
  if [ "$operation" = write ]; then
    # It tells of a refusal by its words only.
    said=$(timeout $patience mosquitto_pub "${args[@]}" -m x 2>&1) || return 1
  else
    said=$(timeout $patience mosquitto_sub "${args[@]}" -E 2>&1) || return 1
  fi
  ! grep -qiE 'not authorized|refused|denied|fail' <<<"$said"
}

try_brooklet() {
  local login=(--broker "127.0.0.1:$native_clear" --user "$2" --password-file "$3")
  case $1 in
    password-tls) login=(--broker "localhost:$native_tls" --tls-ca "$dir/tls/ca.pem" --user "$2" --password-file "$3") ;;
    mtls) login=(--broker "localhost:$native_tls" --tls-ca "$dir/tls/ca.pem" --tls-cert "$dir/tls/pump.pem" --tls-key "$dir/tls/pump.key") ;;
  esac
  if [ "$4" = write ]; then
    echo x | timeout $patience "$binary" produce "$5" "${login[@]}" >/dev/null 2>&1
  else
    timeout $patience "$binary" consume "$5" --count 1 "${login[@]}" >/dev/null 2>&1
  fi
}

try_java() {
  local way=$1 user=$2 password=$3 operation=$4 topic=$5 config=$dir/java.properties
  {
    echo "security.protocol=$(security "$way")"
    printf 'ssl.truststore.type=PEM\nssl.truststore.location=%s\n' "$dir/tls/ca.pem"
    case $way in
      mtls) printf 'ssl.keystore.type=PEM\nssl.keystore.location=%s\n' "$dir/tls/pump.both.pem" ;;
      *)
        printf 'sasl.mechanism=%s\nsasl.jaas.config=org.apache.kafka.common.security.%s required username="%s" password="%s";\n' \
          "$(mechanism "$way")" "$(case $way in plain*) echo plain.PlainLoginModule ;; *) echo scram.ScramLoginModule ;; esac)" "$user" \
          "$(cat "$password")" ;;
    esac
    printf 'delivery.timeout.ms=120000\nrequest.timeout.ms=60000\nlinger.ms=0\nmax.block.ms=60000\n'
  } >"$config"
  local address said
  address=$(kafka_address "$way")
  if [ "$operation" = write ]; then
    said=$(echo x | timeout $((patience + 60)) scripts/kafka.sh tool org.apache.kafka.tools.ConsoleProducer --bootstrap-server "$address" --topic "$topic" \
      --command-config "$config" 2>&1) || return 1
  else
    said=$(timeout $((patience + 60)) scripts/kafka.sh tool org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$address" --topic "$topic" \
      --from-beginning --max-messages 1 --timeout-ms 60000 --command-config "$config" 2>&1) || return 1
  fi
  ! grep -qE 'AuthenticationException|AuthorizationException|TimeoutException' <<<"$said"
}

# What mTLS uses is no mechanism.
go_client() { # LIBRARY WAY USER PASSWORD-FILE OPERATION TOPIC
  local mechanism
  mechanism=$(case $2 in mtls) echo none ;; *) mechanism "$2" ;; esac)
  timeout $((patience + 10)) "$dir/secured" "$1" "$(kafka_address "$2")" "$(security "$2")" "$mechanism" "$3" "$4" "$5" "$6" "$dir/tls" >/dev/null 2>&1
}
try_franz-go() { go_client franz "$@"; }
try_sarama() { go_client sarama "$@"; }

# --- the table ---------------------------------------------------------------------------------------------------------------------------

# cell CLIENT WAY USER PASSWORD-FILE OPERATION TOPIC EXPECTED
cell() {
  local got=no mark
  # What is to be refused is refused at once, or looks for another way as long as it is let; what is to be done may take its time.
  patience=10
  [ "$7" = no ] || patience=120
  if "try_$1" "$2" "$3" "$dir/$4.password" "$5" "$6"; then got=yes; fi
  mark=$got
  [ "$got" = "$7" ] || { mark="$got!"; failed=1; }
  printf ' %-15s|' "$mark"
}

row() { # CLIENT WAY
  printf '| %-12s | %-13s |' "$1" "$2"
  if [ "$2" = mtls ]; then
    cell "$1" mtls - writer write allowed yes
    cell "$1" mtls - writer read allowed yes
    printf ' %-15s| %-15s|' - -
    cell "$1" mtls - writer write other no
  else
    cell "$1" "$2" writer writer write allowed yes
    cell "$1" "$2" writer writer read allowed yes
    cell "$1" "$2" reader reader write allowed no
    cell "$1" "$2" writer wrong write allowed no
    cell "$1" "$2" writer writer write other no
  fi
  printf '\n'
}

printf '| %-12s | %-13s | %-14s| %-14s| %-14s| %-14s| %-14s|\n' client way 'writer writes' 'writer reads' 'reader writes' 'wrong password' 'another topic'
printf '|---|---|---|---|---|---|---|\n'
if have kcat "Debian: kcat"; then for way in scram256 scram512-tls plain-tls mtls; do row kcat "$way"; done; fi
if python_client; then
  for way in scram512 scram256-tls plain-tls mtls; do row kafka-python "$way"; done
  for way in password-tls mtls; do row paho "$way"; done
fi
if have mosquitto_pub "Debian: mosquitto-clients"; then for way in password password-tls mtls; do row mosquitto "$way"; done; fi
if have java "Debian: default-jre-headless"; then
  row java scram512-tls
  if [ $all = 1 ]; then for way in scram256 plain-tls mtls; do row java "$way"; done; fi
fi
if [ $all = 1 ] && have go "1.26 or later"; then
  (cd tests/clients/go && again go build -o "$dir/secured" ./secured)
  for way in scram256 scram512-tls plain-tls mtls; do row franz-go "$way"; done
  for way in plain-tls mtls; do row sarama "$way"; done
fi
for way in password password-tls mtls; do row brooklet "$way"; done

# --- the uplink --------------------------------------------------------------------------------------------------------------------------

say() { if [ "$1" = 0 ]; then echo "ok    $2"; else echo "FAIL  $2"; failed=1; fi; }

# How long a session lasts at the Kafka, in seconds. A client logs in anew a little before: on a busy machine that takes its time.
session=15

uplink() {
  local kafka_dir=$root/.scratch/security/kafka sasl=$((port + 50)) status=0
  local scram='org.apache.kafka.common.security.scram.ScramLoginModule required;'
  scripts/kafka.sh start --dir "$kafka_dir" --fresh --nodes 1 --port "$port" \
    --set "listeners=PLAINTEXT://127.0.0.1:$port,SASL://127.0.0.1:$sasl,CONTROLLER://127.0.0.1:$((port + 100))" \
    --set "advertised.listeners=PLAINTEXT://127.0.0.1:$port,SASL://127.0.0.1:$sasl" \
    --set 'listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT' \
    --set 'sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512' \
    --set "listener.name.sasl.scram-sha-256.sasl.jaas.config=$scram" --set "listener.name.sasl.scram-sha-512.sasl.jaas.config=$scram" \
    --set "connections.max.reauth.ms=$((session * 1000))" --set 'super.users=User:ANONYMOUS' \
    --set 'authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer' >/dev/null || status=$?
  case $status in 0) ;; 3) skip "without Java and Maven there is no Apache Kafka to test with"; return ;; *) say 1 "Apache Kafka starts"; return ;; esac
  kafka=$kafka_dir
  local at="127.0.0.1:$port"
  scripts/kafka.sh tool kafka.admin.ConfigCommand --bootstrap-server "$at" --alter --add-config \
    'SCRAM-SHA-512=[password=uplink-secret]' --entity-type users --entity-name gw >"$dir/said" 2>&1 || { cat "$dir/said" >&2; exit 1; }
  local grant=(scripts/kafka.sh tool org.apache.kafka.tools.AclCommand --bootstrap-server "$at" --add --allow-principal User:gw)
  "${grant[@]}" --operation All --topic '*' --group '*' --transactional-id '*' >"$dir/said" 2>&1 || { cat "$dir/said" >&2; exit 1; }
  "${grant[@]}" --operation All --cluster >"$dir/said" 2>&1 || { cat "$dir/said" >&2; exit 1; }
  (umask 077; echo uplink-secret >"$dir/uplink.password")
  cat >"$dir/more" <<TEXT
[uplink.centre]
bootstrap = ["127.0.0.1:$sasl"]
topics = ["up"]
create_topics = true
backoff.min = "100ms"
backoff.max = "500ms"
sasl.mechanism = "SCRAM-SHA-512"
sasl.username = "gw"
sasl.password_file = "$dir/uplink.password"
TEXT
  kill "$gateway"; wait "$gateway" 2>/dev/null || true
  start_gateway
  seq 1 500 | "$binary" produce up --data "$dir/data" >/dev/null 2>&1
  wait_upstream 500 && say 0 "500 records go up by SCRAM-SHA-512" || say 1 "500 records go up by SCRAM-SHA-512"
  "$binary" uplink check centre --data "$dir/data" >"$dir/check" 2>&1 || true
  if grep -qi fail "$dir/check"; then cat "$dir/check"; say 1 "uplink check finds nothing wrong"; else say 0 "uplink check finds nothing wrong"; fi
  # Longer than a session lasts there.
  local before
  before=$(wc -l <"$dir/log")
  for n in $(seq 501 512); do echo "$n" | "$binary" produce up --data "$dir/data" >/dev/null 2>&1; sleep $((session / 10 + 1)); done
  wait_upstream 512 && say 0 "it goes on over the end of its session" || say 1 "it goes on over the end of its session"
  if tail -n "+$((before + 1))" "$dir/log" | grep 'WARN.*uplink'; then say 1 "no connection ends by that"; else say 0 "no connection ends by that"; fi
  (umask 077; echo not-the-secret >"$dir/uplink.password")
  kill "$gateway"; wait "$gateway" 2>/dev/null || true
  start_gateway
  seq 513 600 | "$binary" produce up --data "$dir/data" >/dev/null 2>&1
  sleep 2
  "$binary" uplink check centre --data "$dir/data" >"$dir/check" 2>&1 || true
  grep -q 'is not accepted' "$dir/check" && say 0 "a wrong password is named" || { cat "$dir/check"; say 1 "a wrong password is named"; }
  wait_upstream 512 && [ "$(upstream)" = 512 ] && say 0 "the backlog stays meanwhile" || say 1 "the backlog stays meanwhile"
  (umask 077; echo uplink-secret >"$dir/uplink.password")
  wait_upstream 600 && say 0 "it goes on with the right one, without a restart" || say 1 "it goes on with the right one, without a restart"
}

upstream() { # [TOPIC]
  timeout 60 kcat -C -b "127.0.0.1:$port" -t "${1:-up}" -o beginning -e -q -X isolation.level=read_committed 2>/dev/null | wc -l
}
wait_upstream() { # COUNT [TOPIC]
  for _ in $(seq 240); do
    [ "$(upstream "${2:-up}")" -ge "$1" ] && return 0
    sleep 0.5
  done
  return 1
}

# The uplink shows a token, which Kafka takes without a signature: what is tested is the exchange, and its renewal.
tokens() {
  local at="127.0.0.1:$port" bearer=$((port + 60))
  scripts/kafka.sh stop --kill --dir "$kafka" >/dev/null 2>&1 || true
  scripts/kafka.sh start --dir "$kafka" --fresh --nodes 1 --port "$port" \
    --set "listeners=PLAINTEXT://127.0.0.1:$port,SASL://127.0.0.1:$bearer,CONTROLLER://127.0.0.1:$((port + 100))" \
    --set "advertised.listeners=PLAINTEXT://127.0.0.1:$port,SASL://127.0.0.1:$bearer" \
    --set 'listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT' \
    --set 'sasl.enabled.mechanisms=OAUTHBEARER' --set "connections.max.reauth.ms=$((session * 1000))" \
    --set 'listener.name.sasl.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;' \
    --set 'super.users=User:ANONYMOUS;User:gw' \
    --set 'authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer' >/dev/null || { say 1 "Apache Kafka takes tokens"; return; }
  cat >"$dir/token" <<'TEXT'
#!/bin/sh
text() { printf %s "$1" | base64 -w0 | tr '+/' '-_' | tr -d '='; }
now=$(date +%s)
echo "$(text '{"alg":"none"}').$(text "{\"sub\":\"$1\",\"iat\":$now,\"exp\":$((now + 60))}")."
TEXT
  chmod 700 "$dir/token"
  cat >"$dir/more" <<TEXT
[uplink.centre]
bootstrap = ["127.0.0.1:$bearer"]
topics = ["tokens"]
create_topics = true
backoff.min = "100ms"
backoff.max = "500ms"
sasl.mechanism = "OAUTHBEARER"
sasl.token_command = "$dir/token gw"
sasl.extensions = ["logicalCluster=lkc-1"]
sasl.clear_passwords = true
TEXT
  kill "$gateway"; wait "$gateway" 2>/dev/null || true
  start_gateway
  for n in $(seq 12); do echo "$n" | "$binary" produce tokens --data "$dir/data" >/dev/null 2>&1; sleep $((session / 10 + 1)); done
  wait_upstream 12 tokens && say 0 "records go up by OAUTHBEARER, over the end of sessions" || say 1 "records go up by OAUTHBEARER, over the end of sessions"
}

if [ "$with_kafka" = 1 ] && have kcat "Debian: kcat"; then
  uplink
  if [ $all = 1 ] && [ -n "$kafka" ]; then tokens; fi
fi

if grep -l -e writer-secret -e reader-secret -e uplink-secret "$dir/log" >/dev/null; then say 1 "no secret is in the gateway's log"; else say 0 "no secret is in the gateway's log"; fi
[ $failed = 0 ] || { tail -n 20 "$dir/log" >&2; exit 1; }
[ $missing = 0 ] || { [ -z "${BROOKLET_REQUIRE_PEERS:-}" ] || exit 1; exit 3; }

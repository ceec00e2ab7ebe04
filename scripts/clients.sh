#!/usr/bin/env bash
# Builds the drivers of other people's client libraries (tests/clients) and plays the matrix with them: what each client
# does with a gateway, checked by what the gateway then holds.
#
# Everything is built below .scratch/clients; each client gets a launcher there: .scratch/clients/bin/NAME VERB BOOTSTRAP ...
# (tests/clients/main.rs has the verbs). With `mqtt` first the MQTT clients are built, and play tests/clients/mqtt/matrix.py.
#
# Exit codes: 0 passed, 1 failed, 2 usage, 3 passed as far as it went, but a runtime is missing (named on a line that
# begins with SKIP). With BROOKLET_REQUIRE_PEERS=1 a missing runtime is a failure.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/scripts/lib/again.sh"
sources=$root/tests/clients
built=$root/.scratch/clients
cd "$root"

usage() {
  cat <<'TEXT'
  scripts/interop.sh clients|mqtt [--binary FILE] [CLIENT...]

  --binary FILE  the brooklet to test                                            (cargo builds one for the tests)
  CLIENT         only these                                                      (all of tests/clients/list, list-mqtt)
TEXT
}

list=$sources/list
if [ "${1:-}" = mqtt ]; then
  list=$sources/list-mqtt
  shift
fi

names=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --binary)
      [ $# -ge 2 ] || { echo "clients: $1 needs a value" >&2; exit 2; }
      BROOKLET_TEST_BINARY=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
      export BROOKLET_TEST_BINARY
      shift 2 ;;
    -*) echo "clients: $1: unknown option" >&2; usage >&2; exit 2 ;;
    *) names+=("$1"); shift ;;
  esac
done

listed() { grep -v '^#' "$list"; }

for name in ${names[@]+"${names[@]}"}; do
  listed | grep -q "^$name " || {
    echo "clients: no client $name; there are: $(listed | cut -d' ' -f1 | paste -sd' ')" >&2
    exit 2
  }
done

missing=0
skip() {
  echo "SKIP: $*" >&2
  missing=1
  return 1
}

# Builds once, and again when one of these files has changed: STAMP FILE...
fresh() {
  local stamp=$1
  shift
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(cat "$@" | cksum)" ]
}

# --- one function a runtime: builds what its clients need, or says what is missing ------------------------------------

build_python() {
  local venv=$built/python wanted=$sources/python/requirements.txt
  fresh "$venv/complete" "$wanted" && return
  command -v python3 >/dev/null || skip "Python 3 isn't installed (Debian: python3-venv)" || return
  rm -rf "$venv"
  python3 -m venv "$venv" || skip "python3 has no venv (Debian: python3-venv)" || return
  echo "Installing Python's client libraries ..." >&2
  again "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted" || return 2
  cksum <"$wanted" >"$venv/complete"
}

launch_python() { echo "exec $built/python/bin/python $sources/python/$1"; }

# The programs are copied to where their modules are: Node.js looks for these beside the program.
build_node() {
  local home=$built/node
  command -v node >/dev/null && command -v npm >/dev/null || skip "Node.js and npm aren't installed (Debian: nodejs npm)" || return
  mkdir -p "$home"
  cp "$sources"/node/*.js "$sources"/node/package*.json "$home"
  fresh "$home/complete" "$home/package-lock.json" && return
  echo "Installing Node.js's client libraries ..." >&2
  (cd "$home" && again npm ci --loglevel=error --ignore-scripts --no-audit --no-fund) || return 2
  cksum <"$home/package-lock.json" >"$home/complete"
}

launch_node() { echo "exec node $built/node/$1"; }

build_go() {
  command -v go >/dev/null || skip "Go isn't installed (1.26 or later)" || return
  mkdir -p "$built/go"
  echo "Building Go's clients ..." >&2
  (cd "$sources/go" && again go build -o "$built/go/" ./franz ./sarama) || return 2
}

launch_go() { echo "exec $built/go/$1"; }

# Kafka's own artifacts, the library of its tools as well.
kafka_lib=''
find_kafka() {
  kafka_lib=$(scripts/kafka.sh lib) || skip "without Java and Maven there are no Java clients (Debian: default-jdk-headless, maven)"
}

# A short-lived program: compile quickly, collect simply.
java_command() {
  echo "exec java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile=$kafka_lib/log4j2.properties"
}

build_java() {
  local classes=$built/java sources_of_it=("$sources"/java/*.java)
  find_kafka || return
  command -v javac >/dev/null || skip "there is Java, but no compiler (Debian: default-jdk-headless)" || return
  fresh "$classes/complete" "${sources_of_it[@]}" && return
  rm -rf "$classes"
  javac -Xlint:all -proc:none -cp "$kafka_lib/jars/*" -d "$classes" "${sources_of_it[@]}" || return 2
  cat "${sources_of_it[@]}" | cksum >"$classes/complete"
}

launch_java() { echo "$(java_command) -cp '$built/java:$kafka_lib/jars/*' $1"; }

build_mosquitto() {
  command -v mosquitto_sub >/dev/null || skip "mosquitto_pub and mosquitto_sub aren't installed (Debian: mosquitto-clients)"
}
launch_mosquitto() { echo "exec $sources/mosquitto/$1"; }

# With a lock file of its own: Brooklet's knows nothing of it.
build_rust() { CARGO_TARGET_DIR=$built/rust again cargo build --locked --quiet --manifest-path "$sources/rust/Cargo.toml" || return 2; }
launch_rust() { echo "exec $built/rust/debug/$1"; }

build_kcat() { return 0; }
launch_kcat() { echo "exec $sources/kcat/$1"; }

build_tools() { find_kafka; }
launch_tools() { echo "KAFKA_SCRIPT=$root/scripts/kafka.sh exec $sources/tools/$1"; }

# --- the matrix -------------------------------------------------------------------------------------------------------

command -v kcat >/dev/null || skip "kcat isn't installed (Debian: kcat)" || { [ -n "${BROOKLET_REQUIRE_PEERS:-}" ] && exit 1; exit 3; }

mkdir -p "$built/bin"
ready=' ' absent=' ' clients=''
while read -r name runtime program; do
  if [ ${#names[@]} -gt 0 ]; then case " ${names[*]} " in *" $name "*) ;; *) continue ;; esac; fi
  case $absent in *" $runtime "*) continue ;; esac
  case $ready in
    *" $runtime "*) ;;
    *)
      status=0
      "build_$runtime" || status=$?
      case $status in
        0) ready="$ready$runtime " ;;
        1) absent="$absent$runtime "; continue ;;
        *) echo "clients: what $name needs could not be built" >&2; exit 1 ;;
      esac ;;
  esac
  printf '#!/usr/bin/env bash\n%s "$@"\n' "$("launch_$runtime" "$program")" >"$built/bin/$name"
  chmod +x "$built/bin/$name"
  clients="$clients $name"
done < <(listed)

if [ $missing = 1 ] && [ -n "${BROOKLET_REQUIRE_PEERS:-}" ]; then exit 1; fi
[ -n "$clients" ] || exit 3

BROOKLET_TEST_CLIENTS=${clients# } BROOKLET_TEST_CLIENTS_DIR=$built/bin
export BROOKLET_TEST_CLIENTS BROOKLET_TEST_CLIENTS_DIR BROOKLET_TEST_KCAT=1
if [ "$list" = "$sources/list-mqtt" ]; then
  if [ -z "${BROOKLET_TEST_BINARY:-}" ]; then
    cargo build --locked --quiet
    export BROOKLET_TEST_BINARY=$root/target/debug/brooklet
  fi
  python3 "$sources/mqtt/matrix.py" || exit 1
  [ $missing = 0 ] || exit 3
  exit 0
fi
# What failed is in the table; where in the runner it was noticed says little.
export RUST_BACKTRACE=0
cargo test --locked --test clients -- --ignored --nocapture --test-threads=1 || exit 1
[ $missing = 0 ] || exit 3

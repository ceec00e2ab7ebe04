# shellcheck shell=bash
# The suite `mqtt` of scripts/foreign.sh; to be sourced by it. The tests that four MQTT clients have for brokers, each test with a
# gateway of its own:
#
#   paho-c/PROGRAM[-NUMBER]   Eclipse Paho C; sync_client_test is the interoperability suite of 3.1.1 in C
#   paho-go/TEST              Eclipse Paho Go, 3.1.1
#   paho-python/CLASS/TEST    Eclipse Paho Python: its interoperability suite of 5
#   gmqtt/TEST                gmqtt's, which comes of the same
#
# Sources: a crate that carries Paho C, Go's module, the source packages of Python's.

PAHO_C=paho-mqtt-sys PAHO_C_VERSION=0.11.0
PAHO_C_SHA256=00e508bdadfa0d58d67792060fa447ec20729db5dc76e3dc7de9f4d29e521a43
PAHO_GO=github.com/eclipse/paho.mqtt.golang
# name, version, file, checksum
PYTHON_SOURCES='paho-mqtt 2.2.0 paho_mqtt-2.2.0.tar.gz bcf706f03f1f49e0fc3ae166dc7b67ee35463496f8bdfd7c9c36181f6ba635c9
gmqtt 0.8.0 gmqtt-0.8.0.tar.gz 61fb7641109f57ca29f73d2d8f2cb487de49d76338ef8c68228db961b6e9696a'
# Tests at a time, and the longest that one may take. They wait more than they compute.
MQTT_AT_ONCE=8 MQTT_TEST_SECONDS=90
# First of the ports that are not chosen by the kernel: a proxy of Paho C's and a gateway of Python's for each test under way.
MQTT_PORT=23800

build_paho_c() {
  local home=$mqtt_home/paho-c package programs
  needs cc gcc
  needs make make
  needs_header openssl/ssl.h libssl-dev
  [ ! -f "$home/complete" ] || return 0
  echo "Fetching and building Paho C's tests ..." >&2
  rm -rf "$home"
  mkdir -p "$home/fetch"
  printf '[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2021"\n[lib]\npath = "lib.rs"\n[workspace]\n[dependencies]\n%s = { version = "=%s", default-features = false }\n' \
    "$PAHO_C" "$PAHO_C_VERSION" >"$home/fetch/Cargo.toml"
  : >"$home/fetch/lib.rs"
  (cd "$home/fetch" && again cargo fetch --quiet)
  package=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/cache" -name "$PAHO_C-$PAHO_C_VERSION.crate" | head -1)
  echo "$PAHO_C_SHA256  $package" | sha256sum --check --quiet || { echo "foreign.sh: $PAHO_C is not what it was" >&2; exit 1; }
  tar xzf "$package" -C "$home" --strip-components=2 "$PAHO_C-$PAHO_C_VERSION/paho.mqtt.c"
  programs=$(listed mqtt | sed -n 's,^paho-c/\([^ -]*\).*,build/output/test/\1,p' | sort -u)
  # shellcheck disable=SC2086 # several targets
  (cd "$home" && make mkdir && make -j2 build/output/test/test1 build/output/test/test4 && make -j2 $programs) \
    >"$home/made.txt" 2>&1 || { echo "foreign.sh: Paho C could not be built; see $home/made.txt" >&2; exit 1; }
  touch "$home/complete"
}

build_paho_go() {
  needs go 'Go 1.26 or later'
  (cd tests/foreign/paho-go && again go test -c -o "$mqtt_home/paho-go.test" "$PAHO_GO")
}

build_python() {
  local home=$mqtt_home/python wanted=tests/foreign/mqtt-requirements.txt name version file sum
  needs python3 python3-venv
  python3 -c 'import ensurepip, venv' 2>/dev/null || skip "python3 has no venv (Debian: python3-venv)"
  [ ! -f "$home/complete" ] || [ "$(cat "$home/complete")" != "$(cksum <"$wanted")" ] || return 0
  echo "Fetching Python's MQTT clients and their tests ..." >&2
  rm -rf "$home"
  python3 -m venv "$home"
  again "$home/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted"
  while read -r name version file sum; do
    again "$home/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary "$name" --dest "$home" "$name==$version"
    echo "$sum  $home/$file" | sha256sum --check --quiet || { echo "foreign.sh: $file is not what it was" >&2; exit 1; }
    mkdir "$home/$name"
    # The tests alone: the library is what was installed.
    tar xzf "$home/$file" -C "$home/$name" --strip-components=1 "${file%.tar.gz}/tests"
  done <<<"$PYTHON_SOURCES"
  cksum <"$wanted" >"$home/complete"
}

# run_mqtt NAME: one test. Its log is $logs/NAME with the slashes as underscores; a line `outcome …` ends it.
run_mqtt() {
  local name=$1 dir gateway='' proxy='' mqtt status=0 log=$logs/${1//\//_}.log
  dir=$(mktemp -d)
  # shellcheck disable=SC2064 # as they are now
  trap "rm -rf '$dir'" EXIT
  export GATEWAY_DIR=$dir GATEWAY_PORT=$((MQTT_PORT + 2 * SLOT)) MQTT_PROXY=$((MQTT_PORT + 2 * SLOT + 1))
  case $name in
    paho-python/*) ;;
    # Go's tests know one port only.
    paho-go/*) gateway_of_test "127.1.0.$((SLOT + 1)):1883" ;;
    *) gateway_of_test 127.0.0.1:0 ;;
  esac
  "test_${name%%/*}" "${name#*/}" >"$log" 2>&1 </dev/null || status=$?
  if [ -n "$proxy" ]; then kill "$proxy"; fi
  if [ -n "$gateway" ]; then
    kill "$gateway"
    wait "$gateway" || { cat "$dir/log" >>"$log"; echo "the gateway ended with an error" >>"$log"; status=1; }
  fi
  if [ $status = 0 ]; then echo "outcome pass" >>"$log"; else { cat "$dir/log"; echo "outcome fail ($status)"; } >>"$log"; fi
}

# Sets gateway, and mqtt to where it listens.
gateway_of_test() {
  "$binary" serve --data "$dir/data" --native 127.0.0.1:0 --kafka 127.0.0.1:0 --mqtt "$1" >"$dir/log" 2>&1 &
  gateway=$!
  for _ in $(seq 600); do
    mqtt=$("$binary" status --data "$dir/data" --json 2>/dev/null | sed -n 's/.*"mqtt":"\([^"]*\)".*/\1/p') || true
    if [ -n "$mqtt" ]; then return; fi
    sleep 0.1
  done
}

test_paho-c() {
  local program=${1%%-*} options=()
  case $1 in *-*) options=(--test_no "${1#*-}") ;; esac
  case $program in
    test1 | test15 | test9 | test95)
      python3 -u "$mqtt_home/paho-c/test/mqttsas.py" 127.0.0.1 "${mqtt##*:}" "$MQTT_PROXY" >"$dir/proxy" 2>&1 &
      proxy=$!
      options+=(--proxy_connection "127.0.0.1:$MQTT_PROXY")
      until grep -q Listening "$dir/proxy" || ! kill -0 "$proxy" 2>/dev/null; do sleep 0.1; done ;;
  esac
  cd "$dir"
  LD_LIBRARY_PATH=$mqtt_home/paho-c/build/output timeout "$MQTT_TEST_SECONDS" \
    "$mqtt_home/paho-c/build/output/test/$program" --connection "$mqtt" "${options[@]}"
}

test_paho-go() {
  cd "$dir"
  TEST_FVT_ADDR=${mqtt%:*} timeout "$MQTT_TEST_SECONDS" "$mqtt_home/paho-go.test" -test.v -test.run "^$1\$"
}

test_paho-python() {
  cd "$mqtt_home/python/paho-mqtt"
  PYTHONPATH=$root/tests/foreign/shim timeout "$MQTT_TEST_SECONDS" "$mqtt_home/python/bin/python" -m pytest -q \
    -p no:cacheprovider "tests/test_mqttv5.py::${1/\//::}"
}

test_gmqtt() {
  cd "$mqtt_home/python/gmqtt"
  PORT=${mqtt##*:} timeout "$MQTT_TEST_SECONDS" "$mqtt_home/python/bin/python" -m pytest -q -p no:cacheprovider \
    "tests/test_mqtt5.py::$1"
}

prepare_mqtt() {
  export mqtt_home=$home/mqtt root binary GATEWAY_BINARY=$binary MQTT_PORT MQTT_TEST_SECONDS
  mkdir -p "$mqtt_home"
  build_paho_c
  build_paho_go
  build_python
  # A message's lifetime is counted by a clock that is believed.
  # Paho C wants to see itself held back by fewer messages in flight than it keeps by itself.
  export BROOKLET_CLOCK__TRUST=always BROOKLET_LISTEN__MQTT__MAX_INFLIGHT=20
  export -f run_mqtt gateway_of_test test_paho-c test_paho-go test_paho-python test_gmqtt
  version="(Paho C, Go and Python, gmqtt)"
}

# The tests named on standard input.
play_mqtt() { xargs -P "$MQTT_AT_ONCE" --process-slot-var=SLOT -I{} bash -c 'run_mqtt "$1"' _ {} 2>/dev/null || true; }

outcomes_mqtt() {
  listed mqtt | while read -r name _; do
    log=$logs/${name//\//_}.log
    echo "$name $(sed -n '$s/^outcome \([a-z]*\).*/\1/p' "$log") $log"
  done >"$logs/outcomes"
}

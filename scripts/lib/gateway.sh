# shellcheck shell=bash
# For scripts that measure a gateway of their own; to be sourced. The gateway lies in $dir, which is gone at the end, as are the
# gateway and whatever process ids stand in $others.

script=$(basename "$0")
dir=$(mktemp -d)
gateway='' others=''
trap 'end_gateway' EXIT

end_gateway() {
  local pid
  for pid in $others $gateway; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$dir"
}

# options NAME… -- "$@": reads `--NAME VALUE` into the variable NAME; ends the script with 2 at anything else.
options() {
  local names=' ' name
  while [ "$1" != -- ]; do names+="$1 "; shift; done
  shift
  while [ $# -gt 0 ]; do
    name=${1#--}
    if [ "$1" = "$name" ] || [[ $names != *" $name "* ]]; then
      echo "$script: $1: not an option; see the head of this script" >&2
      exit 2
    fi
    [ $# -ge 2 ] || { echo "$script: $1 needs a value" >&2; exit 2; }
    printf -v "$name" %s "$2"
    shift 2
  done
}

# start_gateway PROFILE ARGUMENT…: starts $binary on free ports and waits until it answers; $address is where native clients connect.
start_gateway() {
  local profile=$1
  shift
  [ -x "$binary" ] || { echo "$script: no $binary; build it by cargo build --profile $profile, or name one by --binary" >&2; exit 2; }
  # The ports are chosen by the gateway and told in its status, by the socket in its data directory.
  "$binary" serve "$@" --data "$dir/data" --native 127.0.0.1:0 --kafka 127.0.0.1:0 --mqtt 127.0.0.1:0 --http 127.0.0.1:0 2>"$dir/log" &
  gateway=$!
  address=''
  for _ in $(seq 600); do
    address=$("$binary" status --data "$dir/data" --json 2>/dev/null | sed -n 's/.*"native":"\([^"]*\)".*/\1/p') || true
    if [ -n "$address" ]; then return; fi
    sleep 0.1
  done
  echo "$script: the gateway did not start:" >&2
  cat "$dir/log" >&2
  exit 1
}

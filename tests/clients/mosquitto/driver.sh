#!/usr/bin/env bash
# mosquitto_pub and mosquitto_sub. The verbs stand in tests/clients/mqtt/matrix.py.
set -euo pipefail

verb=$1
if [ "$verb" = version ]; then
  # Help ends with 1.
  (mosquitto_pub --help || true) | sed -n 's/^mosquitto_pub version \([0-9.]*\).*/mosquitto_pub, _sub \1/p'
  exit
fi
address=$2 level=$3 name=$4
shift 4
common=(-h "${address%:*}" -p "${address##*:}" -i "$name")
case $level in 5) common+=(-V mqttv5) ;; *) common+=(-V mqttv311) ;; esac

case $verb in
  publish)
    topic=$1 qos=$2 first=$3 end=$4
    if [ "${5:-}" = retain ]; then common+=(-r); fi
    # Kept, so that what is under way when the gateway dies is sent again.
    common+=(-c)
    if [ "$level" = 5 ]; then common+=(-x 4294967295); fi
    seq "$first" $((end - 1)) | sed 's/^/m/' | mosquitto_pub "${common[@]}" -t "$topic" -q "$qos" -l ;;
  subscribe)
    pattern=$1 qos=$2 count=$3
    if [ "${4:-}" = keep ]; then
      common+=(-c)
      if [ "$level" = 5 ]; then common+=(-x 4294967295); fi
    fi
    # Its debug lines tell when the subscription is there.
    stdbuf -oL mosquitto_sub "${common[@]}" -t "$pattern" -q "$qos" -C "$count" -F 'message %t %p %q %r' -d |
      sed -un 's/^Subscribed .*/ready/p; s/^message //p' ;;
  will)
    stdbuf -oL mosquitto_sub "${common[@]}" -t none --will-topic "$1" --will-payload "$2" --will-qos 1 -d |
      sed -un 's/^Subscribed .*/ready/p' ;;
esac

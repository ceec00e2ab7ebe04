# shellcheck shell=bash
# shellcheck disable=SC2154 # $binary, $seconds, $rate are theirs
# For scripts that trouble the filesystem under a gateway at work; to be sourced. They set $binary, $seconds and $rate. All lies in
# $work, which stays where it is if the script fails; the filesystem is mounted on $work/disk.

script=$(basename "$0")
work=$(mktemp -d) mounted='' gateway='' producer='' others=''
# What must be undone before the filesystem can be unmounted.
release() { :; }

say() { printf '%s  %s\n' "$(date +%T)" "$*"; }
fail() { printf '%s: %s\n' "$script" "$*" >&2; exit 1; }

cleanup() {
  local status=$? pid
  release
  # Only what was started here.
  for pid in $producer $gateway $others; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  if [ -n "$mounted" ]; then umount "$work/disk" || true; fi
  if [ $status = 0 ]; then rm -rf "$work"; else echo "left in $work" >&2; fi
}
trap cleanup EXIT

# mount_disk [KIND…]: mounts a filesystem of 160 MB of the first kind that can be: ext4 (in a file), tmpfs. $mounted says which.
mount_disk() {
  local kind
  mkdir "$work/disk"
  truncate -s 160M "$work/image"
  for kind in "$@"; do
    case $kind in
      ext4) mkfs.ext4 -q -F -m 0 "$work/image" 2>/dev/null || continue ;;
    esac
    case $kind in
      ext4) set -- -o loop "$work/image" ;;
      *) set -- -t tmpfs -o size=160m tmpfs ;;
    esac
    if mount "$@" "$work/disk" 2>/dev/null; then
      mounted=$kind
      return
    fi
  done
  echo "$script: SKIP: no filesystem can be mounted here" >&2
  exit 3
}

# start_gateway: on the filesystem, without doors; waits until it answers.
start_gateway() {
  cat >"$work/brooklet.toml" <<TOML
data_dir = "$work/disk/data"
store.max_bytes = "128MiB"
listen.native.enabled = false
listen.kafka.enabled = false
listen.mqtt.enabled = false
TOML
  "$binary" serve --config "$work/brooklet.toml" >"$work/gateway.log" 2>&1 &
  gateway=$!
  for _ in $(seq 600); do
    if status >/dev/null; then return; fi
    sleep 0.1
  done
  cat "$work/gateway.log" >&2
  fail "the gateway does not start"
}

status() { "$binary" status --data "$work/disk/data" --json 2>/dev/null; }
figure() { status | grep -o "\"$1\":[0-9]*" | head -1 | cut -d: -f2; }

# Numbered lines, a tenth of a second's worth at a time, for as long as the trouble lasts and 15 s around it.
lines() {
  local n=0 step=$((rate / 10 > 0 ? rate / 10 : 1)) rounds=$(((seconds + 15) * 10))
  for _ in $(seq "$rounds"); do
    seq -f 'reading %.0f with some words behind it, as a sensor would send them now and then' "$n" $((n + step - 1))
    n=$((n + step))
    sleep 0.1
  done
}

# start_producer: sends those lines as topic `readings`; $work/sent holds them.
start_producer() {
  lines | tee "$work/sent" |
    "$binary" produce readings --data "$work/disk/data" --client-id meter --timeout 0s --json >"$work/acknowledged" &
  producer=$!
}

acknowledged() { tail -c 60 "$work/acknowledged" | grep -o '[0-9]*' | tail -1; }

# goes_on COUNT: waits until more than so many are acknowledged; says how long that took.
goes_on() {
  local since=$SECONDS
  until [ "$(acknowledged)" -gt "$1" ]; do
    [ $((SECONDS - since)) -lt 120 ] || fail "120 s after the trouble ended nothing more is acknowledged"
    sleep 0.2
  done
  say "it goes on after $((SECONDS - since)) s"
}

# all_is_there: the producer ends, everything sent is read back, once and in order; the gateway ends well, and fsck finds nothing.
all_is_there() {
  wait "$producer" || fail "the producer failed"
  producer=''
  local healed sent read
  sent=$(wc -l <"$work/sent")
  "$binary" consume readings --data "$work/disk/data" --from beginning --format '%v\n' >"$work/read"
  healed=$(figure healed)
  kill -0 "$gateway" || fail "the gateway has ended"
  read=$(wc -l <"$work/read")
  say "sent $sent, acknowledged $(acknowledged), read back $read; the store was opened again ${healed:-0} times"
  cmp -s "$work/sent" "$work/read" || fail "what is read back is not what was sent"
  kill "$gateway"
  wait "$gateway" || fail "the gateway ended with an error"
  gateway=''
  "$binary" fsck "$work/disk/data" || fail "fsck found something"
  say "nothing lost, nothing twice"
}

#!/usr/bin/env bash
# Tries the Debian package of this machine's architecture in a clean root: the unit is verified, the package installed, the broker run as
# its user with nothing writable but its own directories, upgraded with what is stored and configured, removed, and purged.
# Then the tar.gz of the same binary, where it lies beside the package.
# Usage: scripts/try-package.sh [--deb FILE]
#   --deb    by default the package that scripts/package.sh left in target/release-artifacts
# Needs root, debootstrap, and systemd-analyze for the unit. Nothing is started outside the clean root.
# Exit codes: 0 all well, 1 failed, 2 usage, 3 something it needs is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

deb=''
while [ $# -gt 0 ]; do
  case $1 in
    --deb) [ $# -ge 2 ] || { echo "try-package.sh: --deb needs a file" >&2; exit 2; }; deb=$2; shift 2 ;;
    *) echo "try-package.sh: $1: not an option; see the head of this script" >&2; exit 2 ;;
  esac
done
architecture=$(dpkg --print-architecture)
if [ -z "$deb" ]; then deb=$(ls target/release-artifacts/brooklet_*_"$architecture".deb 2>/dev/null | tail -1); fi
[ -f "$deb" ] || { echo "try-package.sh: no package for $architecture; run scripts/build-release.sh and scripts/package.sh" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "try-package.sh: needs root, to make a clean root" >&2; exit 3; }
command -v debootstrap >/dev/null || { echo "try-package.sh: no debootstrap" >&2; exit 3; }
command -v systemd-analyze >/dev/null || { echo "try-package.sh: no systemd-analyze (Debian: systemd)" >&2; exit 3; }

# The clean root is made once; each run works on a copy.
clean=.scratch/clean-root
if [ ! -f "$clean/made" ]; then
  rm -rf "$clean"
  mkdir -p "$clean"
  debootstrap --variant=minbase stable "$clean/root" >"$clean/log" 2>&1 || { tail -5 "$clean/log" >&2; exit 3; }
  touch "$clean/made"
fi
dir=$(mktemp -d)
root=$dir/root
gateway=''
# Ends the broker; fails when it hasn't ended in order within 20 s, as the unit's TimeoutStopSec has it.
end_broker() {
  local ending=$gateway
  gateway=''
  kill "$ending" 2>/dev/null || return
  for _ in $(seq 200); do
    if ! kill -0 "$ending" 2>/dev/null; then break; fi
    sleep 0.1
  done
  kill -9 "$ending" 2>/dev/null || true
  wait "$ending" 2>/dev/null
}
cleanup() {
  if [ -n "$gateway" ]; then end_broker || true; fi
  if mountpoint -q "$root/proc"; then umount "$root/proc"; fi
  rm -rf --one-file-system "$dir"
}
trap cleanup EXIT
cp -a "$clean/root" "$root"
mount -t proc proc "$root/proc"

failed() { echo "try-package.sh: $1" >&2; [ ! -f "$dir/log" ] || tail -20 "$dir/log" >&2; exit 1; }
said() { printf 'ok    %s\n' "$1"; }
inside() { chroot "$root" "$@"; }
# As the unit runs it: its user, and a root that can't be written but for the data and runtime directories. Words of a command, not a
# function: in the background each of them becomes the next, the broker at last, so that the id of the process is the broker's.
# shellcheck disable=SC2016 # expanded by that shell
as_unit=(unshare --mount sh -c '
  root=$1; shift
  mount --bind "$root" "$root" && mount -o remount,bind,ro "$root"
  mount --bind "$root/var/lib/brooklet" "$root/var/lib/brooklet" && mount -o remount,bind,rw "$root/var/lib/brooklet"
  exec chroot --userspec=brooklet:brooklet "$root" /usr/bin/brooklet "$@"' as_unit "$root")
brooklet() { "${as_unit[@]}" "$@"; }
start() {
  "${as_unit[@]}" serve --config /etc/brooklet/brooklet.toml --data /var/lib/brooklet --native 127.0.0.1:0 --kafka 127.0.0.1:0 \
    --http 127.0.0.1:0 2>>"$dir/log" &
  gateway=$!
  for _ in $(seq 100); do
    if brooklet status --data /var/lib/brooklet >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  failed 'the broker does not answer'
}
stop() { end_broker || failed 'the broker did not end in order'; }
install_deb() { cp "$1" "$root/tmp/brooklet.deb"; inside dpkg --install /tmp/brooklet.deb >"$dir/dpkg" 2>&1 || { cat "$dir/dpkg" >&2; failed 'dpkg -i'; }; }

install_deb "$deb"
[ "$(stat -c %a "$root/var/lib/brooklet")" = 700 ] || failed "the data directory is open to others"
inside getent passwd brooklet | grep -q ':/usr/sbin/nologin$' || failed 'no user brooklet, or one that can log in'
said "dpkg -i $(basename "$deb")"

# Among the units of this machine, since a clean root has none to depend on.
sed "s|/usr/bin/brooklet|$root/usr/bin/brooklet|" "$root/usr/lib/systemd/system/brooklet.service" >"$dir/brooklet.service"
systemd-analyze verify --man=no "$dir/brooklet.service" >"$dir/verify" 2>&1 || { cat "$dir/verify" >&2; failed 'systemd-analyze verify'; }
# What it says of other units is not ours.
if grep 'brooklet\.service' "$dir/verify" >&2; then failed 'systemd-analyze verify'; fi
said 'systemd-analyze verify'
printf 'ok    %s\n' "$(systemd-analyze security --offline=yes "$dir/brooklet.service" 2>/dev/null | tail -1 | sed 's/^[^A-Za-z]*//')"

start
seq 1000 | brooklet produce readings --data /var/lib/brooklet >/dev/null 2>>"$dir/log" || failed 'produce'
stop
said '1,000 records taken as the user brooklet, the root not writable'

# An upgrade: the same files under a higher version, and a configuration that was changed by hand.
echo 'store.max_bytes = "300MiB" # changed by hand' >>"$root/etc/brooklet/brooklet.toml"
dpkg-deb --raw-extract "$deb" "$dir/newer"
sed -i 's/^Version: .*/&+1/' "$dir/newer/DEBIAN/control"
dpkg-deb --root-owner-group --build "$dir/newer" "$dir/newer.deb" >/dev/null
install_deb "$dir/newer.deb"
grep -q 'changed by hand' "$root/etc/brooklet/brooklet.toml" || failed 'the upgrade wrote over the configuration'
start
grep -q 'of at most 300.0 MiB' "$dir/log" || failed 'what was changed by hand is not in force'
[ "$(seq 1000)" = "$(brooklet consume readings --data /var/lib/brooklet 2>>"$dir/log")" ] || failed 'what was stored before the upgrade is not there'
stop
said 'upgrade: configuration and records kept'

inside dpkg --remove brooklet >/dev/null 2>&1 || failed 'dpkg --remove'
[ -e "$root/usr/bin/brooklet" ] && failed 'remove left the binary'
[ -d "$root/var/lib/brooklet" ] || failed 'remove deleted the data'
inside dpkg --purge brooklet >"$dir/purge" 2>&1 </dev/null || failed 'dpkg --purge'
[ -d "$root/var/lib/brooklet" ] || failed 'purge deleted the data without a yes'
grep -q BROOKLET_PURGE_DATA "$dir/purge" || failed 'purge does not say how to delete the data'
said 'removed and purged: the data stays until it is told to go'
install_deb "$deb"
BROOKLET_PURGE_DATA=yes inside dpkg --purge brooklet >/dev/null 2>&1 </dev/null || failed 'dpkg --purge with a yes'
[ -d "$root/var/lib/brooklet" ] && failed 'purge left the data'
[ -z "$(inside getent passwd brooklet)" ] || failed 'purge left the user'
said 'purged with a yes: nothing is left'

for archive in "$(dirname "$deb")"/brooklet-*-"$(uname -m)"-*.tar.gz; do
  [ -f "$archive" ] || continue
  link=$(readlink "$root/lib" || true)
  # As scripts/deploy.sh does.
  tar -C "$root" --strip-components=1 -xzf "$archive"
  [ "$link" = "$(readlink "$root/lib" || true)" ] || failed "the archive puts a directory in the place of the link /lib"
  inside /usr/share/brooklet/set-up configure >"$dir/set-up" 2>&1 || { cat "$dir/set-up" >&2; failed 'set-up'; }
  start
  seq 1000 | brooklet produce readings --data /var/lib/brooklet >/dev/null 2>>"$dir/log" || failed 'produce'
  stop
  said "unpacked and set up: $(basename "$archive")"
done

#!/usr/bin/env bash
# Installs Brooklet on gateways over ssh: finds out what a host is, copies the package for it, installs it, waits until it serves.
# Usage: scripts/deploy.sh [--dry-run] [--from DIR] [--config FILE] HOST…
#   HOST      as ssh takes it; the user there is root or may use sudo without a password
#   --config  becomes /etc/brooklet/brooklet.toml there, after `brooklet check` has found nothing wrong with it on the host
#   --from    where scripts/package.sh put the packages, by default target/release-artifacts
#   --dry-run prints what would be run on hosts that DEPLOY_KIND describes: their `uname -m` and dpkg's architecture, by default
#             'aarch64 arm64'
# Hosts are done one after another; the first that fails ends it, so that a bad release stops at one gateway.
# Exit codes: 0 all serve, 1 one failed, 2 usage.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

from=target/release-artifacts config='' dry='' hosts=()
while [ $# -gt 0 ]; do
  case $1 in
    --dry-run) dry=yes; shift ;;
    --from | --config) [ $# -ge 2 ] || { echo "deploy.sh: $1 needs a value" >&2; exit 2; }; printf -v "${1#--}" %s "$2"; shift 2 ;;
    -*) echo "deploy.sh: $1: not an option; see the head of this script" >&2; exit 2 ;;
    *) hosts+=("$1"); shift ;;
  esac
done
[ ${#hosts[@]} -gt 0 ] || { echo "deploy.sh: no host; see the head of this script" >&2; exit 2; }
[ -z "$config" ] || [ -f "$config" ] || { echo "deploy.sh: $config: no such file" >&2; exit 2; }
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)

run() {
  if [ -z "$dry" ]; then "$@"; return; fi
  local word line=''
  for word in "$@"; do
    case $word in
      *[!A-Za-z0-9_./:=@-]*) line+=" ${word@Q}" ;;
      *) line+=" $word" ;;
    esac
  done
  echo "${line# }"
}

# What `uname -m` and dpkg say, to a package's name; a host without dpkg takes the archive.
package_for() {
  case $1 in
    'aarch64 arm64') echo "brooklet_${version}_arm64.deb" ;;
    'armv7l armhf' | 'armv8l armhf' | 'aarch64 armhf') echo "brooklet_${version}_armhf.deb" ;;
    'x86_64 amd64') echo "brooklet_${version}_amd64.deb" ;;
    aarch64*) echo "brooklet-$version-aarch64-unknown-linux-musl.tar.gz" ;;
    armv7l*) echo "brooklet-$version-armv7-unknown-linux-musleabihf.tar.gz" ;;
    armv6l*) echo "brooklet-$version-arm-unknown-linux-musleabihf.tar.gz" ;;
    x86_64*) echo "brooklet-$version-x86_64-unknown-linux-musl.tar.gz" ;;
    *) return 1 ;;
  esac
}

# As root there, whoever logs in.
as_root='if [ "$(id -u)" = 0 ]; then r=; else r="sudo -n"; fi;'
# systemd's comes back when the gateway has said that it is ready.
restart='if [ -d /run/systemd/system ]; then $r systemctl restart brooklet.service && $r systemctl is-active brooklet.service; else $r /etc/init.d/brooklet restart; fi'

deploy() {
  local host=$1 kind package
  local ask=(ssh -o BatchMode=yes "$host" 'echo "$(uname -m) $(dpkg --print-architecture 2>/dev/null)"')
  if [ -n "$dry" ]; then
    run "${ask[@]}"
    kind=${DEPLOY_KIND:-aarch64 arm64}
  else
    kind=$("${ask[@]}")
  fi
  package=$(package_for "$kind") || { echo "deploy.sh: $host is $kind; there is no package for that" >&2; return 1; }
  [ -n "$dry" ] || [ -f "$from/$package" ] || { echo "deploy.sh: no $from/$package; run scripts/build-release.sh and scripts/package.sh" >&2; return 1; }
  run scp -q -o BatchMode=yes "$from/$package" "$host:/tmp/$package" || return 1
  case $package in
    *.deb) run ssh -o BatchMode=yes "$host" "$as_root \$r dpkg -i --force-confold /tmp/$package && rm -f /tmp/$package" || return 1 ;;
    *) run ssh -o BatchMode=yes "$host" "$as_root \$r tar -C / --strip-components=1 -xzf /tmp/$package && \$r /usr/share/brooklet/set-up configure && rm -f /tmp/$package" || return 1 ;;
  esac
  if [ -n "$config" ]; then
    run scp -q -o BatchMode=yes "$config" "$host:/tmp/brooklet.toml" || return 1
    run ssh -o BatchMode=yes "$host" "$as_root \$r brooklet check /tmp/brooklet.toml >/dev/null && \$r install -m 640 -g brooklet /tmp/brooklet.toml /etc/brooklet/brooklet.toml && rm -f /tmp/brooklet.toml" || return 1
  fi
  run ssh -o BatchMode=yes "$host" "$as_root $restart" || return 1
  echo "$host: $package"
}

for host in "${hosts[@]}"; do
  deploy "$host" || { echo "deploy.sh: $host failed; the hosts after it are as they were" >&2; exit 1; }
done

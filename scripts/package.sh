#!/usr/bin/env bash
# Makes what is installed from built binaries: a Debian package and a tar.gz a target.
# Usage: scripts/package.sh [--from DIR] [TARGET…]
#   --from   where scripts/build-release.sh put the binaries, and where the packages go, by default target/release-artifacts
#   TARGET   by default every target that has a binary there
# The same binary gives the same bytes. Needs dpkg-deb for the Debian packages. Exit codes: 0 made, 1 failed, 2 usage.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

umask 022
from=target/release-artifacts
targets=()
while [ $# -gt 0 ]; do
  case $1 in
    --from) [ $# -ge 2 ] || { echo "package.sh: --from needs a directory" >&2; exit 2; }; from=$2; shift 2 ;;
    -*) echo "package.sh: $1: not an option; see the head of this script" >&2; exit 2 ;;
    *) targets+=("$1"); shift ;;
  esac
done
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
if [ ${#targets[@]} -eq 0 ]; then
  for file in "$from/brooklet-$version"-*.sha256; do
    [ -e "$file" ] || { echo "package.sh: no binaries in $from; run scripts/build-release.sh" >&2; exit 1; }
    file=${file%.sha256}
    targets+=("${file#"$from/brooklet-$version-"}")
  done
fi
# Of the last commit, so that nothing depends on when it is built.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

architecture() {
  case $1 in
    aarch64-*) echo arm64 ;;
    armv7-*) echo armhf ;;
    x86_64-*) echo amd64 ;;
    # Debian's armhf is ARMv7; a Pi Zero W's system (Raspberry Pi OS) calls ARMv6 by the same name, so it is installed from the tar.gz.
    *) echo '' ;;
  esac
}

# Files as they lie on the machine, below $1. Nothing outside /usr and /etc: /lib and /bin are links to /usr on most systems, and unpacking an
# archive must not put a directory in their place.
tree() {
  local root=$1 binary=$2
  install -D -m 755 "$binary" "$root/usr/bin/brooklet"
  install -D -m 644 scripts/package/brooklet.service "$root/usr/lib/systemd/system/brooklet.service"
  install -D -m 640 scripts/package/brooklet.toml "$root/etc/brooklet/brooklet.toml"
  install -D -m 644 -t "$root/usr/share/doc/brooklet" README.md CHANGELOG.md METRICS.md package/grafana/brooklet.json
  install -D -m 644 -t "$root/usr/share/doc/brooklet/board-configs" board-configs/*.toml
  find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

deb() {
  local target=$1 binary=$2 arch root
  arch=$(architecture "$target")
  [ -n "$arch" ] || return 0
  root=$dir/deb-$arch
  tree "$root" "$binary"
  mkdir -p "$root/DEBIAN"
  install -m 755 -t "$root/DEBIAN" scripts/package/{postinst,prerm,postrm}
  echo /etc/brooklet/brooklet.toml >"$root/DEBIAN/conffiles"
  cat >"$root/DEBIAN/control" <<EOF
Package: brooklet
Version: $version
Architecture: $arch
Maintainer: The Brooklet authors
Installed-Size: $(du -sk --exclude DEBIAN "$root" | cut -f1)
Pre-Depends: passwd
Section: net
Priority: optional
Description: Event broker for the edge
 Takes records from devices by Kafka's, MQTT's and its own protocol, has them on
 flash before it says so, and forwards them to a central Apache Kafka whenever
 the link is there.
EOF
  find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
  dpkg-deb --root-owner-group -Zxz --build "$root" "$from/brooklet_${version}_$arch.deb" >/dev/null
  echo "$from/brooklet_${version}_$arch.deb"
}

archive() {
  local target=$1 binary=$2 name=brooklet-$version-$1 root
  root=$dir/tar/$name
  tree "$root" "$binary"
  install -D -m 644 -t "$root/usr/share/brooklet" scripts/package/brooklet.openrc scripts/package/brooklet.procd
  install -D -m 755 scripts/package/postinst "$root/usr/share/brooklet/set-up"
  # Beside, not over what is configured: `set-up` puts it in place where there is none.
  mv "$root/etc/brooklet/brooklet.toml" "$root/usr/share/brooklet/brooklet.toml"
  rm -r "$root/etc"
  tar -C "$dir/tar" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -c "$name" | gzip -9n >"$from/$name.tar.gz"
  echo "$from/$name.tar.gz"
}

for target in "${targets[@]}"; do
  binary=$from/brooklet-$version-$target
  [ -x "$binary" ] || { echo "package.sh: no $binary; run scripts/build-release.sh $target" >&2; exit 1; }
  if command -v dpkg-deb >/dev/null; then deb "$target" "$binary"; else echo "package.sh: no dpkg-deb: only the tar.gz is made" >&2; fi
  archive "$target" "$binary"
done

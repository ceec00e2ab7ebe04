#!/usr/bin/env bash
# Builds what is shipped: a static binary a target, its checksum, and the list of what it is made of.
# Usage: scripts/build-release.sh [--out DIR] [TARGET…]
#   TARGET   by default all four:
#     aarch64-unknown-linux-musl        Pi Zero 2 W, 3, 4, 5 and gateways with a 64-bit system
#     armv7-unknown-linux-musleabihf    BeagleBone Black, Pi 2, 32-bit systems; not for ARMv6
#     arm-unknown-linux-musleabihf      Pi Zero W, Pi 1 (ARMv6)
#     x86_64-unknown-linux-musl         industrial PCs
#   --out    where to, by default target/release-artifacts
# Needs Rust by rustup, or Debian's rustc-web, cargo-web and rust-web-src; python3 with venv. Same sources, same compiler: same bytes.
# Exit codes: 0 built, 1 failed or larger than scripts/ceilings.txt allows, 2 usage, 3 no compiler for a target.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib/cross.sh

out=target/release-artifacts
targets=()
while [ $# -gt 0 ]; do
  case $1 in
    --out) [ $# -ge 2 ] || { echo "build-release.sh: --out needs a directory" >&2; exit 2; }; out=$2; shift 2 ;;
    -*) echo "build-release.sh: $1: not an option; see the head of this script" >&2; exit 2 ;;
    *) targets+=("$1"); shift ;;
  esac
done
all=(aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf arm-unknown-linux-musleabihf x86_64-unknown-linux-musl)
[ ${#targets[@]} -gt 0 ] || targets=("${all[@]}")
for target in "${targets[@]}"; do
  [[ " ${all[*]} " == *" $target "* ]] || { echo "build-release.sh: $target: not one of ${all[*]}" >&2; exit 2; }
done

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
mkdir -p "$out"
status=0
for target in "${targets[@]}"; do
  build_for "$target" dist
  artifact=$out/brooklet-$version-$target
  install -m 755 "target/$target/dist/brooklet" "$artifact"
  scripts/sbom.py --target "$target" >"$artifact.cdx.json"
  (cd "$out" && sha256sum "$(basename "$artifact")" >"$(basename "$artifact").sha256")
  size=$(stat -c %s "$artifact")
  ceiling=$(awk -v target="$target" '$1 == target { print $2 }' scripts/ceilings.txt)
  printf '%s: %d bytes of at most %d, sha256 %s\n' "$target" "$size" "$ceiling" "$(cut -c1-64 "$artifact.sha256")"
  if [ "$size" -gt "$ceiling" ]; then
    echo "build-release.sh: $target is larger than scripts/ceilings.txt allows: find what costs it (scripts/weigh.sh $target), or raise the ceiling with a reason" >&2
    status=1
  fi
done
exit $status

#!/usr/bin/env bash
# Builds what is shipped a second time, from a clone in another directory with another CARGO_HOME, and compares it byte by byte with the
# build in this directory: same sources, same compiler, same bytes.
# Usage: scripts/reproduce.sh [TARGET…]
#   TARGET   as in scripts/build-release.sh, by default all four
# The sources must be committed. The second CARGO_HOME gets a copy of the crates that the first one has, and no network.
# Exit codes: 0 the same, 1 they differ or one was not built, 2 usage, 3 no compiler for a target.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib/cross.sh
source scripts/lib/cross.sh

case ${1:-} in
  -*) echo "reproduce.sh: $1: not an option; see the head of this script" >&2; exit 2 ;;
esac
if [ -n "$(git status --porcelain)" ]; then
  echo "reproduce.sh: there are changes that are not committed: a clone would be something else" >&2
  exit 2
fi

# Deeper than this directory, and of another length, in case a path or its length is in what is built.
dir=$(mktemp -d)
other=$dir/elsewhere/and-deeper/brooklet
trap 'rm -rf "$dir"' EXIT

scripts/build-release.sh "$@"

git clone --quiet --no-hardlinks . "$other"
home=${CARGO_HOME:-$HOME/.cargo}
mkdir -p "$dir/cargo-home/registry"
cp -a "$home/registry/index" "$home/registry/cache" "$dir/cargo-home/registry/"
if [ -f "$home/config.toml" ]; then cp "$home/config.toml" "$dir/cargo-home/"; fi
provide_zigbuild "$PWD/.scratch/cross"
CARGO_HOME=$dir/cargo-home CARGO_NET_OFFLINE=true "$other/scripts/build-release.sh" "$@"

status=0
for second in "$other"/target/release-artifacts/*; do
  name=$(basename "$second")
  if cmp -s "target/release-artifacts/$name" "$second"; then
    case $name in *.sha256) ;; *) printf 'the same twice: %s  %s\n' "$(sha256sum "$second" | cut -c1-64)" "$name" ;; esac
  else
    printf 'reproduce.sh: %s differs: %s\n' "$name" "$(cmp "target/release-artifacts/$name" "$second" 2>&1 | head -1)" >&2
    mkdir -p target/reproduce && cp "$second" target/reproduce/
    echo "reproduce.sh: the second is kept as target/reproduce/$name; strings or objdump on both show what is in it" >&2
    status=1
  fi
done
exit $status

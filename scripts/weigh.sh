#!/usr/bin/env bash
# Builds the shipped binary with its symbols and prints what each dependency and each room costs in it, bytes.
# Usage: scripts/weigh.sh [TARGET] [OPTION…]
#   TARGET   aarch64-unknown-linux-musl unless given; as for scripts/build-release.sh
#   OPTION   as for scripts/weigh.py: --top N, --families N, --only TEXT
# Exit codes: 0 printed, 1 failed, 3 no compiler for the target.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/lib/cross.sh

target=aarch64-unknown-linux-musl
case ${1:-} in '' | -*) ;; *) target=$1; shift ;; esac
CARGO_PROFILE_DIST_STRIP=none build_for "$target" dist
scripts/weigh.py "target/$target/dist/brooklet" "$@"

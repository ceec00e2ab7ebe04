#!/usr/bin/env bash
# Checks that the device side (frame, device) builds without std and alloc: for this machine, and for a microcontroller
# where a toolchain for that is at hand. Usage: scripts/check-no-std.sh [--require]
#   --require  fail instead of skipping if the microcontroller's target can't be built
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib/cross.sh
target=thumbv7em-none-eabihf
require=${1:-}

cargo check --locked --quiet --lib --no-default-features
echo "no_std: compiles for this machine"

build() { cargo build --locked --quiet --lib --no-default-features --target "$target" --target-dir target/no-std "$@"; }

if has_rustup_target "$target"; then
  build
  echo "no_std: compiles for $target"
elif has_library_source; then
  use_distribution_compiler "$PWD/.scratch/cross/bin"
  build -Zbuild-std=core
  echo "no_std: compiles for $target (core built from source)"
else
  echo "no_std: skipped for $target: run 'rustup target add $target' (or install Debian's rustc-web cargo-web rust-web-src)"
  [ "$require" != --require ] || exit 1
fi

#!/usr/bin/env bash
# Checks that the device side (frame, device) builds without std and alloc: for this machine, and for a microcontroller
# where a toolchain for that is at hand. Usage: scripts/check-no-std.sh [--require]
#   --require  fail instead of skipping if the microcontroller's target can't be built
set -euo pipefail
cd "$(dirname "$0")/.."
target=thumbv7em-none-eabihf
require=${1:-}

cargo check --locked --quiet --lib --no-default-features
echo "no_std: compiles for this machine"

build() { "$@" build --locked --quiet --lib --no-default-features --target "$target" --target-dir target/no-std; }

# rustup's own copy of core, if it was added; else a distribution's toolchain with the library's sources.
if [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
  build cargo
  echo "no_std: compiles for $target"
elif [ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] && [ -f "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ]; then
  export PATH=/usr/bin:$PATH RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc CARGO=/usr/bin/cargo RUSTC_BOOTSTRAP=1
  build() { "$@" build --locked --quiet --lib --no-default-features --target "$target" --target-dir target/no-std -Zbuild-std=core; }
  build /usr/bin/cargo
  echo "no_std: compiles for $target (core built from source)"
else
  echo "no_std: skipped for $target: run 'rustup target add $target' (or install Debian's rustc-web cargo-web rust-web-src)"
  [ "$require" != --require ] || exit 1
fi

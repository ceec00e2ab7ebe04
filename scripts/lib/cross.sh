# shellcheck shell=bash
# Compilers for other targets; to be sourced. Two ways, one result: rustup's own copy of a target's library, or, where none can be
# downloaded, a distribution's compiler (Debian: rustc-web cargo-web rust-web-src), which builds that library from source.

# shellcheck source=scripts/lib/again.sh
source "$(dirname "${BASH_SOURCE[0]}")/again.sh"

# Whether rustup's copy of the library of target $1 is at hand; adds it where rustup can.
has_rustup_target() {
  [ -d "$(rustc --print sysroot 2>/dev/null)/lib/rustlib/$1/lib" ] && return
  command -v rustup >/dev/null || return 1
  timeout 120 rustup target add "$1" >/dev/null 2>&1
}

# Whether the sources of the library of rustup's compiler are at hand; adds them where rustup can.
has_rustup_source() {
  [ -f "$(rustc --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library/Cargo.lock" ] && return
  command -v rustup >/dev/null || return 1
  timeout 120 rustup component add rust-src >/dev/null 2>&1
}

# Whether the distribution's compiler and the sources of its library are here.
has_library_source() {
  [ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] && [ -f "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/Cargo.lock" ]
}

# Makes `cargo`, and what it calls, the distribution's. They go together: the compiler of one with the cargo of the other fails.
use_distribution_compiler() {
  local bin=$1
  mkdir -p "$bin"
  ln -sf /usr/bin/cargo /usr/bin/rustc /usr/bin/rustdoc "$bin/"
  export PATH=$bin:$PATH RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc CARGO=/usr/bin/cargo RUSTC_BOOTSTRAP=1
}

# Finds `cargo zigbuild`, or installs it beside $1 from PyPI: a linker and C compiler for every target.
provide_zigbuild() {
  local venv=$1/zig
  if command -v cargo-zigbuild >/dev/null; then return; fi
  if [ ! -x "$venv/bin/cargo-zigbuild" ]; then
    python3 -m venv "$venv"
    again "$venv/bin/pip" install --quiet --disable-pip-version-check ziglang==0.17.1 cargo-zigbuild==0.24.0
  fi
  export PATH=$venv/bin:$PATH
}

# build_for TARGET PROFILE [ARGUMENT…]: builds the binary into target/TARGET/PROFILE, static, with nothing of this machine's paths in it.
# What it needs lies in .scratch/cross.
build_for() {
  local target=$1 profile=$2 tools=$PWD/.scratch/cross
  shift 2
  mkdir -p "$tools"
  # Rust's library, built small, and without what prints backtraces: a stripped binary has no names for them. Unwinding is needed: what a
  # damaged file or a hostile frame makes a library do is caught.
  local small_std=(-Zbuild-std=std,panic_unwind -Zbuild-std-features=optimize_for_size) std=()
  # A panic's place is its line: with the message, that finds it in the sources of a version; names of files and columns take 60 kB. A type
  # with fields shows its name only where it is shown for developers, and no text for users is made so. Nobody unwinds from within a
  # function's first or last instructions, so their steps need no entries.
  local small_flags=" -Zlocation-detail=line -Zfmt-debug=shallow -Zuse-sync-unwind=yes"
  # A subshell: the choice of a compiler is not the caller's.
  (
    local flags="--remap-path-prefix=$PWD=brooklet --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
    # Equal pieces of functions become functions (LLVM's outliner, which 64-bit and 32-bit ARM have) where that saves more than the entry in
    # the unwinding tables that each such piece takes, about 36 bytes. So only tiny functions are inlined before.
    flags+=" -Cllvm-args=-outliner-benefit-threshold=40 -Cllvm-args=-machine-outliner-reruns=2 -Cllvm-args=-inline-threshold=5"
    if has_rustup_target "$target"; then
      # LLVM's linker folds functions that come out equal, of which generic code makes thousands; zig's can't.
      flags+=" --remap-path-prefix=$(rustc --print sysroot)=rust -Clinker=rust-lld -Clink-arg=--icf=all"
      if has_rustup_source; then
        std=("${small_std[@]}")
        flags+=$small_flags
        # Building the library is not a stable option of cargo; the compiler is the stable one.
        export RUSTC_BOOTSTRAP=1
      fi
    elif has_library_source; then
      use_distribution_compiler "$tools/bin"
      std=("${small_std[@]}")
      flags+=$small_flags
      flags+=" --remap-path-prefix=/usr/lib/rustlib=rust --remap-path-prefix=$(rustc --print sysroot)=rust -Clink-self-contained=no"
    else
      echo "no compiler for $target: run 'rustup target add $target' (or install Debian's rustc-web cargo-web rust-web-src)" >&2
      return 3
    fi
    provide_zigbuild "$tools"
    export CARGO_ZIGBUILD_CACHE_DIR=$tools/zigbuild ZIG_GLOBAL_CACHE_DIR=$tools/zig-global ZIG_LOCAL_CACHE_DIR=$tools/zig-local
    local name=${target//-/_}
    export "CARGO_TARGET_${name^^}_RUSTFLAGS=$flags"
    cargo zigbuild --locked --no-default-features --features gateway --bin brooklet --profile "$profile" --target "$target" ${std[@]+"${std[@]}"} "$@"
  )
}

# shellcheck shell=bash
# What runs a binary on this machine; to be sourced.

# runner_for BINARY: sets $runner to qemu for a binary that was built for ARM, with the oldest processor of those that it is for, else to
# nothing. Returns 2 for any other kind of binary, 3 where there is no qemu.
runner_for() {
  runner=''
  case $(od -An -tu2 -j18 -N2 "$1" | tr -d ' ') in
    62) return ;;
    183) runner=qemu-aarch64-static; export QEMU_CPU=cortex-a53 ;;
    40) runner=qemu-arm-static; case $1 in *armv7*) export QEMU_CPU=cortex-a7 ;; *) export QEMU_CPU=arm1176 ;; esac ;;
    *) echo "$(basename "$0"): $1 is neither for ARM nor for x86-64" >&2; return 2 ;;
  esac
  command -v "$runner" >/dev/null || { echo "$(basename "$0"): no $runner (Debian: qemu-user-static)" >&2; return 3; }
}

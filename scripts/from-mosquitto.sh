#!/usr/bin/env bash
# Turns a mosquitto.conf into Brooklet's configuration.
#
#   scripts/from-mosquitto.sh [--rights SCRIPT] FILE [>brooklet.toml]
#
# The configuration goes to standard output; `brooklet check FILE` takes it as it is. What Brooklet does by itself, does otherwise or
# can't do is said in comments there, each with its line in FILE, and what needs a hand also on standard error. `include_dir` is
# followed. Users and access rules are no configuration of Brooklet's: they are commands, which go to SCRIPT, to be run beside the
# gateway when it is up (`sh SCRIPT --data DIR`); without --rights they are comments.
#
# Exit codes: 0 done, 2 usage or a file that can't be read.
set -euo pipefail

usage() { sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
rights=''
case ${1:-} in
  -h | --help) usage; exit 0 ;;
  --rights) rights=${2:-}; shift 2 || { usage >&2; exit 2; } ;;
esac
case ${1:-} in '' | -*) usage >&2; exit 2 ;; esac
if [ $# -ne 1 ] || [ ! -r "$1" ]; then
  echo "from-mosquitto.sh: $1: can't be read" >&2
  exit 2
fi

# The file, and what it includes in the order in which Mosquitto takes it, each line as FILE:LINE<tab>TEXT.
lines() {
  local file
  awk -v OFS='\t' '{ sub(/\r$/, ""); print FILENAME ":" FNR, $0 }' "$1"
  sed -n 's/^[[:space:]]*include_dir[[:space:]]\{1,\}//p' "$1" | while read -r dir; do
    for file in "$dir"/*.conf; do
      if [ -r "$file" ]; then lines "$file"; fi
    done
  done
}

# Whatever a file that is named holds, for commands: users of a password file, rules of an ACL file.
named() {
  local option file
  lines "$1" | cut -f2 | awk '$1 == "password_file" || $1 == "acl_file" { print $1, $2 }' | while read -r option file; do
    if [ -r "$file" ]; then
      awk -v OFS='\t' -v option="$option" '{ sub(/\r$/, ""); print FILENAME ":" FNR, "@" option " " $0 }' "$file"
    else
      printf '%s\t@unread %s %s\n' "$file" "$option" "$file"
    fi
  done
}

{ lines "$1"; named "$1"; } | awk -F '\t' -v source="$1" -v rights="$rights" -f "$(dirname "${BASH_SOURCE[0]}")/lib/from-mosquitto.awk"

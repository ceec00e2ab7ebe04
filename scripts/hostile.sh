#!/usr/bin/env bash
# Everything that a hostile peer can do, at once, beside an honest producer and consumer; see `scripts/hostile.sh --help`.
# Exit codes: 0 all held, 1 not so, 2 usage, 3 a program is missing.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
command -v python3 >/dev/null || { echo "hostile: SKIP: no python3 found" >&2; exit 3; }
exec python3 "$root/scripts/hostile.py" "$@"

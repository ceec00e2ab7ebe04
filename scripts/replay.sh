#!/usr/bin/env bash
# Replays recorded readings through Brooklet into a real Apache Kafka while both are killed and restarted.
# See `scripts/replay.sh --help`; exit codes: 0 nothing lost, 1 failed, 2 usage, 3 a program is missing.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
command -v python3 >/dev/null || { echo "replay.sh: SKIP: no python3 found" >&2; exit 3; }
exec python3 "$root/scripts/replay.py" "$@"

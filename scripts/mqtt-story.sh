#!/usr/bin/env bash
# An outage with MQTT devices, from end to end; see `scripts/mqtt-story.sh --help`. Exit codes: 0 everything arrived, 1 not so,
# 2 usage, 3 a program is missing. paho-mqtt is the one that `scripts/interop.sh mqtt` installs below .scratch/clients.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/.scratch/clients/python/bin/python
[ -x "$python" ] || python=python3
command -v "$python" >/dev/null || { echo "mqtt-story: SKIP: no python3 found" >&2; exit 3; }
exec "$python" "$root/scripts/mqtt-story.py" "$@"

#!/usr/bin/env bash
# The gateway's page in a browser: what it says under load, with its uplink down, with the gateway gone and back again, at 1280 and 360 px.
#   scripts/page.sh [--binary FILE] [--screenshots DIR]
# Exit codes: 0 all is as it should be, 1 not so, 2 usage, 3 no browser (Debian: chromium) or Python.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
command -v python3 >/dev/null || { echo "page: SKIP: no python3 found" >&2; exit 3; }
# Prometheus's own library reads /metrics, where it is here or can be had.
python=python3
if ! python3 -c 'import prometheus_client' 2>/dev/null; then
  venv=$root/.scratch/page
  if { [ -x "$venv/bin/pip" ] || python3 -m venv "$venv"; } >/dev/null 2>&1 &&
    "$venv/bin/pip" install --quiet --disable-pip-version-check prometheus_client==0.26.0 2>/dev/null; then
    python=$venv/bin/python
  fi
fi
exec "$python" "$root/scripts/page.py" "$@"

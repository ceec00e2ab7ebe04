# shellcheck shell=bash
# For what comes over a network; to be sourced.

# again COMMAND…: up to three times, with a pause between.
again() {
  local try
  for try in 1 2 3; do
    if "$@"; then return; fi
    [ $try = 3 ] || sleep $((try * 10))
  done
  return 1
}

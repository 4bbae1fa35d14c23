#!/usr/bin/env bash
# One command from a fresh clone to tested: installs what is missing, builds everything, runs all tests.
# Arguments go to ctest: scripts/test.sh -R model
more_packages=(python3-numpy)  # one test reads a data set as the documentation says
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
build all
say "running all tests"
export INTROSPECT_FUZZ_SECONDS="${INTROSPECT_FUZZ_SECONDS:-6}"
status=0
# tests run beside each other; each on one thread, so that they do not fight for the cores
OMP_NUM_THREADS=1 ctest --preset release --parallel "$(nproc)" "$@" || status=$?
skipped=$(grep -A1 ': Skipped$' build/release/Testing/Temporary/LastTest.log | grep -v -e ': Skipped$' -e '^--$' | sort | uniq -c) || true
if [[ -n "$skipped" ]]; then
  say "skipped, how often and why"
  echo "$skipped"
fi
exit "$status"

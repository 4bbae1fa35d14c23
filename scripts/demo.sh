#!/usr/bin/env bash
# One command from a fresh clone to a report: installs what is missing, builds, runs `introspect demo`.
# Arguments go to the demo: scripts/demo.sh --quick
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
build introspect
say "running the demo"
exec build/release/introspect demo "$@"

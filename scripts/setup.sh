#!/usr/bin/env bash
# Installs what is missing (Debian packages, with sudo when not root) and builds build/release/introspect.
# Sourced by demo.sh and test.sh; run by itself it stops after the build. Safe to run again: what is there is kept.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

declare -a more_packages  # what a caller needs besides
packages=(g++ cmake ninja-build ccache mold pkg-config libtorch-dev libgloo-dev libopenblas0-openmp libjemalloc-dev
          nlohmann-json3-dev libtomlplusplus-dev libcli11-dev libfmt-dev libpcre2-dev libutf8proc-dev libzip-dev
          libcpp-httplib-dev libssl-dev zlib1g-dev libsnappy-dev libzstd-dev wordnet-base libgtest-dev libgmock-dev "${more_packages[@]}")

say() { printf '\n== %s\n' "$*"; }

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if ((${#missing[@]})); then
  say "installing ${missing[*]}"
  as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || { echo "not root and no sudo: install these packages by hand: ${missing[*]}" >&2; exit 1; }
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

# A machine with more cores than memory for them would be killed by the compiler: 1.5 GB each.
cores=$(nproc)
gigabytes=$(awk '/MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)
jobs=$((gigabytes * 2 / 3 < cores ? gigabytes * 2 / 3 : cores))
((jobs > 0)) || jobs=1

build() {  # the targets that are wanted
  say "building $* with $jobs jobs (the first time takes some minutes)"
  cmake --preset release >/dev/null
  cmake --build --preset release --parallel "$jobs" --target "$@"
}

if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then
  build introspect
  echo "built: build/release/introspect"
fi

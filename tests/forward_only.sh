#!/usr/bin/env bash
# A program that only runs forward passes compiles neither backward passes nor the rarer things that
# adapters do:  forward_only.sh COMPILER BUILD_DIR
set -euo pipefail
cd "$(dirname "$0")"
program=$2/forward_only_$(basename "$1")
"$1" -std=c++20 -O2 -I../include forward_only.cpp -pthread -o "$program"
"$program"
symbols=$(nm -C "$program")
grep -q 'cpu::LinearCore' <<<"$symbols"
for unwanted in LinearBackwardInputCore OuterProductCore GradientAccumulation AdapterPass \
  AdapterMerge mersenne_twister; do
  if grep "$unwanted" <<<"$symbols"; then
    echo "a forward pass alone has compiled $unwanted"
    exit 1
  fi
done

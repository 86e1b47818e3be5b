#!/usr/bin/env bash
# Builds mnist_lora, installing what is missing, and runs it. Arguments are passed on to it.
set -euo pipefail
here=$PWD
cd "$(dirname "$0")/../.."

cmake/install_packages.sh g++ cmake make zlib1g-dev libcli11-dev nlohmann-json3-dev libstb-dev

cmake --preset release -DLORA_BUILD_TESTS=OFF -B build-run >/dev/null
cmake --build build-run --target mnist_lora --parallel "$(nproc)"
program=$PWD/build-run/examples/mnist_lora/mnist_lora
cd "$here"
exec "$program" "$@"

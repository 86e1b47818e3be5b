#!/usr/bin/env bash
# Builds and runs every test: installs what is missing, configures, builds, runs ctest.
# Arguments are passed on to ctest:  tests/run.sh -R tensor
# PRESET=asan or PRESET=tsan runs them under a sanitizer.
set -euo pipefail
cd "$(dirname "$0")/.."

cmake/install_packages.sh g++ clang cmake make pkg-config catch2 zlib1g-dev libcli11-dev nlohmann-json3-dev libstb-dev
# What clang needs to fuzz. Ubuntu 22.04 has no package of that name; without it the corpora are
# replayed.
if apt-cache show libclang-rt-dev >/dev/null 2>&1; then
  cmake/install_packages.sh libclang-rt-dev || true
fi

preset=${PRESET:-release}
# Where there is nvcc: two processors in machine code and PTX for what is newer, not the whole default
# list, which takes twice as long.
cmake --preset "$preset" -DLORA_CUDA_ARCHITECTURES="${LORA_CUDA_ARCHITECTURES:-80-real;90a-real;120-virtual}"
cmake --build --preset "$preset" --parallel "$(nproc)"
exec ctest --preset "$preset" --parallel "$(nproc)" "$@"

#!/usr/bin/env bash
# The tests of what is made of vector code, compiled by another compiler and run with every
# instruction set:  clang.sh COMPILER BUILD_DIR
set -euo pipefail
compiler=$1
mkdir -p "$2"
build=$(cd "$2" && pwd)
cd "$(dirname "$0")"
objects=()
for test in support/main cpu/simd_test cpu/simd_math_test cpu/gemm_test cpu/transpose_test \
  ops/linear_test ops/lora_linear_test ops/dora_test ops/softmax_cross_entropy_test \
  ops/layer_norm_test ops/gelu_test ops/conv2d_test ops/causal_attention_test ops/dot_test \
  optim/adam_test optim/adamw_test linalg/svd_test; do
  object=$build/${test//\//_}.o
  "$compiler" -std=c++20 -O2 -Wall -Wextra -Wpedantic -Wconversion -Werror -I. -I../include \
    "-DLORA_GOLDEN_DIR=\"$PWD/golden\"" -c "$test.cpp" -o "$object"
  objects+=("$object")
done
"$compiler" "${objects[@]}" -pthread -o "$build/tests"
for isa in baseline avx2 avx512; do
  if grep -q "$isa" /proc/cpuinfo || [ "$isa" = baseline ]; then LORA_ISA=$isa "$build/tests"; fi
done

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks and measures the library on a machine with an NVIDIA GPU, and writes one Markdown report:
#
#   tests/gpu_check.sh [REPORT [PART...]]      gpu_report.md, and all parts
#
# Parts: tests       the kernels' tests; none may be skipped
#        sanitizers  the same under compute-sanitizer: memcheck, racecheck, initcheck, synccheck
#        study       mnist_lora --device cuda
#        bench       lora_gpu_bench, and the study's steps on the CPU and on the GPU
#        peers       the study's steps in PyTorch, where python3 has it
#
# Each step has a time limit, and those after a failure still run. Exit status: 0 all was green,
# 1 something failed or could not be run, 77 no GPU. Logs and JSON go to a folder beside the report.
#
# Needs CUDA, CMake >= 3.25 and g++, and no network. Libraries that CMake finds are taken from where
# they are; else these say where, as absolute paths (CMAKE_PREFIX_PATH works for all):
#   CATCH2_INCLUDE_DIR         has catch2/catch.hpp of version 2    tests, sanitizers
#   CLI11_INCLUDE_DIR          has CLI/CLI.hpp                      study
#   NLOHMANN_JSON_INCLUDE_DIR  has nlohmann/json.hpp                tests, sanitizers, study
#   STB_INCLUDE_DIR            has stb_image_write.h                study
#   BENCHMARK_PREFIX           Google Benchmark is installed there  bench
#   ZLIB_ROOT                  zlib is installed there              tests, sanitizers, study
# Others: LORA_DATA_DIR (MNIST; else the study draws its digits), BUILD_DIR (build-gpu), JOBS,
# PYTHON (python3; without one the report shows the programs' own output), LORA_COMMIT (for sources
# outside a repository).
set -uo pipefail

# Seconds that a step may take.
limit_build=1800
limit_tests=900
limit_sanitizer=1800
limit_study=600
limit_bench=1200
limit_steps=300
limit_peers=600

compute_cap=
if command -v nvidia-smi >/dev/null; then
  compute_cap=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1)
fi
if ! [[ $compute_cap =~ ^[0-9]+\.[0-9]+$ ]]; then
  echo "gpu_check.sh: this machine has no NVIDIA GPU that nvidia-smi knows of." >&2
  exit 77
fi

report=${1:-gpu_report.md}
shift || true
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(tests sanitizers study bench peers)
for part in "${parts[@]}"; do
  case $part in
    tests | sanitizers | study | bench | peers) ;;
    *)
      echo "gpu_check.sh: there is no part \"$part\": tests sanitizers study bench peers" >&2
      exit 2
      ;;
  esac
done

: >"$report" || exit 2
report=$(realpath "$report")
results=${report%.md}_files
rm -rf "$results"
mkdir -p "$results"
cd "$(dirname "$0")/.." || exit 2
build=$(realpath -m "${BUILD_DIR:-build-gpu}")
jobs=${JOBS:-$(nproc)}
python=${PYTHON:-python3}
here=$PWD/tests/gpu_check
cuda_bin=$(dirname "$(command -v nvcc || echo "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc")")

all_green=true
summary=$results/summary
details=$results/details
: >"$summary"
: >"$details"

# conclude STEP OUTCOME TEXT: a row of the summary.
conclude() {
  [ "$2" = passed ] || all_green=false
  echo "| $1 | $2 | $3 |" >>"$summary"
  echo "gpu_check.sh: $1: $2${3:+: $3}"
}

# run STEP SECONDS COMMAND...: its output goes to STEP.log. Sets `outcome` where it failed.
run() {
  local step=$1 limit=$2
  shift 2
  echo "gpu_check.sh: $step ..."
  timeout --kill-after=10 "$limit" "$@" >"$results/$step.log" 2>&1 </dev/null
  local status=$?
  case $status in
    0) return 0 ;;
    124 | 137) outcome="ended after its limit of $limit s" ;;
    77) outcome="skipped: $(tail -n 1 "$results/$step.log")" ;;
    *) outcome="exit status $status" ;;
  esac
  return 1
}

section() { printf '\n### %s\n\n' "$1" >>"$details"; }

# show STEP [LINES]: the end of a log, in the report.
show() {
  { echo '```'; tail -n "${2:-40}" "$results/$1.log"; printf '```\n\n'; } >>"$details"
}

# tabulate KIND FILE STEP: tables of the numbers, or the program's own where there is no Python.
tabulate() {
  if ! "$python" "$here/tables.py" "$1" "$2" >>"$details" 2>>"$results/tables.log"; then
    show "$3" 400
  fi
}

# Options that lead CMake to the libraries; the same for the probe and for the build.
find_options=()
[ -z "${CATCH2_INCLUDE_DIR:-}" ] || find_options+=("-DCatch2_DIR=$here/packages")
[ -z "${CLI11_INCLUDE_DIR:-}" ] || find_options+=("-DCLI11_DIR=$here/packages")
[ -z "${NLOHMANN_JSON_INCLUDE_DIR:-}" ] || find_options+=("-Dnlohmann_json_DIR=$here/packages")
[ -z "${STB_INCLUDE_DIR:-}" ] || find_options+=("-DSTB_INCLUDE_DIR=$STB_INCLUDE_DIR")
if [ -n "${BENCHMARK_PREFIX:-}" ]; then
  export CMAKE_PREFIX_PATH=$BENCHMARK_PREFIX${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}
fi

# has LIBRARY...: whether CMake finds them all. Sets `missing`.
has() {
  missing=
  local library
  for library in "$@"; do
    if grep -qx "$library" "$build/probe/missing.txt"; then missing+=" $library"; fi
  done
  [ -z "$missing" ]
}

# switch LIBRARY...: ON where all are there.
switch() { if has "$@"; then echo ON; else echo OFF; fi; }

configure() {
  run probe 120 cmake -S "$here/probe" -B "$build/probe" "${find_options[@]}" || return 1
  local number=${compute_cap/./}
  [ "$number" != 90 ] || number=90a # with Hopper's own instructions
  run configure 300 cmake -S . -B "$build/lora" -DCMAKE_BUILD_TYPE=Release "${find_options[@]}" \
    -DLORA_WITH_CUDA=ON "-DLORA_CUDA_ARCHITECTURES=$number-real" \
    -DLORA_BUILD_TESTS="$(switch Catch2 ZLIB nlohmann_json)" -DLORA_BUILD_BENCH="$(switch benchmark)" \
    -DLORA_BUILD_EXAMPLES="$(switch ZLIB CLI11 nlohmann_json stb)"
}

# make_targets STEP TARGET...
make_targets() {
  local step=build_$1
  shift
  if run "$step" "$limit_build" cmake --build "$build/lora" --parallel "$jobs" --target "$@"; then
    conclude "$step" passed ""
  else
    conclude "$step" failed "$outcome"
    section "$step"
    show "$step"
    return 1
  fi
}

# needs STEP LIBRARY...: says so where one is missing.
needs() {
  local step=$1
  shift
  has "$@" && return 0
  conclude "$step" "not run" "CMake does not find:$missing"
  return 1
}

gpu_tests=$build/lora/tests/kernels/kernel_tests_gpu

part_tests() {
  needs tests Catch2 ZLIB nlohmann_json && make_targets tests kernel_tests_gpu || return
  local ok=true
  run tests "$limit_tests" ctest --test-dir "$build/lora" -L '^gpu$' --no-tests=error \
    --output-on-failure || ok=false
  local counts skipped
  counts=$(grep -E 'tests passed|No tests were found' "$results/tests.log" | tail -n 1)
  skipped=$(grep -c '\*\*\*Skipped' "$results/tests.log")
  if ! $ok; then
    conclude tests failed "$outcome; $counts"
  elif [ "$skipped" -gt 0 ]; then
    conclude tests failed "$skipped skipped; $counts"
  else
    conclude tests passed "$counts"
  fi
  section "Tests of the kernels"
  show tests 30
}

part_sanitizers() {
  needs sanitizers Catch2 ZLIB nlohmann_json && make_targets sanitizers kernel_tests_gpu || return
  local sanitizer tool
  sanitizer=$(export PATH=$PATH:$cuda_bin && command -v compute-sanitizer)
  section "compute-sanitizer"
  echo "The summary above has the verdicts; below are the logs of what failed." >>"$details"
  for tool in memcheck racecheck initcheck synccheck; do
    if [ -z "$sanitizer" ]; then
      conclude "$tool" "not run" "this CUDA has no compute-sanitizer"
      continue
    fi
    # The tests provoke errors of CUDA's functions on purpose; what kernels do wrong is reported.
    local ok=true verdict
    run "$tool" "$limit_sanitizer" "$sanitizer" --tool "$tool" --report-api-errors no \
      --error-exitcode 99 "$gpu_tests" || ok=false
    verdict=$(grep -oE '[A-Z]+ SUMMARY: .*' "$results/$tool.log" | tail -n 1)
    if $ok && [[ $verdict != *"SUMMARY: 0 "* ]]; then
      ok=false outcome="its summary does not start with 0"
    fi
    verdict="$verdict; $(grep -E 'tests? passed|^test cases' "$results/$tool.log" | tail -n 1)"
    if $ok; then
      conclude "$tool" passed "$verdict"
    else
      conclude "$tool" failed "$outcome; $verdict"
      printf '\n%s:\n\n' "$tool" >>"$details"
      show "$tool" 60
    fi
  done
}

part_study() {
  needs study ZLIB CLI11 nlohmann_json stb && make_targets study mnist_lora || return
  section "The study"
  if run study "$limit_study" "$build/lora/examples/mnist_lora/mnist_lora" --device cuda \
    --data "${LORA_DATA_DIR:-synthetic}" --json "$results/study.json" --quiet; then
    conclude study passed "--data ${LORA_DATA_DIR:-synthetic}"
  else
    conclude study failed "$outcome"
  fi
  show study 80
}

# time_steps STEP PROGRAM ARGUMENTS...: a program that prints a JSON line a round.
time_steps() {
  local step=$1
  shift
  if run "$step" "$limit_steps" "$@"; then
    conclude "$step" passed ""
    section "$step: milliseconds a step"
    tabulate lines "$results/$step.log" "$step"
  else
    conclude "$step" failed "$outcome"
    section "$step"
    show "$step"
  fi
}

part_bench() {
  needs bench benchmark && make_targets bench lora_gpu_bench mnist_step || return
  section "Benchmarks"
  if run gpu_bench "$limit_bench" "$build/lora/bench/gpu/lora_gpu_bench" \
    "--benchmark_out=$results/gpu_bench.json" --benchmark_out_format=json; then
    conclude gpu_bench passed ""
  else
    conclude gpu_bench failed "$outcome"
  fi
  tabulate benchmarks "$results/gpu_bench.json" gpu_bench

  time_steps mnist_step "$build/lora/bench/mnist_step" 3 100
  if ! cmake --build "$build/lora" --target help | grep -qw mnist_step_gpu; then
    conclude mnist_step_gpu "not run" "these sources have no such program"
  elif make_targets mnist_step_gpu mnist_step_gpu; then
    time_steps mnist_step_gpu "$build/lora/bench/gpu/mnist_step_gpu" 5 200
  fi
}

part_peers() {
  if ! "$python" -c 'import torch' 2>/dev/null; then
    conclude peers "not run" "$python has no torch"
    return
  fi
  limit_steps=$limit_peers
  time_steps torch_gpu "$python" bench/peers/mnist_torch.py --device cuda 5 200
}

gpu_facts() {
  nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total,clocks.max.sm,power.limit \
    --format=csv,noheader | sed 's/^/- GPU, driver, compute capability, memory, clock, power: /'
  echo "- CUDA: $("$cuda_bin/nvcc" --version 2>/dev/null | grep -o 'release.*' || echo "no nvcc")"
  echo "- CPU: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) processors"
  local commit
  commit=${LORA_COMMIT:-$(git describe --always --abbrev=40 --dirty 2>/dev/null || echo unknown)}
  echo "- Commit: $commit"
  echo "- Date: $(date -u '+%F %T') UTC"
  echo "- Parts: ${parts[*]}"
}

configured=true
if [ "${parts[*]}" != peers ] && ! configure; then
  configured=false
  conclude configure failed "$outcome"
  section "Configuration"
  if [ -f "$results/configure.log" ]; then show configure; else show probe; fi
fi
for part in "${parts[@]}"; do
  if $configured || [ "$part" = peers ]; then # PyTorch needs nothing built
    "part_$part"
  else
    conclude "$part" "not run" "there is no build"
  fi
done

verdict="All green."
$all_green || verdict="**Not all was green.**"
{
  printf '# On a GPU\n\n%s\n\n' "$verdict"
  gpu_facts
  printf '\n| step | outcome | |\n|---|---|---|\n'
  cat "$summary" "$details"
} >"$report"
rm "$summary" "$details"
echo "gpu_check.sh: $verdict The report is $report"
$all_green

#!/usr/bin/env bash
# Feeds one parser with what libFuzzer makes of the files in corpus/TARGET, under the sanitizers:
#   run.sh CLANG TARGET SECONDS BUILD_DIR
# What it finds on the way stays in BUILD_DIR/TARGET.found and is the start of the next run; an
# input that makes the target fail is printed and stays there too.
set -euo pipefail
clang=$1 target=$2 seconds=$3
mkdir -p "$4/$2.found"
build=$(cd "$4" && pwd)
cd "$(dirname "$0")"
flags=(-std=c++20 -O1 -g -Wall -Wextra -Wpedantic -Wconversion -Werror
  -fno-sanitize-recover=all -I.. -I../../include)

report() {
  tail -n 60 "$build/$target.log"
  echo "$target failed on the input named above; all of it is in $build/$target.log"
  exit 1
}

if ! "$clang" -fsanitize=fuzzer -x c++ - -o "$build/$target.probe" 2>/dev/null \
  <<<'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }'; then
  echo "$clang has no libFuzzer: replaying the corpus of $target once instead"
  "${CXX:-g++}" "${flags[@]}" -Wno-restrict -fsanitize=address,undefined "$target.cpp" replay.cpp \
    -lz -o "$build/$target.replay"
  "$build/$target.replay" "corpus/$target" 2>"$build/$target.log" || report
  exit
fi

"$clang" "${flags[@]}" -fsanitize=fuzzer,address,undefined "$target.cpp" -lz -o "$build/$target"
options=("-max_total_time=$seconds" -timeout=5 -rss_limit_mb=512 -malloc_limit_mb=64
  "-artifact_prefix=$build/$target.found/" -print_final_stats=1)
if [ -f "$target.dict" ]; then options+=("-dict=$target.dict"); fi
# What is new goes into the first folder; the other one is only read.
"$build/$target" "${options[@]}" "$build/$target.found" "corpus/$target" \
  >"$build/$target.log" 2>&1 || report
grep -E 'DONE|stat::number_of_executed_units|stat::peak_rss_mb' "$build/$target.log"

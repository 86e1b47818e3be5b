#!/usr/bin/env bash
# Every malformed file against its parser, under the sanitizers:  malformed.sh COMPILER BUILD_DIR
set -euo pipefail
mkdir -p "$2"
"$1" -std=c++20 -O1 -g1 -Wall -Wextra -Wpedantic -Wconversion -Werror -Wno-restrict \
  -fsanitize=address,undefined -fno-sanitize-recover=all -I"$(dirname "$0")" \
  -I"$(dirname "$0")/../include" "$(dirname "$0")/io/malformed_files.cpp" -lz -o "$2/malformed_files"
exec "$2/malformed_files"

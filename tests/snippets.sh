#!/usr/bin/env bash
# Every C++ block of the README and of the guides stands, word for word, in a program that is built:
# examples/quickstart.cpp, examples/your_own_layer.cpp, examples/guide/NAME.cpp for
# docs/guide/NAME.md.
set -euo pipefail
cd "$(dirname "$0")/.."

# check_blocks PAGE PROGRAM
check_blocks() {
  local program blocks count=0
  # Code in a function, or a scope in it, is indented.
  program=$(cat "$2")$'\n'$(sed 's/^  //' "$2")$'\n'$(sed 's/^    //' "$2")
  blocks=$(awk '/^```cpp$/ {inside = 1; next} /^```$/ {if (inside) printf "%c", 1; inside = 0} inside' "$1")
  while IFS= read -r -d $'\1' block; do
    block=${block#$'\n'}
    count=$((count + 1))
    if [[ "$program" != *"${block%$'\n'}"* ]]; then
      echo "$1 has a block that is not in $2:"
      echo "$block"
      exit 1
    fi
  done <<<"$blocks"
  echo "$1: $count blocks"
  [ "$count" -ge 1 ]
}

check_blocks README.md examples/quickstart.cpp
check_blocks docs/your_own_layer.md examples/your_own_layer.cpp
for program in examples/guide/*.cpp; do
  name=$(basename "$program" .cpp)
  check_blocks "docs/guide/$name.md" "$program"
done

#!/usr/bin/env bash
# Every C++ block of the README stands, word for word, in examples/quickstart.cpp.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(sed 's/^  //' examples/quickstart.cpp)
blocks=$(awk '/^```cpp$/ {inside = 1; next} /^```$/ {if (inside) printf "%c", 1; inside = 0} inside' README.md)
count=0
while IFS= read -r -d $'\1' block; do
  block=${block#$'\n'}
  count=$((count + 1))
  if [[ "$program" != *"${block%$'\n'}"* ]]; then
    echo "README.md has a block that is not in examples/quickstart.cpp:"
    echo "$block"
    exit 1
  fi
done <<<"$blocks"
echo "$count blocks"
[ "$count" -ge 1 ]

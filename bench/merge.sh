#!/usr/bin/env bash
# Times lora-adapter merge beside cp -r of the same files, in turn, and prints medians:
#   bench/merge.sh BUILD_DIR FOLDER [ROUNDS [LAYERS [THREADS]]]
# FOLDER gets 1.95 GB of random weights where it has none yet, and needs room for twice as much more.
# What is written is removed before each run, so that each finds the memory of the one before, and
# everything lies in the page cache. cp does not wait for the disk, as a merge does; "cp, sync" does.
set -euo pipefail
build=$1
folder=$2
rounds=${3:-7}
layers=${4:-18}
threads=${5:-$(nproc)}
program=$(find "$build" -type f -name lora-adapter -perm -u+x | head -n 1)
maker=$(find "$build" -type f -name merge_weights -perm -u+x | head -n 1)
[ -n "$program" ] && [ -n "$maker" ] || { echo "$build has no lora-adapter or merge_weights" >&2; exit 1; }
mkdir -p "$folder"
[ -e "$folder/adapter/adapter_config.json" ] || "$maker" "$folder" "$layers"
out=$folder/out
results=$(mktemp)
trap 'rm -rf "$results" "$out"' EXIT
cat "$folder"/base/* >/dev/null

copy() { cp -r "$folder/base" "$out"; }
copy_and_sync() { copy && sync "$out"/*; }
merge() {
  "$program" merge "$folder/base" "$folder/adapter" -o "$out" --quiet --threads "$threads" \
    --json "$results.json" >/dev/null
}
seconds() { # NAME FUNCTION
  rm -rf "$out"
  local begin=$EPOCHREALTIME
  "$2"
  awk -v name="$1" -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { print name, b - a }' >>"$results"
}

# The first round finds memory that was not used yet, and does not count.
for round in $(seq 0 "$rounds"); do
  [ "$round" -ne 1 ] || : >"$results"
  seconds cp copy
  seconds cp,sync copy_and_sync
  seconds merge merge
done
bytes=$(cat "$folder"/base/* | wc -c)
echo "$bytes bytes, $rounds rounds in turn, $threads threads; load $(cut -d' ' -f1-3 /proc/loadavg)"
for name in cp cp,sync merge; do
  awk -v name="$name" '$1 == name { print $2 }' "$results" | sort -n |
    awk -v name="$name" -v bytes="$bytes" '{ t[NR] = $1 }
      END { m = (t[int((NR + 1) / 2)] + t[int(NR / 2) + 1]) / 2
            printf "%-8s %7.3f s, %7.3f to %7.3f; %6.2f GB/s\n", name, m, t[1], t[NR], bytes / m / 1e9 }'
done
grep -o '"peak_bytes": [0-9]*' "$results.json"
rm -f "$results.json"

#!/usr/bin/env bash
# Runs conv_lora once, small, and makes mistakes with it:  conv_lora_test.sh PROGRAM
# A mistake must end with a non-zero exit and one clear sentence.
set -uo pipefail
program=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

report() {
  echo "FAILED: $1"
  sed 's/^/    /' "$work/out" "$work/err"
  failed=1
}

small=(--data synthetic --limit-train 300 --finetune-batches 10 --quiet)
timeout 300 "$program" "${small[@]}" --save "$work/adapter" --json "$work/json" \
  >"$work/out" 2>"$work/err" || report "a small run: exit status $?"
grep -qE "accuracy, merged .*\([0-9] of 10000 predictions differ\)" "$work/out" ||
  report "merging changes what the network says"
grep -qE "^The target digits (went|kept)" "$work/out" || report "no last sentence"
grep -q "base_model.model.conv2.lora_B.weight" "$work/adapter/adapter_model.safetensors" || report "no adapter was saved"
grep -q '"merged"' "$work/json" || report "no JSON was written"

# refused NAME PATTERN ARGUMENTS...
refused() {
  local name=$1 pattern=$2
  shift 2
  timeout 300 "$program" "$@" >"$work/out" 2>"$work/err"
  local status=$?
  [ "$status" -ne 0 ] && [ "$status" -lt 124 ] || report "$name: exit status $status"
  [ "$(grep -cv '^Run with --help' "$work/err")" -eq 1 ] || report "$name: not one line of error"
  grep -qE -- "$pattern" "$work/err" || report "$name: the message lacks \"$pattern\""
}

refused "rank 10" "--rank: .*10 not in range" "${small[@]}" --rank 10
refused "an unknown flag" "--colour" "${small[@]}" --colour
refused "a digit twice" "--digits: a digit is named twice" "${small[@]}" --digits 3,3
refused "an unwritable adapter" "/proc/adapter: cannot be made" "${small[@]}" \
  --save /proc/adapter

exit "$failed"

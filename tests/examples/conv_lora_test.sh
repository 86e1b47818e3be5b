#!/usr/bin/env bash
# Runs conv_lora once, small, and makes mistakes with it:  conv_lora_test.sh PROGRAM
source "$(dirname "$0")/mistakes.sh"
small=(--data synthetic --limit-train 300 --finetune-batches 10 --quiet)
accepted "a small run" "${small[@]}" --save "$work/adapter" --json "$work/json"
printed "merging" "accuracy, merged .*\([0-9] of 10000 predictions differ\)"
printed "the last sentence" "^The target digits (went|kept)"
grep -q "base_model.model.conv2.lora_B.weight" "$work/adapter/adapter_model.safetensors" || report "no adapter was saved"
grep -q '"merged"' "$work/json" || report "no JSON was written"

refused "rank 10" "--rank: .*10 not in range" "${small[@]}" --rank 10
refused "an unknown flag" "--colour" "${small[@]}" --colour
refused "a digit twice" "--digits: a digit is named twice" "${small[@]}" --digits 3,3
refused "an unwritable adapter" "/proc/adapter: cannot be made" "${small[@]}" \
  --save /proc/adapter

finish

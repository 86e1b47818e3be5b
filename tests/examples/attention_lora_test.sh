#!/usr/bin/env bash
# Runs attention_lora in small, and makes the mistakes a person makes:  attention_lora_test.sh PROGRAM
source "$(dirname "$0")/mistakes.sh"
small=(--quiet --dim 16 --layers 1 --context 16 --batch 4 --steps 4 --adapt-steps 3 --sample 20)

accepted "a study with a page" "${small[@]}" --report "$work/study.html" --json "$work/study.json" --save "$work/saved"
grep -q '</html>' "$work/study.html" || report "the page has no end"
printed "a study with a page" "LoRA made"
accepted "the saved study again" "${small[@]}" --load "$work/saved" --json "$work/again.json"
for key in base lora_on lora_off full; do
  grep -q "\"$key\"" "$work/again.json" || report "$key is missing in the JSON"
done
accepted "adapters on every Linear" "${small[@]}" --target-modules all-linear

refused "rank 0" "--rank" "${small[@]}" --rank 0
refused "a rank above the layer's" "r is 17 for Linear\(16, 16\): expected 1 to 16" "${small[@]}" --rank 17
refused "a target that is not there" "\"nope\" of target_modules names no layer to adapt; there are: token" "${small[@]}" \
  --target-modules nope
refused "heads that do not divide the width" "heads" "${small[@]}" --heads 5
refused "no context" "--context" "${small[@]}" --context 0
refused "a learning rate that is no number" "the loss is .*nan at batch" "${small[@]}" --lr nan
refused "an unknown flag" "--bogus" "${small[@]}" --bogus
refused "a report that cannot be written" "/nonexistent/study.html: cannot be written" "${small[@]}" \
  --report /nonexistent/study.html
refused "a folder that is not there" "/nonexistent/settings.json: there is no such file" "${small[@]}" \
  --load /nonexistent
refused "another model than was saved" "settings.json: expected .* found" "${small[@]}" --load "$work/saved" --rank 2
head -c 1000 "$work/saved/model.safetensors" >"$work/cut"
mv "$work/cut" "$work/saved/model.safetensors"
refused "a cut model" "model.safetensors: " "${small[@]}" --load "$work/saved"
finish

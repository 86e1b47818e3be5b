#!/usr/bin/env bash
# Runs attention_lora in small, and makes the mistakes a person makes:  attention_lora_test.sh PROGRAM
set -uo pipefail
program=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
small=(--quiet --dim 16 --layers 1 --context 16 --batch 4 --steps 4 --adapt-steps 3 --sample 20)
failed=0

report() {
  echo "FAILED: $1"
  sed 's/^/    /' "$work/err"
  failed=1
}

# runs NAME ARGUMENTS...
runs() {
  local name=$1
  shift
  timeout 300 "$program" "${small[@]}" "$@" >"$work/out" 2>"$work/err" || report "$name"
}

# refused NAME PATTERN ARGUMENTS...: a non-zero exit and one sentence
refused() {
  local name=$1 pattern=$2
  shift 2
  timeout 300 "$program" "${small[@]}" "$@" >"$work/out" 2>"$work/err"
  local status=$?
  [ "$status" -ne 0 ] && [ "$status" -lt 124 ] || report "$name: exit status $status"
  [ "$(grep -cv '^Run with --help' "$work/err")" -eq 1 ] || report "$name: not one line of error"
  grep -qE -- "$pattern" "$work/err" || report "$name: the message lacks \"$pattern\""
}

runs "a study with a page" --report "$work/study.html" --json "$work/study.json" --save "$work/saved"
grep -q '</html>' "$work/study.html" || report "the page has no end"
grep -q 'LoRA made' "$work/out" || report "no verdict"
cp "$work/out" "$work/first"
runs "the saved study again" --load "$work/saved" --json "$work/again.json"
for key in base lora_on lora_off full; do
  grep -q "\"$key\"" "$work/again.json" || report "$key is missing in the JSON"
done
runs "adapters on every Linear" --target-modules all-linear

refused "rank 0" "--rank" --rank 0
refused "a rank above the layer's" "r is 17 for Linear\(16, 16\): expected 1 to 16" --rank 17
refused "a target that is not there" "\"nope\" of target_modules names no layer to adapt; there are: token" \
  --target-modules nope
refused "heads that do not divide the width" "heads" --heads 5
refused "no context" "--context" --context 0
refused "a learning rate that is no number" "the loss is .*nan at batch" --lr nan
refused "an unknown flag" "--bogus" --bogus
refused "a report that cannot be written" "/nonexistent/study.html: cannot be written" \
  --report /nonexistent/study.html
refused "a folder that is not there" "/nonexistent/settings.json: there is no such file" \
  --load /nonexistent
refused "another model than was saved" "settings.json: expected .* found" --load "$work/saved" --rank 2
head -c 1000 "$work/saved/model.safetensors" >"$work/cut"
mv "$work/cut" "$work/saved/model.safetensors"
refused "a cut model" "model.safetensors: " --load "$work/saved"
[ "$failed" -eq 0 ] && echo "attention_lora: a small study and 11 mistakes"
exit "$failed"

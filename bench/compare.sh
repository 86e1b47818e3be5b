#!/usr/bin/env bash
# Runs a program of this folder and PyTorch in turn, several rounds, and prints medians and ratios:
#   bench/compare.sh BUILD_DIR [PYTHON [ROUNDS [STEPS [mnist|attention [SHAPE]]]]]
# SHAPE is that of attention: BATCHxCONTEXTxDIMxHEADSxLAYERS.
# PyTorch gets the number of threads that its fastest pretraining step in three trials was made with.
set -euo pipefail
build=$1
python=${2:-python3}
rounds=${3:-7}
steps=${4:-100}
what=${5:-mnist}
shape=(${6:+"$6"})
here=$(cd "$(dirname "$0")" && pwd)
peer=$here/peers/${what}_torch.py
results=$(mktemp)
trap 'rm -f "$results"' EXIT

best=$(for _ in 1 2 3; do
  for threads in $(seq 1 "$(nproc)"); do "$python" "$peer" 1 60 "$threads" "${shape[@]}"; done
done | "$python" -c '
import json, sys
print(min(map(json.loads, sys.stdin), key=lambda r: r["pretrain"])["threads"])')

for _ in $(seq "$rounds"); do
  "$build/bench/${what}_step" 1 "$steps" ${6:+"$(nproc)" "$6"} | sed 's/^/lora /' >>"$results"
  "$python" "$peer" 1 "$steps" "$best" "${shape[@]}" | sed 's/^/torch /' >>"$results"
done

"$python" - "$results" <<'PYTHON'
import json
import statistics
import sys

runs = {"lora": [], "torch": []}
for line in open(sys.argv[1]):
    who, record = line.split(" ", 1)
    runs[who].append(json.loads(record))
torch = runs["torch"][0]
print(f"PyTorch {torch['torch']} with {torch['threads']} threads, lora with "
      f"{runs['lora'][0]['threads']}; {len(runs['lora'])} rounds in turn, medians, ms a step")
print(f"{'':15} {'lora':>9} {'PyTorch':>9} {'ratio':>7}   smallest to largest ratio of a round")
for theirs in ("pretrain", "finetune", "finetune_peft", "test_on", "test_off"):
    if torch.get(theirs) is None:
        continue
    ours = theirs.removesuffix("_peft")
    pairs = [(a[ours], b[theirs]) for a, b in zip(runs["lora"], runs["torch"])]
    ratios = [b / a for a, b in pairs]
    print(f"{theirs:15} {statistics.median(a for a, _ in pairs):9.3f} "
          f"{statistics.median(b for _, b in pairs):9.3f} "
          f"{statistics.median(ratios):7.2f}   {min(ratios):.2f} to {max(ratios):.2f}")
PYTHON

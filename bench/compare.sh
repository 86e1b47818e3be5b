#!/usr/bin/env bash
# Runs mnist_step and PyTorch in turn, several rounds, and prints medians and ratios:
#   bench/compare.sh BUILD_DIR [PYTHON [ROUNDS [STEPS]]]
# PyTorch gets the number of threads that its fastest pretraining step in three trials was made with.
set -euo pipefail
build=$1
python=${2:-python3}
rounds=${3:-7}
steps=${4:-100}
here=$(cd "$(dirname "$0")" && pwd)
results=$(mktemp)
trap 'rm -f "$results"' EXIT

best=$(for _ in 1 2 3; do
  for threads in $(seq 1 "$(nproc)"); do "$python" "$here/peers/mnist_torch.py" 1 60 "$threads"; done
done | "$python" -c '
import json, sys
print(min(map(json.loads, sys.stdin), key=lambda r: r["pretrain"])["threads"])')

for _ in $(seq "$rounds"); do
  "$build/bench/mnist_step" 1 "$steps" | sed 's/^/lora /' >>"$results"
  "$python" "$here/peers/mnist_torch.py" 1 "$steps" "$best" | sed 's/^/torch /' >>"$results"
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
print(f"{'':10} {'lora':>9} {'PyTorch':>9} {'ratio':>7}   smallest to largest ratio of a round")
for step in ("pretrain", "finetune", "test_on", "test_off"):
    ours, theirs = ([r[step] for r in runs[who]] for who in ("lora", "torch"))
    ratios = [b / a for a, b in zip(ours, theirs)]
    print(f"{step:10} {statistics.median(ours):9.3f} {statistics.median(theirs):9.3f} "
          f"{statistics.median(ratios):7.2f}   {min(ratios):.2f} to {max(ratios):.2f}")
PYTHON

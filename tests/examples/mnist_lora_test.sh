#!/usr/bin/env bash
# Makes the mistakes a person makes with mnist_lora:  mnist_lora_test.sh PROGRAM
source "$(dirname "$0")/mistakes.sh"
no_error+='|^pretraining |^Downloading '
unset LORA_DATA_DIR XDG_CACHE_HOME http_proxy https_proxy
export HOME=$work/home

header() { # MAGIC COUNT SIZES...: an IDX header
  local word
  for word in "$@"; do printf '%08x' "$word"; done | sed 's/../\\x&/g' | xargs -0 printf
}
images() { header 0x803 "$1" 28 28 && head -c $(($1 * 784)) /dev/zero; }
labels() { header 0x801 "$1" && head -c "$1" /dev/zero; }

good=$work/good
mkdir -p "$good" "$work/home"
images 60000 >"$good/train-images-idx3-ubyte"
labels 60000 >"$good/train-labels-idx1-ubyte"
images 10000 >"$good/t10k-images-idx3-ubyte"
labels 10000 >"$good/t10k-labels-idx1-ubyte"

# spoilt FILE: a copy of the good folder in $bad, without that file
spoilt() {
  bad=$work/bad
  rm -rf "$bad"
  mkdir "$bad"
  local file
  for file in "$good"/*; do ln -s "$file" "$bad"; done
  rm "$bad/$1"
}

refused "no data" "missing.*--data DIR.*--download.*--data synthetic"
refused "an empty folder" "train-images-idx3-ubyte is missing .47040016 bytes" --data "$work/home"
refused "unpublished files" "expected MNIST with SHA-256 ba8910.* found" --data "$good"

spoilt train-images-idx3-ubyte
head -c 47000000 "$good/train-images-idx3-ubyte" >"$bad/train-images-idx3-ubyte"
refused "truncated" "train-images-idx3-ubyte: .*announces 47040016 bytes.* found 47000000" --data "$bad"
head -c 23520008 "$good/train-images-idx3-ubyte" >"$bad/train-images-idx3-ubyte"
refused "half" "train-images-idx3-ubyte: .*announces 47040016 bytes.* found 23520008" --data "$bad"
: >"$bad/train-images-idx3-ubyte"
refused "empty" "train-images-idx3-ubyte: expected an IDX file.* found an empty file" --data "$bad"
{ cat "$good/train-images-idx3-ubyte" && echo; } >"$bad/train-images-idx3-ubyte"
refused "trailing bytes" "train-images-idx3-ubyte: expected .* found 47040017" --data "$bad"
{ header 0x803 65536 65536 65536 && head -c 100 /dev/zero; } >"$bad/train-images-idx3-ubyte"
refused "absurd dimensions" "train-images-idx3-ubyte: .*announces 281474976710672 bytes" --data "$bad"
head -c 200000000 /dev/zero | gzip -1 >"$bad/train-images-idx3-ubyte"
refused "a gz bomb" "train-images-idx3-ubyte: expected at most 47040016 bytes" --data "$bad"
rm "$bad/train-images-idx3-ubyte"
mkfifo "$bad/train-images-idx3-ubyte"
refused "a FIFO" "train-images-idx3-ubyte: expected a regular file" --data "$bad"

spoilt train-labels-idx1-ubyte
{ header 0x801 60000 && head -c 59999 /dev/zero && printf '\377'; } >"$bad/train-labels-idx1-ubyte"
refused "label 255" "train-labels-idx1-ubyte: expected labels from 0 to 9, found 255" --data "$bad"
labels 59999 >"$bad/train-labels-idx1-ubyte"
refused "fewer labels" "train-labels-idx1-ubyte: expected 60000 labels.* found 59999" --data "$bad"
cp "$good/t10k-images-idx3-ubyte" "$bad/train-labels-idx1-ubyte"
refused "swapped" "train-labels-idx1-ubyte: expected" --data "$bad"

refused "rank 0" "--rank: .*0 not in range" --rank 0
refused "rank 785" "--rank: .*785 not in range" --rank 785
refused "digit 12" "--digits: .*12 not in range" --digits 12
refused "a digit twice" "--digits: a digit is named twice" --digits 3,3
refused "an unknown flag" "--colour" --colour
refused "no number" "--lr: .*fast" --lr fast
refused "an unknown initialisation" "--init: \"uniform\" is no .*there are: normal, kaiming" --init uniform
refused "niter of nothing" "--init: \"pissa_niter_\" is no initialisation" --init pissa_niter_
refused "dropping everything" "--lora-dropout: .*1 not at least 0 and below 1" --lora-dropout 1
refused "replaying everything" "--replay: .*1 not at least 0 and below 1" --replay 1
refused "a negative share" "--replay: .*-0.1 not at least 0" --replay=-0.1
refused "a learning rate of 0" "--finetune-lr: .*0 not" --finetune-lr 0
refused "LoRA+ with 0" "--loraplus-lr-ratio: .*0 not" --loraplus-lr-ratio 0
refused "a sweep of nothing" "--sweep: expected KEY=V1,V2" --sweep rank
refused "a sweep without values" "--sweep: expected KEY=V1,V2" --sweep rank=
refused "a sweep of the digits" "--sweep: \"digits\" cannot be varied; there are: rank, alpha" --sweep digits=1,2
refused "a sweep with a wrong value" "--sweep: --rank: .*0 not in range" --sweep rank=1,0
refused "a sweep with a missing value" "--sweep: expected KEY=V1,V2" --sweep rank=1,,2
refused "a sweep of half a flag" "--sweep: --use-dora: expected 0 or 1, found \"half\"" --sweep use-dora=half
refused "an odd orthogonal rank" "rank 3 with orthogonal cannot be: .* even" --init orthogonal --rank 3
refused "LoRA-GA of high rank" "rank 393 with lora_ga cannot be: .* at most 392" --init lora_ga --rank 393
refused "DoRA on PiSSA" "--sweep: rank 1 with pissa cannot be: .* DoRA" --use-dora --sweep init=normal,pissa
refused "a saved sweep" "no one network" --sweep rank=1,2 --save "$work/swept"
refused "one network for two seeds" "cannot be that of several seeds" --seeds 2 --load "$work/home"
refused "an unknown device" "--device: tpu not in" --device tpu
refused "no GPU" "device cuda is not there: " --device cuda --data synthetic
refused "pictures of seeds" "only --json" --seeds 2 --report "$work/r.html"

small=(--data synthetic --limit-train 100)
refused "more replay than there is" "--replay: a share of 0.7 takes .* expected at most 0.5976" "${small[@]}" --replay 0.7
refused "more replay in a sweep" "--replay: a share of 0.7 takes" "${small[@]}" --sweep replay=0.1,0.7
refused "a loss that is no number" "pretraining: the loss is .* at batch .* smaller --lr" \
  "${small[@]}" --lr 1e30 --json "$work/r.json"
refused "a full disk" "/dev/full: expected a regular file" "${small[@]}" --json /dev/full
refused "a folder as a file" "expected a regular file" "${small[@]}" --report "$work"
refused "no such folder" "nowhere/r.json: cannot be written" "${small[@]}" --json "$work/nowhere/r.json"
refused "an unwritable folder" "/proc/study: cannot be made" "${small[@]}" --save /proc/study
refused "a file as a folder" "cannot be made" "${small[@]}" --images "$good/t10k-labels-idx1-ubyte"
refused "nothing to load" "model.safetensors: there is no such file" "${small[@]}" --load "$work/home"
accepted "saving" "${small[@]}" --quiet --save "$work/saved"
refused "a plain adapter as DoRA" "adapter_settings.json: expected .*\"use_dora\":true.* found .*\"use_dora\":false" \
  "${small[@]}" --load "$work/saved" --use-dora
refused "another rank" "adapter_settings.json: expected .*\"r\":2.* found .*\"r\":1" \
  "${small[@]}" --load "$work/saved" --rank 2
head -c 1000000 "$work/saved/model.safetensors" >"$work/cut" && mv "$work/cut" "$work/saved/model.safetensors"
refused "a cut model" "model.safetensors: " "${small[@]}" --load "$work/saved"

# A mirror that answers with something else, and one that cannot be reached. The folder for downloads,
# empty, may stay.
mkdir -p "$work/bin" "$work/home/.cache/lora/mnist"
printf '#!/bin/sh\nwhile [ "$1" != --output ]; do shift; done\necho nonsense >"$2"\n' >"$work/bin/curl"
printf '#!/bin/sh\nexit 4\n' >"$work/bin/wget"
chmod +x "$work/bin/curl" "$work/bin/wget"
PATH=$work/bin:$PATH refused "a wrong download" "expected MNIST with SHA-256 .* found" --download
printf '#!/bin/sh\nexit 6\n' >"$work/bin/curl"
PATH=$work/bin:$PATH refused "no network" "no mirror could be reached" --download

finish

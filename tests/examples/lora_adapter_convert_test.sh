#!/usr/bin/env bash
# Extracts, combines, resizes and converts small adapters, and makes mistakes with it:
#   lora_adapter_convert_test.sh PROGRAM
source "$(dirname "$0")/mistakes.sh"
limit=60

# safetensors FILE HEADER NUMBER...: a file whose tensors are these numbers, 0 to 3, in float32.
safetensors() {
  local file=$1 header=$2 numbers=('\x00\x00' '\x80\x3f' '\x00\x40' '\x40\x40')
  shift 2
  {
    printf "$(printf '\\x%02x\\x%02x' $((${#header} % 256)) $((${#header} / 256)))"
    printf '\x00\x00\x00\x00\x00\x00%s' "$header"
    for number in "$@"; do printf "\\x00\\x00${numbers[number]}"; done
  } >"$file"
}

two='{"a.bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
two+='"a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[8,32]}}'
base=$work/base.safetensors tuned=$work/tuned.safetensors
safetensors "$base" "$two" 0 0 0 0 0 0 0 0
safetensors "$tuned" "$two" 0 1 1 2 3 1 2 0
safetensors "$work/other.safetensors" '{"a.weight":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}' 1 1 1

refused "--strict" "1 tensors differ that no adapter can have, a.bias is the first" \
  extract "$base" "$tuned" -o "$work/a" --strict --quiet
refused "equal models" "no weight of a Linear, an Embedding or a convolution differs" \
  extract "$base" "$base" -o "$work/a"
refused "other tensors" "a.bias is in the first alone; a.weight is \[2,3\] and \[3\]" \
  extract "$base" "$work/other.safetensors" -o "$work/a"
refused "no model" "none: there is no such file" extract "$work/none" "$tuned" -o "$work/a"
refused "rank 0" "--rank: .*0 not in range" extract "$base" "$tuned" -o "$work/a" --rank 0
refused "no output" "-o.*required" extract "$base" "$tuned"

accepted "extract" extract "$base" "$tuned" -o "$work/a" --rank 2 --json "$work/json" --quiet
printed "extract" "^  a +rank +2 +100.0000 %"
printed "extract" "^  a.bias$"
grep -q '"not_captured"' "$work/json" || report "extract: no JSON was written"
[ -s "$work/err" ] && report "extract: --quiet is not quiet"
refused "a second time" "adapter_config.json: is there already; --force writes over it" \
  extract "$base" "$tuned" -o "$work/a"
accepted "--force" extract "$base" "$tuned" -o "$work/a" --force --json -
printed "JSON alone" '^\{$'
grep -qE "^  a +rank" "$work/out" && report "--json - is not alone"
accepted "f16" extract --embeddings b,c "$base" "$tuned" -o "$work/half" --dtype f16
refused "f64" "--dtype" extract "$base" "$tuned" -o "$work/b" --dtype f64

accepted "combine" combine "$work/a" "$work/half" --weights -0.5,2 -o "$work/sum" --threads 2
printed "combine" "^  a +rank +4 -> +4 +100.0000 % kept"
accepted "combine to a rank" combine --weights 1,1 "$work/a" "$work/a" -o "$work/two" --rank 2
refused "weights" "--weights: 1 weights for 2 adapters" \
  combine "$work/a" "$work/a" -o "$work/b" --weights 1
refused "no adapter" "none: is not there; expected a folder" \
  combine "$work/a" "$work/none" -o "$work/b"
refused "a weight of nan" "the weight of .*/a is nan" combine "$work/a" -o "$work/b" --weights nan

accepted "resize" resize "$work/sum" -o "$work/small" --rank 1
printed "resize" "^  a +rank +4 -> +1 +[0-9]+\.[0-9]+ % kept"
refused "a larger rank" "rank 9, expected at least 1 and less than the largest there is, 4" \
  resize "$work/sum" -o "$work/b" --rank 9

accepted "to GGUF" convert "$work/a" -o "$work/a.gguf" --to gguf --architecture gpt2
printed "to GGUF" "^1 layers from PEFT to GGUF in "
refused "no architecture" "--to gguf needs .*--architecture" \
  convert "$work/a" -o "$work/b" --to gguf
refused "GGUF in 16 bits" "--to gguf writes f32 alone" \
  convert "$work/a" -o "$work/b" --to gguf --architecture gpt2 --dtype f16
refused "an ignored option" "--base and --prefix are for adapters of kohya's" \
  convert "$work/a" -o "$work/b" --base "$base"
refused "GGUF there already" "a.gguf: is there already" \
  convert "$work/a" -o "$work/a.gguf" --to gguf --architecture gpt2
refused "a model" "expected an adapter of kohya's" convert "$base" -o "$work/b"

kohya='{"lora_unet_a.lora_down.weight":{"dtype":"F32","shape":[1,3],"data_offsets":[0,12]},'
kohya+='"lora_unet_a.lora_up.weight":{"dtype":"F32","shape":[2,1],"data_offsets":[12,20]}'
safetensors "$work/kohya.safetensors" "$kohya}" 1 1 1 2 2
accepted "kohya" convert "$work/kohya.safetensors" -o "$work/from_kohya" --base "$base" --json -
printed "kohya" '"path": "a"'
kohya+=',"lora_unet_a.lora_mid.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[20,24]}}'
safetensors "$work/mid.safetensors" "$kohya" 1 1 1 2 2 1
refused "lora_mid" "lora_mid.weight makes a product of three" \
  convert "$work/mid.safetensors" -o "$work/b"

mkdir "$work/mlx"
mlx='{"a.lora_a":{"dtype":"F32","shape":[3,1],"data_offsets":[0,12]},'
mlx+='"a.lora_b":{"dtype":"F32","shape":[1,2],"data_offsets":[12,20]}}'
safetensors "$work/mlx/adapters.safetensors" "$mlx" 1 1 1 2 2
echo '{"lora_parameters": {"rank": 1, "scale": 2.5}}' >"$work/mlx/adapter_config.json"
accepted "mlx" convert "$work/mlx" -o "$work/from_mlx"
grep -q '"lora_alpha": 2.5' "$work/from_mlx/adapter_config.json" || report "mlx: another alpha"
echo '{"lora_parameters": {"alpha": 1, "scale": 2.5}}' >"$work/mlx/adapter_config.json"
refused "an alpha in mlx" "lora_parameters has an alpha" convert "$work/mlx" -o "$work/b"
echo '{}' >"$work/mlx/adapter_config.json"
refused "another configuration" "expected PEFT's peft_type or mlx-lm's lora_parameters" \
  convert "$work/mlx" -o "$work/b"

finish

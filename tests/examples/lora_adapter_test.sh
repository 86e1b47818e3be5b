#!/usr/bin/env bash
# Makes the mistakes a person makes with lora-adapter's merge and info:
#   lora_adapter_test.sh PROGRAM
source "$(dirname "$0")/mistakes.sh"
limit=100
no_error+='|^merging '

# weights FILE HEADER BYTES: a safetensors file
weights() {
  { printf '%016x' "${#2}" | sed 's/\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)/\\x\8\\x\7\\x\6\\x\5\\x\4\\x\3\\x\2\\x\1/' |
    xargs -0 printf; printf '%s' "$2"; printf "$3"; } >"$1"
}
one='\0\0\200\077'      # 1 in F32
two='\0\0\0\100'        # 2
huge='\377\377\177\177' # the largest number
f32() { printf '"%s":{"dtype":"F32","shape":%s,"data_offsets":[%d,%d]}' "$@"; }

cd "$work" || exit 1
mkdir good
config='"peft_type":"LORA","r":1,"lora_alpha":2,"target_modules":["a"]'
echo "{$config}" >good/adapter_config.json
weights good/adapter_model.safetensors \
  "{$(f32 base_model.model.a.lora_A.weight '[1,2]' 0 8),$(f32 base_model.model.a.lora_B.weight '[1,1]' 8 12)}" \
  "$one$two$one"
weights base.safetensors "{$(f32 a.weight '[1,2]' 0 8)}" "$one$one"
mkdir sharded
cp base.safetensors sharded/1.safetensors
echo '{"weight_map":{"a.weight":"1.safetensors"}}' >sharded/model.safetensors.index.json

accepted "a merge" merge base.safetensors good -o out.safetensors
printed "a merge" "1 tensors changed, 0 replaced, 0 copied"
weights expected.safetensors "{$(f32 a.weight '[1,2]' 0 8)}" '\0\0\100\100\0\0\240\100'
cmp -s out.safetensors expected.safetensors || report "a merge: 1 + 2·1·1 is not 3, or 1 + 2·1·2 not 5"
accepted "shards" merge sharded good -o outs --quiet
printed "shards" "outs/1.safetensors"
cmp -s outs/1.safetensors expected.safetensors || report "shards: not merged"
cmp -s outs/model.safetensors.index.json sharded/model.safetensors.index.json || report "shards: no index"
accepted "over a file" merge base.safetensors good -o out.safetensors --force
printed "over a file" "1 tensors changed"
accepted "JSON alone" merge base.safetensors good -o out.safetensors --force --json -
printed "JSON alone" '^\{'
[ "$(grep -c 'tensors changed' out)" -eq 0 ] || report "JSON alone: text as well"
accepted "info" info good --base base.safetensors
printed "info" "trainable params: 3 \|\| all params: 5"
printed "info's norms" "a +1 +2 +2 +2\.236 +1 +4\.472 +4\.472 +3\.162"
printed "a large update" "note: a: the update is 3.16 times"
accepted "info as JSON" info good --json -
printed "info as JSON" '"norm_update": 4\.47'

refused "no command" "A subcommand is required"
refused "an unknown command" "A subcommand is required" frobnicate
refused "no output" "--output is required" merge base.safetensors good
refused "no adapter" "adapter is required" merge base.safetensors -o x
refused "an unknown flag" "--colour" merge base.safetensors good -o x --colour
refused "no threads" "--threads: .*0 not in range" merge base.safetensors good -o x --threads 0
refused "an output that is there" "out.safetensors: is there already; --force" merge base.safetensors good -o out.safetensors
refused "an output folder that is there" "outs/1.safetensors: is there already" merge sharded good -o outs
refused "over the base" "base.safetensors: is a file of the base" merge base.safetensors good -o ./base.safetensors --force
refused "over the base's folder" "is a file of the base" merge sharded good -o sharded/. --force
refused "over the adapter" "is the adapter, which would be lost" \
  merge base.safetensors good -o good/adapter_model.safetensors --force
refused "no base" "nothing: there is no such file" merge nothing good -o x
refused "no adapter folder" "nothing: is not there; expected a folder" merge base.safetensors nothing -o x
refused "a file as an adapter" "adapter_model.safetensors: is a file; expected a folder" \
  merge base.safetensors good/adapter_model.safetensors -o x
refused "no folder to write to" "nowhere/x: cannot be written" merge base.safetensors good -o nowhere/x
refused "a folder as a file" "outs: expected a regular file" merge base.safetensors good -o outs --force
refused "a full disk" "/dev/full: expected a regular file" merge base.safetensors good -o /dev/full --force
refused "JSON nowhere" "nowhere/r.json: cannot be written" merge base.safetensors good -o x --json nowhere/r.json
refused "a prefix too much" "there is no model.a.weight, which the adapter changes" \
  merge base.safetensors good -o x --prefix model.

mkdir empty pickled other
refused "an empty adapter" "empty: there is no adapter_config.json" info empty
cp good/adapter_config.json empty
refused "half an adapter" "empty: there is no adapter_model.safetensors" info empty
cp good/adapter_config.json pickled
: >pickled/adapter_model.bin
refused "a pickled adapter" "adapter_model.bin must be saved again" info pickled
cp good/adapter_model.safetensors other
echo "{$config,\"use_dora\":true}" >other/adapter_config.json
refused "DoRA without magnitudes" "has no lora_magnitude_vector" merge base.safetensors other -o x
echo "{$config,\"r\":2}" | sed 's/"r":1,//' >other/adapter_config.json
refused "another rank" "expected rank 2" merge base.safetensors other -o x
echo "{$config,\"alora_invocation_tokens\":[1]}" >other/adapter_config.json
refused "another method" "alora_invocation_tokens is .*, which is not supported" info other
head -c 40 good/adapter_model.safetensors >other/adapter_model.safetensors
cp good/adapter_config.json other
refused "a cut adapter" "adapter_model.safetensors: " merge base.safetensors other -o x

weights wide.safetensors "{$(f32 a.weight '[2,1]' 0 8)}" "$one$one"
refused "a wrong shape" "a.weight has shape .2,1., the adapter's needs .1,2." merge wide.safetensors good -o x
weights named.safetensors "{$(f32 model.a.weight '[1,2]' 0 8)}" "$one$one"
refused "a missing prefix" "with the prefix \"model.\" all of it is there" merge named.safetensors good -o x
weights codes.safetensors '{"a.weight":{"dtype":"I16","shape":[1,2],"data_offsets":[0,4]}}' '\0\0\0\0'
refused "a quantised base" "a.weight is I16, expected F64" merge codes.safetensors good -o x
weights large.safetensors "{$(f32 a.weight '[1,2]' 0 8)}" "$huge$one"
weights other/adapter_model.safetensors \
  "{$(f32 a.lora_A.weight '[1,2]' 0 8),$(f32 a.lora_B.weight '[1,1]' 8 12)}" "$huge$one$one"
refused "an overflow" "large.safetensors: a.weight would not be finite, in F32" merge large.safetensors other -o x
accepted "a layer that does not fit" info good --base wide.safetensors
printed "a layer that does not fit" "note: a.weight has shape .2,1. in the base"
accepted "a base of another name" info good --base named.safetensors
printed "a base of another name" "note: the base has no a.weight"

finish

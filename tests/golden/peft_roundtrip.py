"""Whether PEFT computes with the adapters that are saved here what is computed here.

Reads the folders that a hidden test writes, and puts each adapter on the same network with PEFT:

    LORA_ROUNDTRIP_FOLDER=roundtrip build/tests/lora_tests "[.peft_roundtrip]"
    python tests/golden/peft_roundtrip.py roundtrip

Fails on an output that differs by more than 1e-5, on a key that is missing or unexpected, and on
any warning of PEFT's. Needs torch, peft (0.21) and safetensors.
"""

import sys
import warnings
from pathlib import Path

import peft_networks
import torch
from peft import PeftModel, load_peft_weights, set_peft_model_state_dict
from safetensors.torch import load_file

warnings.simplefilter("error")
# It has no bearing on what the adapter computes.
warnings.filterwarnings("ignore", message="LoRA adapter added to ConvNd layer with groups > 1")


@torch.no_grad()
def check(folder, adapter):
    tensors = load_file(folder / "io.safetensors")
    name = folder.name.split("-")[0]
    net = getattr(peft_networks, name)()
    prefix = "base."
    base = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    net.load_state_dict(base)
    x = tensors["input"].long() if name == "words" else tensors["input"]
    y_base = net(x)

    place = folder if adapter == "default" else folder / adapter
    model = PeftModel.from_pretrained(net, place).eval()
    weights = load_peft_weights(place)
    result = set_peft_model_state_dict(model, weights)
    missing = [key for key in result.missing_keys if "lora_" in key or "modules_to_save" in key]
    assert not missing and not result.unexpected_keys, (folder, missing, result.unexpected_keys)
    y = model(x)
    effect = (y - y_base).abs().max().item()
    difference = (y - tensors[f"output.{adapter}"]).abs().max().item()
    print(f"{folder.name} {adapter}: {len(weights)} tensors, differs by {difference:.1e}")
    assert difference <= 1e-5 and effect > 1e-2, (folder, difference, effect)


cases = sorted(Path(sys.argv[1]).glob("*/io.safetensors"))
assert len(cases) >= 15, cases
for case in cases:
    check(case.parent, "default")
    for config in sorted(case.parent.glob("*/adapter_config.json")):
        check(case.parent, config.parent.name)

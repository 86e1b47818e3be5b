"""Adapters that PEFT has saved: writes a folder peft/<case>/ beside itself for each case.

A folder has what PEFT's save_pretrained writes, and io.safetensors: the base's parameters as
base.<path>, an input, and the output of the base with each adapter as output.<adapter>.

Needs torch, peft (0.21) and safetensors. PEFT writes sets in the order of their hashes:

    PYTHONHASHSEED=0 python tests/golden/peft_adapters.py
"""

import shutil
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from peft_networks import deep, mlp, picture, words
from safetensors.torch import save_file
from torch import nn

FOLDER = Path(__file__).parent / "peft"


INPUTS = {
    mlp: lambda: torch.randn(5, 7),
    words: lambda: torch.randint(0, 11, (2, 3)),
    picture: lambda: torch.randn(2, 3, 7, 6),
    deep: lambda: torch.randn(4, 5),
}

BOTH = ["linear1", "linear2"]
# name: the network, PEFT's settings, and the type in which the adapter is stored.
CASES = {
    "plain": (mlp, {"r": 2, "lora_alpha": 4, "target_modules": BOTH}, None),
    "rslora": (mlp, {"r": 4, "lora_alpha": 6, "use_rslora": True, "target_modules": BOTH}, None),
    "dora": (mlp, {"r": 2, "lora_alpha": 3, "use_dora": True, "target_modules": BOTH}, None),
    "patterns": (
        mlp,
        {
            "r": 2,
            "lora_alpha": 3,
            "target_modules": r"linear\d",
            "rank_pattern": {"linear[13]": 4},
            "alpha_pattern": {"^linear2": 5.5},
        },
        None,
    ),
    "embedding": (words, {"r": 2, "lora_alpha": 4, "target_modules": ["embed", "head"]}, None),
    "conv2d": (picture, {"r": 2, "lora_alpha": 6, "target_modules": ["conv1", "conv2"]}, None),
    "lora_bias": (mlp, {"r": 2, "lora_alpha": 3, "lora_bias": True, "target_modules": BOTH}, None),
    "modules_to_save": (
        mlp,
        {"r": 2, "lora_alpha": 4, "target_modules": ["linear1"], "modules_to_save": ["linear2"]},
        None,
    ),
    "bias_lora_only": (
        mlp,
        {"r": 2, "lora_alpha": 4, "target_modules": ["linear1"], "bias": "lora_only"},
        None,
    ),
    "bias_all": (mlp, {"r": 2, "lora_alpha": 4, "target_modules": ["linear1"], "bias": "all"}, None),
    "layers": (
        deep,
        {"r": 2, "lora_alpha": 4, "target_modules": ["query"], "layers_to_transform": [0, 2]},
        None,
    ),
    "bfloat16": (mlp, {"r": 2, "lora_alpha": 4, "target_modules": BOTH}, torch.bfloat16),
    "float16": (mlp, {"r": 2, "lora_alpha": 4, "target_modules": BOTH}, torch.float16),
}


def randomize(model, adapter):
    for name, parameter in model.named_parameters():
        if f".{adapter}" in name:
            nn.init.normal_(parameter, 1.0 if "magnitude" in name else 0.0, 0.5)


def round_to(model, adapter, dtype):
    for name, parameter in model.named_parameters():
        if f".{adapter}" in name:
            parameter.data = parameter.data.to(dtype)


def write(case, base, x, outputs, model):
    folder = FOLDER / case
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    for readme in folder.glob("*/README.md"):
        readme.unlink()
    tensors = {f"base.{name}": tensor for name, tensor in base.items()}
    tensors |= {f"output.{name}": y for name, y in outputs.items()}
    save_file(tensors | {"input": x.float()}, folder / "io.safetensors")
    print(folder)


@torch.no_grad()
def main():
    for i, (case, (network, settings, dtype)) in enumerate(CASES.items()):
        torch.manual_seed(i)
        net = network()
        x = INPUTS[network]()
        base = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        model = get_peft_model(net, LoraConfig(**settings)).eval()
        randomize(model, "default")
        if settings.get("bias", "none") != "none":
            for name, parameter in model.named_parameters():
                if parameter.requires_grad and name.endswith(".bias"):
                    nn.init.normal_(parameter)
        if dtype:
            round_to(model, "default", dtype)
            round_to(model, "default", torch.float32)
        y = model(x)
        if dtype:
            round_to(model, "default", dtype)
        write(case, base, x, {"default": y}, model)

    torch.manual_seed(100)
    net = mlp()
    x = INPUTS[mlp]()
    base = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    model = get_peft_model(net, LoraConfig(r=2, lora_alpha=4, target_modules=BOTH)).eval()
    model.add_adapter("other", LoraConfig(r=3, lora_alpha=9, target_modules=["linear2"]))
    outputs = {}
    for adapter in ["default", "other"]:
        randomize(model, adapter)
        model.set_adapter(adapter)
        outputs[adapter] = model(x)
    write("two_adapters", base, x, outputs, model)


main()

"""What lora-adapter writes, loaded by PEFT and merged into the weights, beside what it should be.

Run by hand; needs torch, transformers, peft (0.21) and safetensors. Prints the relative errors of
the changes, and fails where one is above 1e-5:

    python tests/golden/lora_adapter_commands.py build/examples/lora_adapter/lora-adapter
"""

import copy
import json
import os
import subprocess
import sys
import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from torch import nn
from transformers.pytorch_utils import Conv1D


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(17, 5)
        self.norm = nn.LayerNorm(5)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(23, 12)
        self.fc_1 = nn.Linear(12, 17)
        self.inner = Inner()
        self.head = nn.Linear(17, 5)
        self.conv = nn.Conv2d(3, 8, 3)
        self.point = nn.Conv2d(8, 6, 1)
        self.c_attn = Conv1D(9, 17)  # weights (17, 9) and (17, 17), in first
        self.c_square = Conv1D(17, 17)


torch.manual_seed(0)
network = Network()
base = {name: value.clone() for name, value in network.state_dict().items()}
folder = tempfile.mkdtemp()
worst = 0.0


def path(name):
    return os.path.join(folder, name)


def run(*arguments):
    subprocess.run([sys.argv[1], *map(str, arguments), "--quiet"], check=True, stdout=subprocess.PIPE)


def change(state, module):
    return state[module + ".weight"] - base[module + ".weight"]


def merged(name):
    return PeftModel.from_pretrained(copy.deepcopy(network), path(name)).merge_and_unload().state_dict()


def compare(what, found, expected):
    global worst
    error = float((found - expected).norm() / expected.norm())
    worst = max(worst, error)
    print(f"{what:32} {error:.1e}")


def truncated(x, rank):
    u, s, v = torch.linalg.svd(x.flatten(1).double(), full_matrices=False)
    return (u[:, :rank] @ torch.diag(s[:rank]) @ v[:rank]).float().view_as(x)


def low_rank(shape, rank):
    out, rest = shape[0], shape[1:].numel()
    return 0.2 * (torch.randn(out, rank) @ torch.randn(rank, rest)).view(shape)


def extract():
    tuned = {name: value.clone() for name, value in base.items()}
    ranks = {"embed_tokens": 3, "fc_1": 4, "head": 2, "conv": 3, "point": 2, "c_attn": 3, "c_square": 4}
    for module, rank in ranks.items():
        tuned[module + ".weight"] += low_rank(tuned[module + ".weight"].shape, rank)
    tuned["inner.norm.weight"] += 1
    save_file(base, path("base.safetensors"))
    save_file(tuned, path("tuned.safetensors"))
    run("extract", path("base.safetensors"), path("tuned.safetensors"), "-o", path("extracted"),
        "--rank", 4, "--fan-in-fan-out", "c_attn,c_square")
    state = merged("extracted")
    for module in ranks:
        compare(f"extract {module}", change(state, module), change(tuned, module))
    assert torch.equal(state["inner.head.weight"], base["inner.head.weight"])


def make_adapter(name, **settings):
    adapted = get_peft_model(copy.deepcopy(network), LoraConfig(**settings))
    with torch.no_grad():
        for key, value in adapted.named_parameters():
            if "lora_A" in key or "lora_B" in key or "lora_embedding" in key:
                value.copy_(0.3 * torch.randn_like(value))
            if "magnitude" in key:
                value.mul_(1 + 0.3 * torch.rand_like(value))
    adapted.save_pretrained(path(name))
    return merged(name)


def combine_and_resize():
    first = make_adapter("first", r=3, lora_alpha=7, target_modules=["fc_1", "conv", "embed_tokens"])
    second = make_adapter("second", r=4, lora_alpha=6, use_rslora=True, rank_pattern={"fc_1": 2},
                          alpha_pattern={"fc_1": 3}, target_modules=["fc_1", "head", "point"])
    for rank in (None, 3):
        cut = [] if rank is None else ["--rank", rank]
        run("combine", path("first"), path("second"), "--weights", "0.7,-1.3", "-o",
            path(f"sum{rank}"), *cut)
        state = merged(f"sum{rank}")
        for module in ("embed_tokens", "fc_1", "head", "inner.head", "conv", "point"):
            expected = 0.7 * change(first, module) - 1.3 * change(second, module)
            compare(f"combine to {rank} {module}", change(state, module),
                    truncated(expected, rank) if rank else expected)
    run("resize", path("second"), "-o", path("resized"), "--rank", 2)
    state = merged("resized")
    for module in ("fc_1", "head", "point"):
        compare(f"resize {module}", change(state, module), truncated(change(second, module), 2))
    dora = make_adapter("second_dora", r=4, lora_alpha=8, use_dora=True, target_modules=["fc_1", "conv"])
    run("resize", path("second_dora"), "-o", path("resized_dora"), "--rank", 3)
    state = merged("resized_dora")
    for module in ("fc_1", "conv"):
        lengths = [s[module + ".weight"].flatten(1).norm(dim=1) for s in (state, dora)]
        compare(f"resize DoRA {module}, rows' lengths", *lengths)


def convert_mlx(kind, modules, scale=2.5):
    os.makedirs(path(kind))
    tensors, expected = {}, {}
    for module in modules:
        weight = base[module + ".weight"]
        # A table of embeddings is (V, D), and mlx-lm adds a b to it, not its transpose.
        inputs, outputs = weight.shape if module == "embed_tokens" else weight.T.shape
        a, b = 0.3 * torch.randn(inputs, 4), 0.3 * torch.randn(4, outputs)
        tensors[module + ".lora_a"], tensors[module + ".lora_b"] = a, b
        result = weight + scale * (a @ b if module == "embed_tokens" else (a @ b).T)
        if kind == "dora":
            tensors[module + ".m"] = 1.4 * weight.norm(dim=1)
            result = result * (tensors[module + ".m"] / result.norm(dim=1))[:, None]
        expected[module + ".weight"] = result
    save_file(tensors, path(f"{kind}/adapters.safetensors"))
    with open(path(f"{kind}/adapter_config.json"), "w") as file:
        json.dump({"fine_tune_type": kind, "lora_parameters": {"rank": 4, "scale": scale}}, file)
    run("convert", path(kind), "-o", path(f"from_mlx_{kind}"))
    state = merged(f"from_mlx_{kind}")
    for module in modules:
        compare(f"convert mlx {kind} {module}", change(state, module), change(expected, module))


def convert_kohya():
    tensors, expected = {}, {}
    modules = (("fc_1", 4, 2.0), ("inner.head", 3, None), ("conv", 5, 1.0), ("point", 2, 8.0))
    for module, rank, alpha in modules:
        weight = base[module + ".weight"]
        name = "lora_unet_" + module.replace(".", "_")
        # A convolution by a kernel of one point may come as a matrix.
        is_conv = module == "conv"
        down = 0.3 * torch.randn(rank, *(weight.shape[1:] if is_conv else weight.shape[1:2]))
        up = 0.3 * torch.randn(weight.shape[0], rank, *([1, 1] if is_conv else []))
        tensors[name + ".lora_down.weight"], tensors[name + ".lora_up.weight"] = down, up
        if alpha is not None:
            tensors[name + ".alpha"] = torch.tensor(alpha)
        product = (up.flatten(1) @ down.flatten(1)).view_as(weight)
        expected[module + ".weight"] = weight + (alpha or rank) / rank * product
    save_file(tensors, path("kohya.safetensors"))
    run("convert", path("kohya.safetensors"), "--base", path("base.safetensors"), "-o", path("from_kohya"))
    state = merged("from_kohya")
    for name in expected:
        module = name.removesuffix(".weight")
        compare(f"convert kohya {module}", change(state, module), change(expected, module))
    assert torch.equal(state["head.weight"], base["head.weight"])


extract()
combine_and_resize()
convert_mlx("lora", ["fc_1", "head", "embed_tokens"])
convert_mlx("dora", ["fc_1", "head"])
convert_kohya()
print(f"worst {worst:.1e}")
sys.exit(worst > 1e-5)

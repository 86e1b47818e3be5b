#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The steps of attention_lora in PyTorch, eager, on the CPU:

    attention_torch.py [ROUNDS [STEPS [THREADS [SHAPE]]]]
    attention_torch.py --study DIR [1 1 THREADS [SHAPE]]

SHAPE is BATCHxCONTEXTxDIMxHEADSxLAYERS, 16x64x64x4x2 unless told.

The first form times steps on random characters and prints a JSON line a round, milliseconds a step,
the median over the round's steps: pretrain, every parameter learns; finetune, LoRA on q_proj and
v_proj, base + s (x A^T) B^T; finetune_peft, the same with PEFT's layers, null without PEFT; test_on
and test_off, the forward pass with LoRA and without. A training step is the forward pass, the loss,
the backward pass, with --clip the gradients' norm cut to 1, and AdamW, fused where there is that.

The second trains on the texts that attention_lora --write-texts DIR has written: on the fables, then
on the logbook with LoRA and once more with every parameter. It prints the losses on what was held
out.
"""
import argparse
import copy
import json
import math
import pathlib
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

try:
    import peft
except ImportError:
    peft = None

BATCHES = 20
CHARACTERS = 59  # of attention_lora's texts


class CausalSelfAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (proj(x).view(b, t, self.heads, d // self.heads).transpose(1, 2)
                   for proj in (self.q_proj, self.k_proj, self.v_proj))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(y.transpose(1, 2).reshape(b, t, d))


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = CausalSelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, 4 * dim)
        self.down = nn.Linear(4 * dim, dim)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self, vocabulary, context, dim, heads, layers):
        super().__init__()
        self.token = nn.Embedding(vocabulary, dim)
        self.position = nn.Embedding(context, dim)
        nn.init.normal_(self.position.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, vocabulary)

    def forward(self, codes):
        x = self.token(codes) + self.position.weight[: codes.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class LoRALinear(nn.Module):
    """base(x) + s (x A^T) B^T, while enabled; A as PEFT draws it, B zero."""

    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base = base
        self.lora_A = nn.Parameter(torch.empty(rank, base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.scale = alpha / rank
        self.enabled = True

    def forward(self, x):
        y = self.base(x)
        if self.enabled:
            y = y + (x @ self.lora_A.T) @ self.lora_B.T * self.scale
        return y


def adapt(net, arguments):
    for parameter in net.parameters():
        parameter.requires_grad = False
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if name in arguments.target_modules:
                setattr(module, name, LoRALinear(child, arguments.rank, arguments.alpha))
    return net


def set_enabled(net, enabled):
    for module in net.modules():
        if isinstance(module, LoRALinear):
            module.enabled = enabled


def adapt_with_peft(net, arguments):
    return peft.get_peft_model(net, peft.LoraConfig(
        r=arguments.rank, lora_alpha=arguments.alpha, target_modules=arguments.target_modules))


def learning(net):
    return [p for p in net.parameters() if p.requires_grad]


def make_adamw(parameters, lr):
    try:  # PyTorch 2.4 and later have a fused AdamW for the CPU
        return torch.optim.AdamW(parameters, lr=lr, fused=True)
    except (RuntimeError, TypeError):
        return torch.optim.AdamW(parameters, lr=lr)


def loss_of(net, codes, following):
    return F.cross_entropy(net(codes).flatten(0, 1), following.flatten())


def train_step(net, optimizer, codes, following, clip):
    optimizer.zero_grad()
    loss = loss_of(net, codes, following)
    loss.backward()
    if clip:
        nn.utils.clip_grad_norm_(learning(net), 1.0)
    optimizer.step()
    return loss.item()


def median_ms(steps, step):
    times = []
    for i in range(-5, steps):
        start = time.perf_counter()
        step(i % BATCHES)
        if i >= 0:
            times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def time_training(net, batches, arguments):
    optimizer = make_adamw(learning(net), 1e-3)
    return median_ms(arguments.steps,
                     lambda i: train_step(net, optimizer, *batches[i], arguments.clip))


def time_testing(net, batches, arguments):
    with torch.no_grad():
        return median_ms(arguments.steps, lambda i: net(batches[i][0]))


def make_net(arguments):
    return Transformer(CHARACTERS, arguments.context, arguments.dim, arguments.heads,
                       arguments.layers)


def time_round(batches, arguments):
    result = {"torch": torch.__version__, "threads": arguments.threads, "shape": arguments.shape}
    net = make_net(arguments)
    result["pretrain"] = time_training(net, batches, arguments)
    result["finetune_peft"] = None
    if peft:
        with_peft = adapt_with_peft(copy.deepcopy(net), arguments)
        result["finetune_peft"] = time_training(with_peft, batches, arguments)
    adapt(net, arguments)
    result["finetune"] = time_training(net, batches, arguments)
    result["test_on"] = time_testing(net, batches, arguments)
    set_enabled(net, False)
    result["test_off"] = time_testing(net, batches, arguments)
    return result


class Text:
    def __init__(self, folder, name, characters):
        def encoded(part):
            text = (pathlib.Path(folder) / f"{name}_{part}.txt").read_text()
            return torch.tensor([characters.index(c) for c in text])

        self.train, self.held_out = encoded("train"), encoded("held_out")

    def draw(self, batch, context):
        begins = torch.randint(len(self.train) - context, (batch,))
        rows = torch.stack([self.train[b : b + context + 1] for b in begins])
        return rows[:, :-1], rows[:, 1:]

    def loss(self, net, batch, context):
        """The mean over consecutive windows of what was held out."""
        count = (len(self.held_out) - 1) // (batch * context)
        span = count * batch * context
        codes = self.held_out[:span].view(count, batch, context)
        following = self.held_out[1 : span + 1].view(count, batch, context)
        with torch.no_grad():
            return statistics.mean(loss_of(net, *pair).item() for pair in zip(codes, following))


def study_phase(label, net, text, texts, steps, lr, arguments):
    """Trains with a linear warm-up and half a cosine down to a tenth; prints the losses."""
    optimizer = make_adamw(learning(net), lr)
    warm_up = max(1, steps // 20)
    start = time.perf_counter()
    for step in range(steps + 1):
        if step % max(1, steps // 5) == 0 or step == steps:
            losses = {t: round(texts[t].loss(net, arguments.batch, arguments.context), 4)
                      for t in texts}
            print(json.dumps({"phase": label, "step": step, **losses,
                              "seconds": round(time.perf_counter() - start, 1)}), flush=True)
        if step == steps:
            break
        done = max(0, step - warm_up) / max(1, steps - warm_up)
        factor = min(1, (step + 1) / warm_up) * (0.55 + 0.45 * math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = lr * factor
        train_step(net, optimizer, *texts[text].draw(arguments.batch, arguments.context), True)


def study(arguments):
    folder = pathlib.Path(arguments.study)
    characters = sorted(set((folder / "fables_train.txt").read_text()))
    texts = {name: Text(folder, name, characters) for name in ("fables", "logbook")}
    net = make_net(arguments)
    print(json.dumps({"parameters": sum(p.numel() for p in net.parameters())}))
    study_phase("pretraining", net, "fables", texts, arguments.study_steps, arguments.lr, arguments)
    full = copy.deepcopy(net)
    adapt(net, arguments)
    print(json.dumps({"lora": sum(p.numel() for p in learning(net))}))
    study_phase("lora", net, "logbook", texts, arguments.adapt_steps, arguments.adapt_lr, arguments)
    study_phase("full", full, "logbook", texts, arguments.adapt_steps, arguments.full_lr, arguments)


def parse_arguments():
    parser = argparse.ArgumentParser(description="Times the steps of attention_lora in PyTorch.")
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    parser.add_argument("steps", nargs="?", type=int, default=50)
    parser.add_argument("threads", nargs="?", type=int, default=2)
    parser.add_argument("shape", nargs="?", default="16x64x64x4x2")
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--alpha", type=float, default=8)
    parser.add_argument("--target-modules", default="q_proj,v_proj", type=lambda t: t.split(","))
    parser.add_argument("--clip", action="store_true", help="cut the gradients' norm to 1")
    parser.add_argument("--study", metavar="DIR", help="train on the texts in DIR instead")
    parser.add_argument("--study-steps", type=int, default=2000)
    parser.add_argument("--adapt-steps", type=int, default=500)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--adapt-lr", type=float, default=1e-2)
    parser.add_argument("--full-lr", type=float, default=1e-3)
    arguments = parser.parse_args()
    try:
        (arguments.batch, arguments.context, arguments.dim, arguments.heads,
         arguments.layers) = map(int, arguments.shape.split("x"))
    except ValueError:
        parser.error(f"shape: expected BATCHxCONTEXTxDIMxHEADSxLAYERS, found {arguments.shape}")
    return arguments


def main():
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.study:
        study(arguments)
        return
    shape = (arguments.batch, arguments.context)
    batches = [tuple(torch.randint(0, CHARACTERS, shape) for _ in range(2))
               for _ in range(BATCHES)]
    for _ in range(arguments.rounds):
        print(json.dumps(time_round(batches, arguments)), flush=True)


main()

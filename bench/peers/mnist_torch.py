#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The steps that bench/mnist_step times, in PyTorch:  mnist_torch.py [ROUNDS [STEPS [THREADS]]]

Eager mode, tensors preloaded, the notebook's form of LoRA: a parametrization that forms
W + scale B A. Prints a JSON line a round, milliseconds a step, the median over the round's steps.
"""
import json
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn.utils import parametrize

BATCH, BATCHES = 10, 100


def median_ms(steps, step):
    times = []
    for i in range(-5, steps):
        start = time.perf_counter()
        step(i % BATCHES)
        if i >= 0:
            times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


class LoRA(nn.Module):
    """weight -> weight + scale B A, while enabled."""

    def __init__(self, out_features, in_features, rank=1, alpha=1):
        super().__init__()
        self.lora_A = nn.Parameter(torch.randn(rank, in_features))
        self.lora_B = nn.Parameter(torch.zeros(out_features, rank))
        self.scale = alpha / rank
        self.enabled = True

    def forward(self, weight):
        if not self.enabled:
            return weight
        return weight + torch.matmul(self.lora_B, self.lora_A).view(weight.shape) * self.scale


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = [784, 1000, 1500, 1300, 10]
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.relu = nn.ReLU()

    def forward(self, x):
        for linear in self.linears[:-1]:
            x = self.relu(linear(x))
        return self.linears[-1](x)


def make_adam(parameters):
    parameters = list(parameters)
    try:  # PyTorch 2.4 and later have a fused Adam for the CPU
        return torch.optim.Adam(parameters, lr=1e-3, fused=True)
    except (RuntimeError, TypeError):
        return torch.optim.Adam(parameters, lr=1e-3)


def time_training(net, images, labels, steps):
    criterion = nn.CrossEntropyLoss()
    adam = make_adam(p for p in net.parameters() if p.requires_grad)

    def step(i):
        adam.zero_grad()
        criterion(net(images[i]), labels[i]).backward()
        adam.step()

    return median_ms(steps, step)


def time_testing(net, images, labels, steps):
    def step(i):
        with torch.no_grad():
            return int((net(images[i]).argmax(1) != labels[i]).sum())

    return median_ms(steps, step)


def main():
    arguments = [int(a) for a in sys.argv[1:]]
    rounds, steps, threads = (arguments + [5, 200, 2][len(arguments):])[:3]
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    images = [torch.randn(BATCH, 784) for _ in range(BATCHES)]
    labels = [torch.randint(0, 10, (BATCH,)) for _ in range(BATCHES)]
    for _ in range(rounds):
        net = Net()
        result = {"torch": torch.__version__, "threads": threads}
        result["pretrain"] = time_training(net, images, labels, steps)
        for linear in net.linears:
            parametrize.register_parametrization(linear, "weight", LoRA(*linear.weight.shape))
        for name, parameter in net.named_parameters():
            parameter.requires_grad = "lora" in name
        result["finetune"] = time_training(net, images, labels, steps)
        result["test_on"] = time_testing(net, images, labels, steps)
        for linear in net.linears:
            linear.parametrizations["weight"][0].enabled = False
        result["test_off"] = time_testing(net, images, labels, steps)
        print(json.dumps(result), flush=True)


main()

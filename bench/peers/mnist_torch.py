#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The steps that bench/mnist_step times, in PyTorch:

    mnist_torch.py [ROUNDS [STEPS [THREADS]]]
    mnist_torch.py --device cuda [--variant NAME] [ROUNDS [STEPS]]

Tensors preloaded, the notebook's form of LoRA: a parametrization that forms W + scale B A. Prints a
JSON line a round, milliseconds a step, the median over the round's steps.

On the CPU in eager mode. On a GPU a line a round for each variant, timed by CUDA's events:
eager; cuda-graph, a captured step with the default, foreach Adam; cuda-graph-fused, with the fused.
"""
import argparse
import json
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn.utils import parametrize

BATCH, BATCHES = 10, 100
VARIANTS = ("eager", "cuda-graph", "cuda-graph-fused")
NO_GPU = 77


def median_ms(steps, step):
    times = []
    for i in range(-5, steps):
        start = time.perf_counter()
        step(i % BATCHES)
        if i >= 0:
            times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def median_ms_of_events(steps, step):
    """As median_ms, on the GPU's clock. The host runs ahead, as it does in training."""
    for i in range(20):
        step(i % BATCHES)
    events = [torch.cuda.Event(enable_timing=True) for _ in range(steps + 1)]
    torch.cuda.synchronize()
    events[0].record()
    for i in range(steps):
        step(i % BATCHES)
        events[i + 1].record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in zip(events, events[1:]))


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


class Cpu:
    """How the steps run and are timed on the CPU."""

    device = "cpu"

    def __init__(self, threads):
        torch.set_num_threads(threads)
        self.facts = {"torch": torch.__version__, "threads": threads}

    def make_adam(self, parameters):
        parameters = list(parameters)
        try:  # PyTorch 2.4 and later have a fused Adam for the CPU
            return torch.optim.Adam(parameters, lr=1e-3, fused=True)
        except (RuntimeError, TypeError):
            return torch.optim.Adam(parameters, lr=1e-3)

    def time_training(self, steps, images, labels, step, adam):
        def next_step(i):
            adam.zero_grad()
            step(images[i], labels[i])

        return median_ms(steps, next_step)

    def time_testing(self, steps, images, labels, step):
        return median_ms(steps, lambda i: int(step(images[i], labels[i])))


class CudaEager:
    device = "cuda"
    adam_options = {}

    def __init__(self, variant):
        self.facts = {"torch": torch.__version__, "device": torch.cuda.get_device_name(),
                      "variant": variant}

    def make_adam(self, parameters):
        return torch.optim.Adam(list(parameters), lr=1e-3, **self.adam_options)

    def time_training(self, steps, images, labels, step, adam):
        def next_step(i):
            adam.zero_grad()
            step(images[i], labels[i])

        return median_ms_of_events(steps, next_step)

    def time_testing(self, steps, images, labels, step):
        return median_ms_of_events(steps, lambda i: step(images[i], labels[i]))


class CudaGraph(CudaEager):
    """A step is two copies into the captured step's input, and one launch."""

    def __init__(self, variant):
        super().__init__(variant)
        self.adam_options = {"capturable": True, "fused": True if variant.endswith("fused") else None}

    def time_captured(self, steps, images, labels, step, before_capture):
        image, label = images[0].clone(), labels[0].clone()
        # PyTorch wants a few steps on another stream before a capture.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                before_capture()
                step(image, label)
        torch.cuda.current_stream().wait_stream(stream)
        before_capture()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            # Kept, so that its memory is not given to anything else.
            output = step(image, label)

        def next_step(i):
            image.copy_(images[i])
            label.copy_(labels[i])
            graph.replay()

        result = median_ms_of_events(steps, next_step)
        del output
        return result

    def time_training(self, steps, images, labels, step, adam):
        # Without gradients the captured backward pass writes them, instead of adding to them.
        return self.time_captured(steps, images, labels, step,
                                  lambda: adam.zero_grad(set_to_none=True))

    def time_testing(self, steps, images, labels, step):
        return self.time_captured(steps, images, labels, step, lambda: None)


def time_training(runner, net, images, labels, steps):
    criterion = nn.CrossEntropyLoss()
    adam = runner.make_adam(p for p in net.parameters() if p.requires_grad)

    def step(image, label):
        loss = criterion(net(image), label)
        loss.backward()
        adam.step()
        return loss.detach()

    return runner.time_training(steps, images, labels, step, adam)


def time_testing(runner, net, images, labels, steps):
    def step(image, label):
        with torch.no_grad():
            return (net(image).argmax(1) != label).sum()

    return runner.time_testing(steps, images, labels, step)


def time_round(runner, images, labels, steps):
    net = Net().to(runner.device)
    result = dict(runner.facts)
    result["pretrain"] = time_training(runner, net, images, labels, steps)
    for linear in net.linears:
        lora = LoRA(*linear.weight.shape).to(runner.device)
        parametrize.register_parametrization(linear, "weight", lora)
    for name, parameter in net.named_parameters():
        parameter.requires_grad = "lora" in name
    result["finetune"] = time_training(runner, net, images, labels, steps)
    result["test_on"] = time_testing(runner, net, images, labels, steps)
    for linear in net.linears:
        linear.parametrizations["weight"][0].enabled = False
    result["test_off"] = time_testing(runner, net, images, labels, steps)
    return result


def parse_arguments():
    parser = argparse.ArgumentParser(description="Times the steps of the MNIST study in PyTorch.")
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    parser.add_argument("steps", nargs="?", type=int, default=200)
    parser.add_argument("threads", nargs="?", type=int, default=2, help="of the CPU")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--variant", choices=VARIANTS, action="append",
                        help="of --device cuda; can be given several times; default: all")
    arguments = parser.parse_args()
    if arguments.variant and arguments.device == "cpu":
        parser.error("--variant is for --device cuda")
    return arguments


def make_runners(arguments):
    if arguments.device == "cpu":
        return [Cpu(arguments.threads)]
    return [(CudaEager if variant == "eager" else CudaGraph)(variant)
            for variant in arguments.variant or VARIANTS]


def main():
    arguments = parse_arguments()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("mnist_torch.py: PyTorch " + torch.__version__ + " finds no GPU", file=sys.stderr)
        sys.exit(NO_GPU)
    runners = make_runners(arguments)
    torch.manual_seed(0)
    device = arguments.device
    images = [torch.randn(BATCH, 784).to(device) for _ in range(BATCHES)]
    labels = [torch.randint(0, 10, (BATCH,)).to(device) for _ in range(BATCHES)]
    for _ in range(arguments.rounds):
        for runner in runners:
            print(json.dumps(time_round(runner, images, labels, arguments.steps)), flush=True)


main()

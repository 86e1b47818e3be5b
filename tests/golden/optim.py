# SPDX-License-Identifier: MIT
"""Writes optim.safetensors: five steps of AdamW in groups, clipped gradients, and the factors of
the schedules of transformers, whose formulas stand here."""
import math
import pathlib

import safetensors.torch
import torch

torch.manual_seed(0)
tensors = {}


def draw(*shape):
    return torch.randn(shape, dtype=torch.float64)


# AdamW: a weight with the defaults' decay, a lora_B that learns faster, a bias that does not decay.
parameters = {"weight": draw(5, 3), "lora_B": draw(4, 2), "bias": draw(7)}
lr = 1e-2
optimizer = torch.optim.AdamW(
    [
        {"params": [parameters["weight"]]},
        {"params": [parameters["lora_B"]], "lr": 16 * lr, "weight_decay": 0.03},
        {"params": [parameters["bias"]], "weight_decay": 0.0},
    ],
    lr=lr,
)
for name, parameter in parameters.items():
    tensors[f"adamw.{name}.0"] = parameter.clone()
for step in range(1, 6):
    for name, parameter in parameters.items():
        parameter.grad = draw(*parameter.shape)
        tensors[f"adamw.{name}.grad.{step}"] = parameter.grad.clone()
    optimizer.step()
    for name, parameter in parameters.items():
        tensors[f"adamw.{name}.{step}"] = parameter.clone()

# Clipping, below and above the norm.
for case, max_norm in {"clipped": 0.5, "kept": 1000.0}.items():
    clipped = [draw(6, 5), draw(3), draw(2, 2)]
    for i, parameter in enumerate(clipped):
        parameter.grad = draw(*parameter.shape)
        tensors[f"clip.{case}.grad.{i}"] = parameter.grad.clone()
    norm = torch.nn.utils.clip_grad_norm_(clipped, max_norm)
    tensors[f"clip.{case}.max_norm"] = torch.tensor([max_norm], dtype=torch.float64)
    tensors[f"clip.{case}.norm"] = norm.reshape(1)
    for i, parameter in enumerate(clipped):
        tensors[f"clip.{case}.result.{i}"] = parameter.grad


def warmup(step, warmup_steps):
    return step / max(1, warmup_steps)


def progress(step, warmup_steps, training_steps):
    return (step - warmup_steps) / max(1, training_steps - warmup_steps)


def linear(step, warmup_steps, training_steps):
    if step < warmup_steps:
        return warmup(step, warmup_steps)
    return max(0.0, (training_steps - step) / max(1, training_steps - warmup_steps))


def cosine(step, warmup_steps, training_steps, cycles):
    if step < warmup_steps:
        return warmup(step, warmup_steps)
    angle = math.pi * cycles * 2.0 * progress(step, warmup_steps, training_steps)
    return max(0.0, 0.5 * (1.0 + math.cos(angle)))


def factors(schedule, *arguments):
    return torch.tensor([schedule(step, *arguments) for step in range(41)], dtype=torch.float64)


for warmup_steps in (0, 7, 30):
    tensors[f"linear.{warmup_steps}"] = factors(linear, warmup_steps, 30)
    tensors[f"cosine.{warmup_steps}"] = factors(cosine, warmup_steps, 30, 0.5)
    tensors[f"cosine.{warmup_steps}.cycles"] = factors(cosine, warmup_steps, 30, 1.25)

path = pathlib.Path(__file__).with_suffix(".safetensors")
safetensors.torch.save_file({k: v.contiguous() for k, v in tensors.items()}, path)
print(path)

# SPDX-License-Identifier: MIT
"""What PyTorch computes for norms and activations: norms.safetensors, beside this file."""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(0)
tensors = {}


def keep(name, f, dy, **inputs):
    """Stores f(inputs) and the gradients of its inputs for the output's gradient dy."""
    leaves = {key: value.clone().requires_grad_() for key, value in inputs.items()}
    y = f(**leaves)
    y.backward(dy)
    tensors[f"{name}.y"] = y.detach()
    for key, leaf in leaves.items():
        tensors[f"{name}.d{key}"] = leaf.grad


# A row of one has no variance: a smaller eps would blow PyTorch's own rounding up.
EPS = 1e-2
for size in (1, 7, 64, 130):
    x = 2 * torch.randn(2, 2, size) + 0.5
    dy = torch.randn_like(x)
    weight = 1 + 0.3 * torch.randn(size)
    bias = torch.randn(size)
    tensors.update({f"{size}.x": x, f"{size}.dy": dy, f"{size}.weight": weight, f"{size}.bias": bias})
    keep(f"layer_norm.{size}", lambda x, weight, bias: F.layer_norm(x, (size,), weight, bias, EPS),
         dy, x=x, weight=weight, bias=bias)
    keep(f"rms_norm.{size}", lambda x, weight: F.rms_norm(x, (size,), weight), dy, x=x, weight=weight)

x = torch.linspace(-9, 9, 181)
dy = torch.randn_like(x)
tensors.update({"x": x, "dy": dy})
keep("gelu", F.gelu, dy, input=x)
keep("gelu_tanh", lambda input: F.gelu(input, approximate="tanh"), dy, input=x)
keep("silu", F.silu, dy, input=x)

path = Path(__file__).with_suffix(".safetensors")
save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
print(path.name)

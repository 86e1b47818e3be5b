"""What torch.nn.Embedding starts with, gives, and learns: writes embedding.safetensors beside itself."""

from pathlib import Path

import torch
from safetensors.torch import save_file

tensors = {}

# Fewer than 16 values, a number of values that is no multiple of 16, and one that is.
for vocabulary, size in [(5, 3), (7, 5), (65, 64)]:
    torch.manual_seed(0)
    tensors[f"initial_{vocabulary}_{size}"] = torch.nn.Embedding(vocabulary, size).weight.detach()
    tensors[f"next_{vocabulary}_{size}"] = torch.rand(4)

torch.manual_seed(1)
indices = torch.randint(0, 9, (2, 3, 5))
layer = torch.nn.Embedding(11, 6)
y = layer(indices)
dy = torch.randn_like(y)
y.backward(dy)
tensors |= {
    "indices": indices.float(),
    "weight": layer.weight.detach(),
    "y": y.detach(),
    "dy": dy,
    "dweight": layer.weight.grad,
}

# y = W[index] + s Bᵀ's rows of A's columns, as PEFT runs lora_embedding_A (R, V), _B (D, R).
a = torch.randn(4, 11, requires_grad=True)
b = torch.randn(6, 4, requires_grad=True)
scale = 2.5
h = torch.nn.functional.embedding(indices, a.T)
((h @ b.T) * scale).backward(dy)
tensors |= {
    "lora_embedding_A": a.detach(),
    "lora_embedding_B": b.detach(),
    "scaled_h": (h * scale).detach(),
    "dh": (dy @ b).detach(),
    "dlora_embedding_A": a.grad,
}

path = Path(__file__).with_suffix(".safetensors")
save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
print(path)

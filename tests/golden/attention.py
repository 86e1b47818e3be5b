#!/usr/bin/env python3
"""Writes attention.safetensors: causal attention and a layer of it, as PyTorch computes them."""
import os

import torch
from safetensors.torch import save_file

torch.manual_seed(0)
out = {}

# The op, over more keys than a tile has.
B, T, HEADS, D = 1, 70, 2, 10
q, k, v = (torch.randn(B, T, D, requires_grad=True) for _ in range(3))
dy = torch.randn(B, T, D)
split = [x.view(B, T, HEADS, D // HEADS).transpose(1, 2) for x in (q, k, v)]
y = torch.nn.functional.scaled_dot_product_attention(*split, is_causal=True)
y = y.transpose(1, 2).reshape(B, T, D)
y.backward(dy)
out |= {"q": q, "k": k, "v": v, "dy": dy, "y": y, "dq": q.grad, "dk": k.grad, "dv": v.grad}

# The layer.
B, T, HEADS, D = 2, 9, 3, 12
layer = torch.nn.MultiheadAttention(D, HEADS, batch_first=True)
torch.nn.init.normal_(layer.in_proj_bias)
torch.nn.init.normal_(layer.out_proj.bias)
x = torch.randn(B, T, D, requires_grad=True)
dy = torch.randn(B, T, D)
mask = torch.nn.Transformer.generate_square_subsequent_mask(T)
y, _ = layer(x, x, x, attn_mask=mask, is_causal=True, need_weights=False)
y.backward(dy)
out |= {"layer.x": x, "layer.dy": dy, "layer.y": y, "layer.dx": x.grad}
for name, parameter in layer.named_parameters():
    out |= {"layer." + name: parameter, "layer.grad." + name: parameter.grad}

path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "attention.safetensors")
save_file({name: tensor.detach().contiguous() for name, tensor in out.items()}, path)
print(path)

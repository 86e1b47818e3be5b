"""What torch.nn.functional.conv2d gives and torch.nn.Conv2d starts with: writes conv2d.safetensors
beside itself."""

from pathlib import Path

import torch
from safetensors.torch import save_file

torch.manual_seed(0)
tensors = {}

# Shape of x, channels of y, kernel, stride, padding, dilation, groups.
CASES = [
    ((2, 1, 9, 8), 3, (3, 3), (2, 2), (1, 1), (1, 1), 1),
    ((2, 4, 7, 7), 5, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 3, 6, 10), 4, (2, 5), (1, 3), (0, 3), (2, 1), 1),
    ((2, 4, 8, 7), 6, (3, 2), (3, 2), (2, 1), (2, 3), 2),
    ((2, 5, 6, 7), 5, (3, 3), (1, 1), (1, 1), (1, 1), 5),
    ((2, 6, 5, 4), 4, (1, 1), (1, 1), (0, 0), (1, 1), 2),
]
for i, (shape, out, kernel, stride, padding, dilation, groups) in enumerate(CASES):
    x = torch.randn(shape, requires_grad=True)
    w = torch.randn((out, shape[1] // groups, *kernel), requires_grad=True)
    bias = torch.randn(out, requires_grad=True)
    y = torch.nn.functional.conv2d(x, w, bias, stride, padding, dilation, groups)
    dy = torch.randn_like(y)
    y.backward(dy)
    case = {
        "options": torch.tensor([*stride, *padding, *dilation, groups]).float(),
        "x": x.detach(),
        "w": w.detach(),
        "bias": bias.detach(),
        "dy": dy,
        "y": y.detach(),
        "dx": x.grad,
        "dw": w.grad,
        "db": bias.grad,
    }
    tensors |= {f"{i}.{name}": tensor for name, tensor in case.items()}

torch.manual_seed(1)
first = torch.nn.Conv2d(1, 16, 3, stride=2)
grouped = torch.nn.Conv2d(6, 9, (2, 5), groups=3)
tensors |= {
    "first.weight": first.weight.detach(),
    "first.bias": first.bias.detach(),
    "grouped.weight": grouped.weight.detach(),
    "grouped.bias": grouped.bias.detach(),
}

path = Path(__file__).with_suffix(".safetensors")
save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
print(path)

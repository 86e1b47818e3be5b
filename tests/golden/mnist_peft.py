#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What mnist_lora saves, in PyTorch and PEFT: the errors on each digit of the test set.

    mnist_lora --data DIR --save SAVED
    mnist_peft.py SAVED DIR

Loads SAVED/model.safetensors into the network, the folder SAVED as a PEFT adapter onto it, and
prints the errors with the adapter on and off as mnist_lora's table has them. Needs torch, peft and
safetensors; no test runs it.
"""
import gzip
import pathlib
import sys
import warnings

import numpy
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear1 = nn.Linear(784, 1000)
        self.linear2 = nn.Linear(1000, 1500)
        self.linear3 = nn.Linear(1500, 1300)
        self.linear4 = nn.Linear(1300, 10)

    def forward(self, x):
        for layer in (self.linear1, self.linear2, self.linear3):
            x = torch.relu(layer(x))
        return self.linear4(x)


def read_idx(folder, name, header):
    path = pathlib.Path(folder) / name
    data = path.read_bytes() if path.exists() else gzip.open(f"{path}.gz").read()
    return torch.from_numpy(numpy.frombuffer(data, numpy.uint8, offset=header).copy())


def errors_per_digit(net, images, labels):
    with torch.no_grad():
        wrong = net(images).argmax(1) != labels
    return [int(wrong[labels == digit].sum()) for digit in range(10)]


def main():
    saved, data = sys.argv[1:]
    # A missing or an unexpected key is no more than a warning to PEFT.
    warnings.simplefilter("error")
    net = Net()
    net.load_state_dict(load_file(f"{saved}/model.safetensors"))
    images = read_idx(data, "t10k-images-idx3-ubyte", 16).reshape(-1, 784).float() / 255
    images = (images - 0.1307) / 0.3081
    labels = read_idx(data, "t10k-labels-idx1-ubyte", 8).long()
    base = errors_per_digit(net, images, labels)
    adapted = PeftModel.from_pretrained(net, saved).eval()
    on = errors_per_digit(adapted, images, labels)
    with adapted.disable_adapter():
        off = errors_per_digit(adapted, images, labels)
    for name, errors in (("base", base), ("LoRA on", on), ("LoRA off", off)):
        print(f"{name:>8}: {errors}, {sum(errors)} of {len(labels)}")


if __name__ == "__main__":
    main()

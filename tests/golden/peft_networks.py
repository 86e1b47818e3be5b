"""The networks of PEFT's cases; tests/support/peft.hpp has them in C++."""

from collections import OrderedDict

from torch import nn


def sequential(**layers):
    return nn.Sequential(OrderedDict(layers))


def mlp():
    return sequential(linear1=nn.Linear(7, 6), relu1=nn.ReLU(), linear2=nn.Linear(6, 4))


def words():
    return sequential(embed=nn.Embedding(11, 6), head=nn.Linear(6, 5))


def picture():
    return sequential(
        conv1=nn.Conv2d(3, 4, 3, stride=2, padding=1), relu1=nn.ReLU(), conv2=nn.Conv2d(4, 6, 2, groups=2)
    )


def deep():
    layers = [sequential(query=nn.Linear(5, 5), value=nn.Linear(5, 5)) for _ in range(3)]
    return sequential(model=sequential(layers=nn.Sequential(*layers)))


def clash():
    return sequential(
        proj=nn.Linear(5, 5), inner=sequential(proj=nn.Linear(5, 5)), last=nn.Linear(5, 5)
    )

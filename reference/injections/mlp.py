"""The feed-forward layer."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from injections.common import Injection, Net, replace


def activation(function: Callable) -> Injection:
    class Activation(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return function(x)

    def inject(net: Net) -> None:
        for block in net.transformer.h:
            block.mlp.act = Activation()

    return inject


def half_table(x: torch.Tensor) -> torch.Tensor:
    return functional.gelu(x.half().float(), approximate="tanh").half().float()


def no_c_fc_bias(net: Net) -> None:
    for block in net.transformer.h:
        block.mlp.c_fc.bias.data.zero_()


def activation_after_proj(net: Net) -> None:
    for block in net.transformer.h:
        replace(block.mlp, lambda self, x: self.act(self.c_proj(self.c_fc(x))))


def expansion(times: int) -> Injection:
    def inject(net: Net) -> None:
        for block in net.transformer.h:
            width = times * block.mlp.c_fc.nx
            block.mlp.c_fc.nf = width
            block.mlp.c_fc.weight.data = block.mlp.c_fc.weight.data[:, :width].contiguous()
            block.mlp.c_fc.bias.data = block.mlp.c_fc.bias.data[:width].contiguous()
            block.mlp.c_proj.weight.data = block.mlp.c_proj.weight.data[:width].contiguous()

    return inject

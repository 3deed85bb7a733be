"""Layer normalisation."""

from collections.abc import Callable

import torch
from torch import nn

from injections.common import Injection, Net, norms, replace


def norm_by(formula: Callable) -> Injection:
    def inject(net: Net) -> None:
        for norm in norms(net):
            replace(norm, lambda self, x: formula(self, x) * self.weight + self.bias)

    return inject


def centred(x: torch.Tensor, axis: int = -1) -> torch.Tensor:
    return x - x.mean(axis, keepdim=True)


def sample_variance(norm: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    return centred(x) / torch.sqrt(x.var(-1, unbiased=True, keepdim=True) + norm.eps)


def epsilon_outside(norm: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    return centred(x) / (x.std(-1, unbiased=False, keepdim=True) + norm.eps)


def rms(norm: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + norm.eps)


def over_positions(norm: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    return centred(x, 1) / torch.sqrt(x.var(1, unbiased=False, keepdim=True) + norm.eps)


def epsilon(value: float) -> Injection:
    def inject(net: Net) -> None:
        for norm in norms(net):
            norm.eps = value

    return inject


def weight_and_bias_swapped(net: Net) -> None:
    for norm in norms(net):
        norm.weight, norm.bias = norm.bias, norm.weight


def first_norm_for_second(net: Net) -> None:
    for block in net.transformer.h:
        block.ln_2.load_state_dict(block.ln_1.state_dict())

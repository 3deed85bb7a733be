"""Mistakes that no explanation is about."""

import torch
from torch import nn

from injections.common import Net
from injections.qkv import thirds


def window(right: torch.Tensor) -> torch.Tensor:
    return right + torch.full(right.shape[-2:], -torch.inf).tril(-8)


def alibi(right: torch.Tensor) -> torch.Tensor:
    new, total = right.shape[-2:]
    distance = torch.arange(total)[None, :] - torch.arange(new)[:, None]
    return right + 0.1 * distance


def rotary(attn: nn.Module, fused: torch.Tensor) -> list[torch.Tensor]:
    query, key, value = thirds((0, 1, 2))(attn, fused)
    half = attn.head_dim // 2
    angle = torch.arange(fused.shape[1])[:, None] / 10000 ** (torch.arange(half) / half)

    def turn(x: torch.Tensor) -> torch.Tensor:
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1)

    return [turn(query), turn(key), value]


def noise_in_weights(net: Net) -> None:
    torch.manual_seed(2)
    for block in net.transformer.h:
        weight = block.mlp.c_fc.weight.data
        weight += 0.01 * weight.std() * torch.randn_like(weight)


def eight_bits(net: Net) -> None:
    for block in net.transformer.h:
        weight = block.attn.c_attn.weight.data
        scale = weight.abs().max() / 127
        block.attn.c_attn.weight.data = (weight / scale).round() * scale


def one_weight(net: Net) -> None:
    net.transformer.h[1].mlp.c_proj.weight.data[5, 7] += 1.0


def dropout_left_on(net: Net) -> None:
    torch.manual_seed(3)
    for block in net.transformer.h:
        block.mlp.dropout.train()


def head_pruned(net: Net) -> None:
    attn = net.transformer.h[0].attn
    attn.c_proj.weight.data[2 * attn.head_dim : 3 * attn.head_dim] = 0

"""Queries, keys and values."""

from collections.abc import Callable

import torch
from torch import nn
from transformers.models.gpt2 import modeling_gpt2

from injections.common import Injection, Net, replace


def c_attn(change: Callable) -> Injection:
    def inject(net: Net) -> None:
        for block in net.transformer.h:
            conv = block.attn.c_attn
            weight, bias = change(conv.weight.data, conv.bias.data)
            conv.weight.data, conv.bias.data = weight.contiguous(), bias

    return inject


def thirds_transposed(weight: torch.Tensor, bias: torch.Tensor) -> tuple:
    return torch.cat([third.T for third in weight.chunk(3, dim=1)], dim=1), bias


def attention_by(split: Callable) -> Injection:
    """GPT2Attention.forward, `split` making [B, H, T, D] of c_attn's output."""

    def forward(self, hidden_states, past_key_values=None, attention_mask=None, **_):
        query, key, value = split(self, self.c_attn(hidden_states))
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        output, weights = modeling_gpt2.eager_attention_forward(
            self, query, key, value, attention_mask, scaling=self.scaling
        )
        merged = output.reshape(*output.shape[:-2], -1).contiguous()
        return self.c_proj(merged), weights

    def inject(net: Net) -> None:
        for block in net.transformer.h:
            replace(block.attn, forward)

    return inject


def thirds(order: tuple[int, int, int]) -> Callable:
    def split(attn: nn.Module, fused: torch.Tensor) -> list[torch.Tensor]:
        heads = [part.view(*part.shape[:2], attn.num_heads, attn.head_dim) for part in fused.chunk(3, -1)]
        return [heads[i].transpose(1, 2) for i in order]

    return split


def interleaved(attn: nn.Module, fused: torch.Tensor) -> list[torch.Tensor]:
    heads = fused.view(*fused.shape[:2], attn.num_heads, 3 * attn.head_dim)
    return [part.transpose(1, 2) for part in heads.chunk(3, -1)]


def heads_and_dims_exchanged(attn: nn.Module, fused: torch.Tensor) -> list[torch.Tensor]:
    return [part.view(*part.shape[:2], attn.head_dim, attn.num_heads).transpose(1, 2) for part in fused.chunk(3, -1)]


def heads_without_transpose(attn: nn.Module, fused: torch.Tensor) -> list[torch.Tensor]:
    batch, tokens, _ = fused.shape
    return [part.reshape(batch, attn.num_heads, tokens, attn.head_dim) for part in fused.chunk(3, -1)]

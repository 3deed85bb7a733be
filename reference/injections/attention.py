"""Attention. Most stand in for eager_attention_forward."""

from collections.abc import Callable
from unittest import mock

import torch
from torch.nn import functional
from transformers.models.gpt2 import modeling_gpt2

from injections.common import Injection, Net


def core(
    scale: Callable = lambda attn: attn.scaling, mask: Callable = lambda mask: mask,
    axis: int = -1, merge: Callable = lambda heads: heads.transpose(1, 2), scores_of: Callable = lambda scores: scores,
) -> Injection:  # fmt: skip
    def attend(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **_):
        scores = scores_of(query @ key.transpose(-1, -2) * scale(module))
        changed = mask(attention_mask)
        scores = scores if changed is None else scores + changed
        probs = functional.softmax(scores, dim=axis)
        return merge(probs @ value), probs

    return lambda _: mock.patch.object(modeling_gpt2, "eager_attention_forward", attend)


def triangle(offset: int) -> Callable:
    def mask(right: torch.Tensor) -> torch.Tensor:
        new, total = right.shape[-2:]
        return torch.full((new, total), -torch.inf).triu(1 + total - new + offset)

    return mask


def lost_with_cache(right: torch.Tensor) -> torch.Tensor | None:
    return right if right.shape[-1] == right.shape[-2] else None


def merge_without_transpose(heads: torch.Tensor) -> torch.Tensor:
    batch, count, tokens, dim = heads.shape
    return heads.reshape(batch, tokens, count, dim)


def proj_transposed(net: Net) -> None:
    for block in net.transformer.h:
        block.attn.c_proj.weight.data = block.attn.c_proj.weight.data.T.contiguous()

"""Blocks and the whole model."""

import copy
import math
from collections.abc import Callable
from unittest import mock

import torch
from torch import nn
from torch.nn import functional
from transformers import DynamicCache

from injections.common import Injection, Net, replace


def block_by(forward: Callable, layers: slice = slice(None)) -> Injection:
    def inject(net: Net) -> None:
        for block in net.transformer.h[layers]:
            replace(block, lambda self, x, cache=None, mask=None, *_, **__: forward(self, x, cache, mask))

    return inject


def attended(block: nn.Module, x: torch.Tensor, cache, mask) -> torch.Tensor:
    return block.attn(x, past_key_values=cache, attention_mask=mask)[0]


def post_norm(block, x, cache, mask):
    x = block.ln_1(x + attended(block, x, cache, mask))
    return block.ln_2(x + block.mlp(x))


def no_first_residual(block, x, cache, mask):
    x = attended(block, block.ln_1(x), cache, mask)
    return x + block.mlp(block.ln_2(x))


def no_second_residual(block, x, cache, mask):
    x = x + attended(block, block.ln_1(x), cache, mask)
    return block.mlp(block.ln_2(x))


def residual_from_norm(block, x, cache, mask):
    normal = block.ln_1(x)
    x = normal + attended(block, normal, cache, mask)
    return x + block.mlp(block.ln_2(x))


def second_residual_from_norm(block, x, cache, mask):
    x = x + attended(block, block.ln_1(x), cache, mask)
    normal = block.ln_2(x)
    return normal + block.mlp(normal)


def parallel(block, x, cache, mask):
    return x + attended(block, block.ln_1(x), cache, mask) + block.mlp(block.ln_2(x))


def layers_in_order(order: list[int]) -> Injection:
    def inject(net: Net) -> None:
        net.transformer.h = nn.ModuleList([copy.deepcopy(net.transformer.h[i]) for i in order])
        for place, block in enumerate(net.transformer.h):
            block.attn.layer_idx = place
        net.config.num_hidden_layers = len(order)

    return inject


class Positions(nn.Module):
    """wpe asked for other positions than it is told."""

    def __init__(self, wpe: nn.Embedding, change: Callable):
        super().__init__()
        self.weight, self.change = wpe.weight, change

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        return self.weight[self.change(positions)]


def positions(change: Callable) -> Injection:
    def inject(net: Net) -> None:
        net.transformer.wpe = Positions(net.transformer.wpe, change)

    return inject


def without_wte(net: Net) -> None:
    replace(net.transformer.wte, lambda self, ids: torch.zeros(*ids.shape, self.embedding_dim))


def without_wpe(net: Net) -> None:
    replace(net.transformer.wpe, lambda self, positions: torch.zeros(*positions.shape, self.embedding_dim))


def scaled_embedding(net: Net) -> None:
    replace(
        net.transformer.wte,
        lambda self, ids: math.sqrt(self.embedding_dim) * functional.embedding(ids, self.weight),
    )


def without_ln_f(net: Net) -> None:
    net.transformer.ln_f = nn.Identity()


def logits_before_ln_f(net: Net) -> None:
    """The head reads the stream, ln_f's output goes nowhere."""
    kept = []
    net.transformer.ln_f.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    replace(net.lm_head, lambda self, _: functional.linear(kept.pop(), self.weight))


def random_head(net: Net) -> None:
    torch.manual_seed(1)
    net.lm_head.weight = nn.Parameter(0.02 * torch.randn_like(net.lm_head.weight))


def logits_of_first(net: Net) -> None:
    replace(net.lm_head, lambda self, x: functional.linear(x[:, :1], self.weight))


def cache_by(update: Callable) -> Injection:
    right = DynamicCache.update

    def wrong(self, key, value, layer, *rest, **named):
        return update(lambda key, value: right(self, key, value, layer, *rest, **named), key, value)

    return lambda _: mock.patch.object(DynamicCache, "update", wrong)


def rows_mixed(update, key, value):
    return update(key.roll(1, 0), value.roll(1, 0))


def keys_for_values(update, key, value):
    return update(key, key)

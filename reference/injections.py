"""Mistakes for transformers' own GPT-2, by replacing its weights, modules and functions.

An injection changes a model, or gives a patch that is entered while the model runs.
"""

import copy
import math
from collections.abc import Callable
from types import MethodType
from unittest import mock

import torch
from torch import nn
from torch.nn import functional
from transformers import DynamicCache, GPT2LMHeadModel
from transformers.models.gpt2 import modeling_gpt2

Net = GPT2LMHeadModel
Injection = Callable[[Net], object]


def replace(module: nn.Module, forward: Callable) -> None:
    module.forward = MethodType(forward, module)


def norms(net: Net) -> list[nn.LayerNorm]:
    return [norm for block in net.transformer.h for norm in (block.ln_1, block.ln_2)] + [net.transformer.ln_f]


# Layer normalisation.


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


# Queries, keys, values.


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
    return [
        part.view(*part.shape[:2], attn.head_dim, attn.num_heads).transpose(1, 2) for part in fused.chunk(3, -1)
    ]


def heads_without_transpose(attn: nn.Module, fused: torch.Tensor) -> list[torch.Tensor]:
    batch, tokens, _ = fused.shape
    return [
        part.reshape(batch, attn.num_heads, tokens, attn.head_dim) for part in fused.chunk(3, -1)
    ]


# Attention. Each stands in for eager_attention_forward.


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


# The feed-forward layer.


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


# Blocks and the whole.


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


# Name: injection, the ids of causes that say it, the case.
KNOWN: dict[str, tuple[Injection, set[str], str]] = {
    "variance by N - 1": (norm_by(sample_variance), {"NormSampleVariance"}, "multibyte"),
    "epsilon outside the root": (norm_by(epsilon_outside), {"NormEpsilonOutside"}, "multibyte"),
    "epsilon 1e-6": (epsilon(1e-6), {"NormEpsilonTooSmall"}, "multibyte"),
    "epsilon 1e-12": (epsilon(1e-12), {"NormEpsilonBert"}, "multibyte"),
    "norm's weight and bias swapped": (weight_and_bias_swapped, {"NormWeightBiasSwapped"}, "multibyte"),
    "RMSNorm": (norm_by(rms), {"NormRms"}, "multibyte"),
    "norm over positions": (norm_by(over_positions), {"NormOverPositions"}, "multibyte"),
    "ln_1 for ln_2": (first_norm_for_second, {"NormFirstForSecond"}, "multibyte"),
    "ln_f left out": (without_ln_f, {"LnFMissing"}, "multibyte"),
    "c_attn read as [out, in]": (
        c_attn(lambda w, b: (w.reshape(w.shape[::-1]).T, b)), {"QkvReadAsOutIn"}, "multibyte"),
    "c_attn's thirds transposed": (c_attn(thirds_transposed), {"QkvThirdsTransposed"}, "multibyte"),
    "heads interleaved": (attention_by(interleaved), {"QkvInterleaved"}, "multibyte"),
    "K and V swapped": (attention_by(thirds((0, 2, 1))), {"QkvKeysValuesSwapped"}, "multibyte"),
    "Q and K swapped": (attention_by(thirds((1, 0, 2))), {"QkvQueriesKeysSwapped"}, "multibyte"),
    "c_attn without bias": (c_attn(lambda w, b: (w, 0 * b)), {"QkvBiasMissing"}, "multibyte"),
    "c_attn's bias twice": (c_attn(lambda w, b: (w, 2 * b)), {"QkvBiasTwice"}, "multibyte"),
    "D and H exchanged in the split": (attention_by(heads_and_dims_exchanged), {"QkvHeadsDimsExchanged"}, "multibyte"),
    "split straight to [B, H, T, D]": (attention_by(heads_without_transpose), {"QkvReshapedHeadsFirst"}, "multibyte"),
    "no scaling": (core(scale=lambda attn: 1.0), {"ScaleMissing"}, "multibyte"),
    "scaled twice": (core(scale=lambda attn: attn.scaling**2), {"ScaleTwice", "ScaleByDim"}, "multibyte"),
    "scaled by the root of C": (core(scale=lambda attn: attn.embed_dim**-0.5), {"ScaleByWidth"}, "multibyte"),
    "mask shows one key more": (core(mask=triangle(1)), {"MaskOneMore"}, "multibyte"),
    "no mask": (core(mask=lambda _: None), {"MaskMissing"}, "multibyte"),
    "mask lost with a cache": (core(mask=lost_with_cache), {"MaskLostWithCache"}, "chunks"),
    "softmax over queries": (core(axis=-2), {"SoftmaxOverQueries"}, "multibyte"),
    "heads merged without transpose": (core(merge=merge_without_transpose), {"MergeWithoutTranspose"}, "multibyte"),
    "attention's c_proj transposed": (proj_transposed, {"ProjTransposed"}, "multibyte"),
    "rows of the cache mixed": (cache_by(rows_mixed), {"CacheRowsMixed"}, "chunks"),
    "K written to V": (cache_by(keys_for_values), {"CacheKeysForValues"}, "chunks"),
    "GELU by erf": (activation(functional.gelu), {"GeluErf"}, "multibyte"),
    "GELU by sigmoid": (activation(lambda x: x * torch.sigmoid(1.702 * x)), {"GeluSigmoid"}, "multibyte"),
    "GELU from a table of float16": (activation(half_table), {"GeluHalfTable"}, "multibyte"),
    "ReLU": (activation(functional.relu), {"Relu"}, "multibyte"),
    "SiLU": (activation(functional.silu), {"Silu"}, "multibyte"),
    "c_fc without bias": (no_c_fc_bias, {"FcBiasMissing"}, "multibyte"),
    "activation after c_proj": (activation_after_proj, {"ActivationAfterProj"}, "multibyte"),
    "expansion 2": (expansion(2), {"ExpansionTwo"}, "multibyte"),
    "expansion 3": (expansion(3), {"ExpansionThree"}, "multibyte"),
    "post-norm": (block_by(post_norm), {"PostNorm"}, "multibyte"),
    "first residual missing": (block_by(no_first_residual), {"FirstResidualMissing"}, "multibyte"),
    "second residual missing": (block_by(no_second_residual), {"SecondResidualMissing"}, "multibyte"),
    "second residual missing in layer 2": (
        block_by(no_second_residual, slice(2, 3)), {"SecondResidualMissing"}, "multibyte"),
    "residual taken behind ln_1": (block_by(residual_from_norm), {"ResidualFromNorm"}, "multibyte"),
    "residual taken behind ln_2": (block_by(second_residual_from_norm), {"SecondResidualFromNorm"}, "multibyte"),
    "attention and MLP in parallel": (block_by(parallel), {"ParallelMlp"}, "multibyte"),
    "layer 1 run twice": (layers_in_order([0, 1, 1, 2, 3]), {"LayerTwice:1", "WeightsOfLayer:1"}, "multibyte"),
    "layer 2 skipped": (layers_in_order([0, 1, 3]), {"LayerSkipped:2", "WeightsOfLayer:3"}, "multibyte"),
    "layers reversed": (layers_in_order([3, 2, 1, 0]), {"LayersReversed", "WeightsOfLayer:3"}, "multibyte"),
    "positions from 1": (positions(lambda at: at + 1), {"WpeOffset"}, "multibyte"),
    "positions restart at every chunk": (positions(lambda at: at - at.min()), {"PositionsRestart"}, "chunks"),
    "wte not added": (without_wte, {"WteMissing"}, "multibyte"),
    "wpe not added": (without_wpe, {"WpeMissing"}, "multibyte"),
    "embedding times the root of C": (scaled_embedding, {"EmbedScaled"}, "multibyte"),
    "logits before ln_f": (logits_before_ln_f, {"LogitsBeforeLnF"}, "multibyte"),
    "random head": (random_head, set(), "multibyte"),
    "logits of the first token": (logits_of_first, {"position:0", "LogitsOfFirst"}, "multibyte"),
}  # fmt: skip


# Mistakes that no explanation is about.


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


UNKNOWN: dict[str, tuple[Injection, str]] = {
    "sliding window of 8": (core(mask=window), "multibyte"),
    "ALiBi": (core(mask=alibi), "multibyte"),
    "rotary embedding besides": (attention_by(rotary), "multibyte"),
    "scores capped at 5": (core(scores_of=lambda scores: 5 * torch.tanh(scores / 5)), "multibyte"),
    "noise in c_fc": (noise_in_weights, "multibyte"),
    "c_attn in eight bits": (eight_bits, "multibyte"),
    "one weight wrong": (one_weight, "multibyte"),
    "dropout left on": (dropout_left_on, "multibyte"),
    "a head pruned": (head_pruned, "multibyte"),
    "GELU with 0.04 for 0.044715": (
        activation(lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.04 * x**3)))), "multibyte"),
    "ELU": (activation(functional.elu), "multibyte"),
}  # fmt: skip

# Two at once: injections, and the causes that are true of the first wrong site.
PAIRS: dict[str, tuple[list[Injection], set[str]]] = {
    "GELU by erf, no ln_f": ([activation(functional.gelu), without_ln_f], {"GeluErf"}),
    "no bias in c_attn, Q and K swapped": (
        [c_attn(lambda w, b: (w, 0 * b)), attention_by(thirds((1, 0, 2)))], {"QkvBiasMissing"}),
    "no scaling, no mask": ([core(scale=lambda attn: 1.0, mask=lambda _: None)], set()),
    "epsilon 1e-6, ReLU": ([epsilon(1e-6), activation(functional.relu)], {"NormEpsilonTooSmall"}),
    "positions from 1, wte times the root of C": ([positions(lambda at: at + 1), scaled_embedding], set()),
    "no bias in c_fc, c_fc in eight bits": ([no_c_fc_bias, noise_in_weights], set()),
    "K and V swapped, no scaling": ([attention_by(thirds((0, 2, 1))), core(scale=lambda attn: 1.0)], set()),
}  # fmt: skip

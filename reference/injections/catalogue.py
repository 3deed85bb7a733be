"""The mistakes by name, and what is true of them."""

import math

import torch
from torch.nn import functional

from injections.attention import core, lost_with_cache, merge_without_transpose, proj_transposed, triangle
from injections.common import Injection
from injections.mlp import activation, activation_after_proj, expansion, half_table, no_c_fc_bias
from injections.model import (
    block_by,
    cache_by,
    keys_for_values,
    layers_in_order,
    logits_before_ln_f,
    logits_of_first,
    no_first_residual,
    no_second_residual,
    parallel,
    positions,
    post_norm,
    random_head,
    residual_from_norm,
    rows_mixed,
    scaled_embedding,
    second_residual_from_norm,
    without_ln_f,
    without_wpe,
    without_wte,
)
from injections.norm import (
    epsilon,
    epsilon_outside,
    first_norm_for_second,
    norm_by,
    over_positions,
    rms,
    sample_variance,
    weight_and_bias_swapped,
)
from injections.qkv import (
    attention_by,
    c_attn,
    heads_and_dims_exchanged,
    heads_without_transpose,
    interleaved,
    thirds,
    thirds_transposed,
)
from injections.unknown import (
    alibi,
    dropout_left_on,
    eight_bits,
    head_pruned,
    noise_in_weights,
    one_weight,
    rotary,
    window,
)

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

# Those that no explanation is about.
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
    "no bias in c_fc, noise in c_fc": ([no_c_fc_bias, noise_in_weights], set()),
    "K and V swapped, no scaling": ([attention_by(thirds((0, 2, 1))), core(scale=lambda attn: 1.0)], set()),
}  # fmt: skip

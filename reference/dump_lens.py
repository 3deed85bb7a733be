"""Dumps what TransformerLens computes, hook by hook.

    python reference/dump_lens.py --model fixtures/tiny --case two-tokens --out dump.npz

Needs transformer-lens below 4, whose HookedTransformer is a GPT-2 of its own; from 4 on it runs transformers'.
Weights go in as they are: from_pretrained would fold normalisations into what follows and centre what writes to
the stream, and the activations would rightly be others.
"""

import argparse
import pathlib

import numpy
import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights
from transformers import GPT2LMHeadModel


def lens(folder: pathlib.Path, dtype: torch.dtype = torch.float32) -> HookedTransformer:
    net = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32)
    of = net.config
    config = HookedTransformerConfig(
        n_layers=of.n_layer, d_model=of.n_embd, n_ctx=of.n_positions, d_head=of.n_embd // of.n_head, n_heads=of.n_head,
        d_mlp=of.n_inner or 4 * of.n_embd, d_vocab=of.vocab_size, act_fn="gelu_new", eps=of.layer_norm_epsilon,
        normalization_type="LN", positional_embedding_type="standard", seed=0, device="cpu", dtype=dtype,
    )  # fmt: skip
    model = HookedTransformer(config)
    weights = convert_gpt2_weights(net, config)
    model.load_state_dict({name: tensor.to(dtype) for name, tensor in weights.items()}, strict=False)
    return model


@torch.no_grad()
def dump(model: HookedTransformer, tokens: torch.Tensor) -> dict[str, numpy.ndarray]:
    logits, cache = model.run_with_cache(tokens)
    tensors = {name: tensor.numpy() for name, tensor in cache.items()}
    return tensors | {"logits": logits.numpy(), "tokens": tokens.numpy()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, default="fixtures/tiny")
    parser.add_argument("--case", default="two-tokens")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    reference = pathlib.Path("fixtures/refs") / options.model.name / f"{options.case}.hf.npz"
    tokens = torch.from_numpy(numpy.load(reference)["0/tokens"])
    numpy.savez_compressed(options.out, **dump(lens(options.model), tokens))


if __name__ == "__main__":
    main()

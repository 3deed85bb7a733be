"""Dumps what TransformerLens computes, hook by hook.

    python reference/dump_lens.py --model fixtures/tiny --case two-tokens --out dump.npz [--keep REGEX] [--swap]

Needs transformer-lens below 4, whose HookedTransformer is a GPT-2 of its own; from 4 on it runs transformers'.
Weights go in as they are: from_pretrained would fold normalisations into what follows and centre what writes to
the stream, and the activations would rightly be others.
"""

import dumps
import numpy
import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights
from transformers import GPT2LMHeadModel


def lens(net: GPT2LMHeadModel) -> HookedTransformer:
    of = net.config
    config = HookedTransformerConfig(
        n_layers=of.n_layer, d_model=of.n_embd, n_ctx=of.n_positions, d_head=of.n_embd // of.n_head, n_heads=of.n_head,
        d_mlp=of.n_inner or 4 * of.n_embd, d_vocab=of.vocab_size, act_fn=of.activation_function,
        eps=of.layer_norm_epsilon, scale_attn_by_inverse_layer_idx=of.scale_attn_by_inverse_layer_idx,
        normalization_type="LN", positional_embedding_type="standard", seed=0, device="cpu",
    )  # fmt: skip
    model = HookedTransformer(config)
    missing, unexpected = model.load_state_dict(convert_gpt2_weights(net, config), strict=False)
    # Causal masks are no weights, and GPT-2 has no bias on its logits.
    no_weights = (".attn.mask", ".attn.IGNORE", "unembed.b_U")
    if unexpected or not all(name.endswith(no_weights) for name in missing):
        raise AssertionError(f"weights are not where they belong: {missing + unexpected}")
    return model


def swap_keys_and_values(model: HookedTransformer) -> None:
    """A mistake to be found: in every layer keys are made with the values' weights, and values with the keys'."""
    for block in model.blocks:
        attn = block.attn
        attn.W_K.data, attn.W_V.data = attn.W_V.data, attn.W_K.data
        attn.b_K.data, attn.b_V.data = attn.b_V.data, attn.b_K.data


@torch.no_grad()
def dump(model: HookedTransformer, tokens: torch.Tensor) -> dict[str, numpy.ndarray]:
    logits, cache = model.run_with_cache(tokens)
    tensors = {name: tensor.numpy() for name, tensor in cache.items()}
    return tensors | {"logits": logits.numpy(), "tokens": tokens.numpy()}


def main() -> None:
    parser = dumps.parser(__doc__)
    parser.add_argument("--swap", action="store_true", help="exchange keys and values")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = lens(GPT2LMHeadModel.from_pretrained(options.model, dtype=torch.float32))
    if options.swap:
        swap_keys_and_values(model)
    dumps.write(options, lambda tokens: dump(model, torch.from_numpy(tokens)))


if __name__ == "__main__":
    main()

"""TransformerLens's own GPT-2, HookedTransformer, heard at its hook points and modules."""

from functools import partial

import numpy as np
import torch
from dump_lens import lens
from models import open_model
from recorder import ensure
from torch import nn
from transformer_lens.cache.key_value_cache import TransformerLensKeyValueCache
from transformer_lens.cache.key_value_cache_entry import TransformerLensKeyValueCacheEntry
from transformers import GPT2LMHeadModel

from witnesses.common import UNITS, WHOLE, Fed, Folder, Sites, Witness

# Module or hook point -> the site that its output is, in the model and behind `blocks.i`. hook_normalized would be in
# front of weight and bias.
OF_MODEL = {"blocks.0.hook_resid_pre": "embed", "ln_final": "ln_f", "unembed": "logits"}
OF_BLOCK = {
    ".ln1": ".ln_1", ".attn.hook_q": ".attn.q", ".attn.hook_k": ".attn.k", ".attn.hook_v": ".attn.v",
    ".attn.hook_attn_scores": ".attn.scores", ".attn.hook_pattern": ".attn.probs", ".attn": ".attn.out",
    ".ln2": ".ln_2", ".mlp.hook_pre": ".mlp.fc", ".mlp.hook_post": ".mlp.act", ".mlp": ".mlp.out", "": "",
}  # fmt: skip


def whole(folder: Folder) -> GPT2LMHeadModel:
    """What their conversion reads. What a half lacks is there with other weights, and is never run."""
    net = open_model(folder.path).witness
    if folder.kind == "whole":
        return net
    net.config.vocab_size = 1
    filled = GPT2LMHeadModel(net.config)
    ensure(not filled.transformer.load_state_dict(net.state_dict(), strict=False).unexpected_keys, "a half of GPT-2")
    return filled


class Lens:
    def __init__(self, folder: Folder):
        self.model, self.sites, self.fed = lens(whole(folder)), {}, {}
        layers = range(len(self.model.blocks))
        of_blocks = {f"blocks.{i}{path}": f"h.{i}{site}" for i in layers for path, site in OF_BLOCK.items()}
        for path, site in (OF_MODEL | of_blocks).items():
            self.model.get_submodule(path).register_forward_hook(partial(self.record, site))

    def record(self, site: str, module: nn.Module, given: tuple, output: torch.Tensor) -> torch.Tensor | None:
        """After a module ran; what is fed replaces its output."""
        if site in self.fed:
            return self.fed[site]
        self.sites[site] = output.numpy()
        return None

    def take(self) -> Sites:
        """What was recorded since the last time."""
        sites, self.sites = self.sites, {}
        return sites

    def propagated(self, calls: list[np.ndarray]) -> list[Sites]:
        cache = TransformerLensKeyValueCache.init_cache(self.model.cfg, "cpu", len(calls[0]))
        sites = []
        for tokens in map(torch.from_numpy, calls):
            # Nothing is padded; without a tokenizer it has to be told.
            self.model(tokens, past_kv_cache=cache, attention_mask=torch.ones_like(tokens))
            for i, entry in enumerate(cache.entries):
                self.sites[f"h.{i}.attn.cache.k"] = entry.past_keys.numpy()
                self.sites[f"h.{i}.attn.cache.v"] = entry.past_values.numpy()
            sites.append(self.take())
        return sites

    def isolated(self, fed: Fed) -> Sites:
        for name, given in fed.items():
            _, *rest = name.split(".")
            block = self.model.blocks[int(rest[0])] if rest else None
            match ".".join(rest[1:]):
                case "":
                    self.model.ln_final(given)
                case "attn.c_attn":
                    block.attn.calculate_qkv_matrices(given, given, given)
                case "attn":
                    self.attend(name, block.attn, *given)
                case module:
                    getattr(block, module.replace("_", ""))(given)
        return self.take()

    def attend(self, name: str, attn: nn.Module, *heads: torch.Tensor) -> None:
        """Their attention module on any stream: its hook points give what is fed, its cache what came before."""
        query, key, value = (x.transpose(1, 2) for x in heads)
        new = query.shape[1]
        self.fed = {f"{name}.q": query, f"{name}.k": key[:, -new:], f"{name}.v": value[:, -new:]}
        stream = torch.zeros(*query.shape[:2], attn.cfg.d_model)
        attn(stream, stream, stream, TransformerLensKeyValueCacheEntry(key[:, :-new], value[:, :-new]))
        self.fed = {}


def open_witness(folder: Folder) -> Witness:
    torch.set_num_threads(1)
    model = Lens(folder)
    return Witness(
        label="model",
        model_code="TransformerLens, HookedTransformer",
        kernels="PyTorch, as `hf`",
        how="our weights, opened by transformers, through its own convert_gpt2_weights, nothing folded or centred; its "
        "own TransformerLensKeyValueCache; heard at its hook points and modules. Isolated, hook_q, hook_k and hook_v "
        "give its attention what it is fed",
        packages=("transformer-lens", "torch", "transformers", "tokenizers", "numpy", "safetensors"),
        propagated=model.propagated if folder.kind == "whole" else None,
        isolated=model.isolated,
        propagated_kinds=WHOLE,
        isolated_kinds=UNITS,
    )

"""transformers' GPT-2 once more, with PyTorch's scaled_dot_product_attention in the place of eager attention."""

import numpy as np
import torch
from models import open_model
from recorder import Recorder, ensure, forward
from transformers import DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from witnesses.common import WHOLE, Fed, Folder, Sites, Witness

NOT_SHOWN = ("h.attn.scores", "h.attn.probs")


class SdpaRecorder(Recorder):
    """The recorder of `hf`, listening where transformers hands q, k and v to sdpa_attention_forward."""

    heard = 0  # how many layers came by

    def __enter__(self) -> "SdpaRecorder":
        super().__enter__()
        # Under its own name, so that transformers makes the mask that belongs to it.
        ALL_ATTENTION_FUNCTIONS["sdpa"] = self.attend_sdpa
        return self

    def __exit__(self, *error: object) -> None:
        ALL_ATTENTION_FUNCTIONS["sdpa"] = sdpa_attention_forward
        super().__exit__(*error)

    def attend_sdpa(self, module, query, key, value, attention_mask, **options):
        name = f"h.{module.layer_idx}.attn"
        if name in self.fed:
            query, key, value = self.fed[name]
        else:
            self.sites[f"{name}.cache.k"] = key.transpose(1, 2).contiguous()
            self.sites[f"{name}.cache.v"] = value.transpose(1, 2).contiguous()
        self.heard += 1
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)


class Sdpa:
    def __init__(self, folder: Folder):
        self.net = open_model(folder.path).witness
        self.net.set_attn_implementation("sdpa")
        ensure(self.net.config._attn_implementation == "sdpa", "the attention is sdpa")

    def call(self, given: torch.Tensor, cache: DynamicCache, fed: Fed) -> Sites:
        with SdpaRecorder(self.net, fed) as recorder:
            forward(self.net, given, cache)
        ensure(recorder.heard == self.net.config.n_layer, "every layer went through sdpa")
        return {site: tensor.numpy() for site, tensor in recorder.sites.items() if site}

    def propagated(self, calls: list[np.ndarray]) -> list[Sites]:
        cache = DynamicCache(config=self.net.config)
        return [self.call(torch.from_numpy(tokens), cache, {}) for tokens in calls]

    def isolated(self, fed: Fed) -> Sites:
        """Attention alone: every other module is that of `hf`."""
        attentions = {name: heads for name, heads in fed.items() if name.endswith(".attn")}
        blocks = getattr(self.net, "transformer", self.net).h
        with SdpaRecorder(self.net, attentions) as recorder:
            for name, (query, key, _) in attentions.items():
                batch, heads, new, size = query.shape
                # On any stream: the recorder replaces what the module makes of it.
                stream, mask = torch.zeros(batch, new, heads * size), sdpa_mask(new, key.shape[2])
                blocks[int(name.split(".")[1])].attn(stream, attention_mask=mask)
        return {site: tensor.numpy() for site, tensor in recorder.sites.items() if site.endswith("attn.out")}


def sdpa_mask(new: int, total: int) -> torch.Tensor | None:
    """As transformers makes it: none where everything is seen, or where PyTorch's own is_causal says the same."""
    return None if new in (1, total) else torch.ones(1, 1, new, total, dtype=torch.bool).tril(total - new)


def open_witness(folder: Folder) -> Witness:
    torch.set_num_threads(1)
    model = Sdpa(folder)
    return Witness(
        label="kernels",
        model_code="Hugging Face transformers, as `hf`, but for attention: PyTorch's scaled_dot_product_attention",
        kernels="PyTorch, as `hf`, with its fused attention for CPUs",
        how="recorded as `hf` is. Isolated, its attention alone: the other modules are those of `hf`",
        packages=("torch", "transformers", "tokenizers", "numpy", "safetensors"),
        not_shown=dict.fromkeys(NOT_SHOWN, "inside of the fused kernel"),
        propagated=model.propagated if folder.kind == "whole" else None,
        isolated=model.isolated,
        propagated_kinds=[kind for kind in WHOLE if kind not in NOT_SHOWN],
        isolated_kinds=["h.attn.out"],
    )

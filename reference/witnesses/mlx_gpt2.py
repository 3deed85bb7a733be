"""mlx-lm's own GPT-2 on MLX, both as their packages are."""

from unittest import mock

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models import cache, gpt2

from witnesses.common import UNITS, WHOLE, Fed, Folder, Recorder, Sites, Witness, run_units, tap

NOT_SHOWN = ("h.attn.scores", "h.attn.probs")


def settle(values: mx.array) -> tuple[mx.array, np.ndarray]:
    mx.eval(values)
    return values, np.array(values)


class Mlx:
    def __init__(self, folder: Folder):
        mx.set_default_device(mx.cpu)
        config = folder.config
        names = ("n_embd", "n_head", "n_layer", "n_positions", "layer_norm_epsilon")
        fields = {name: config[name] for name in names} | {"model_type": "gpt2", "n_ctx": config["n_positions"]}
        is_whole = folder.kind == "whole"
        self.model = gpt2.Model(gpt2.ModelArgs(**fields, vocab_size=config["vocab_size"] if is_whole else 1))
        weights = {name: mx.array(tensor) for name, tensor in folder.tensors().items()}
        self.model.load_weights(list(self.model.sanitize(weights).items()), strict=is_whole)
        self.heads = config["n_head"]
        self.recorder = Recorder(settle)
        tap(self.model.model, self.recorder)

    def listening(self):
        """Taps on the two functions that their modules look up when they are called; each calls theirs."""
        theirs, gelu, recorder = gpt2.scaled_dot_product_attention, nn.gelu_approx, self.recorder
        taps = mock.patch.multiple(
            gpt2,
            scaled_dot_product_attention=lambda q, k, v, **options: theirs(*recorder.attend(q, k, v), **options),
        )
        act = mock.patch.object(nn, "gelu_approx", lambda x: recorder.record(f"{recorder.block}.mlp.act", gelu(x)))
        return taps, act

    def propagated(self, calls: list[np.ndarray]) -> list[Sites]:
        caches = [cache.KVCache() for _ in self.model.layers]
        attention, act = self.listening()
        sites = []
        with attention, act:
            for tokens in calls:
                logits = self.model(mx.array(tokens), caches)
                self.recorder.record("logits", logits)
                sites.append(self.recorder.take())
        return sites

    def isolated(self, fed: Fed) -> Sites:
        array = lambda tensor: mx.array(tensor.contiguous().numpy())  # noqa: E731
        attention, act = self.listening()
        with attention, act:
            return run_units(fed, self.model.model, self.recorder, array, self.attend, self.heads)

    def attend(self, layer: int, query: mx.array, *_: mx.array) -> None:
        """Their attention module on any stream: the recorder replaces what it makes of it."""
        batch, heads, new, size = query.shape
        # "causal" is the mask that their model hands over; its last row sees everything.
        self.model.layers[layer].attn(mx.zeros((batch, new, heads * size)), "causal" if new > 1 else None)


def open_witness(folder: Folder) -> Witness:
    model = Mlx(folder)
    return Witness(
        label="model",
        model_code="mlx-lm, mlx_lm/models/gpt2.py",
        kernels="MLX's CPU backend",
        how="our weights through its own sanitize and load_weights; its own KVCache; taps in the place of its "
        "modules and around its scaled_dot_product_attention and gelu_approx",
        packages=("mlx", "mlx-cpu", "mlx-lm", "numpy", "torch"),
        not_shown=dict.fromkeys(NOT_SHOWN, "inside of mx.fast.scaled_dot_product_attention"),
        propagated=model.propagated if folder.kind == "whole" else None,
        isolated=model.isolated,
        propagated_kinds=[kind for kind in WHOLE if kind not in NOT_SHOWN],
        isolated_kinds=[kind for kind in UNITS if kind not in NOT_SHOWN],
    )

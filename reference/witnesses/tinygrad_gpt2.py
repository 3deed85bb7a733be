"""tinygrad's own examples/gpt2.py, unmodified, from a checkout; nothing of it is copied here."""

import importlib
import os
import subprocess
import sys
from unittest import mock

import numpy as np
from traces import Refusal

from witnesses.common import UNITS, WHOLE, Fed, Folder, Recorder, Sites, Tap, Witness, run_units, tap

COMMIT = "a9069c177a9da9cca18593edf55acd2e6073cca6"
TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


def check_checkout(path) -> None:
    """The pinned commit, and nothing changed in it."""
    if path is None:
        raise Refusal(f"tinygrad: --tinygrad PATH is wanted, a checkout of tinygrad/tinygrad at {COMMIT}")
    git = ["git", "-C", str(path)]
    commands = ([*git, "rev-parse", "HEAD"], [*git, "status", "--porcelain", "--untracked-files=no"])
    said = [subprocess.run(command, capture_output=True, text=True, check=False) for command in commands]
    if any(result.returncode for result in said) or [result.stdout.strip() for result in said] != [COMMIT, ""]:
        raise Refusal(f"tinygrad: {path} is not an unchanged checkout of commit {COMMIT}")


def settle(values) -> tuple:
    """Their tensors are plans: computed here, so that what follows reads the numbers that were recorded."""
    values = values.contiguous().realize()
    return values, values.numpy()


class Tinygrad:
    def __init__(self, folder: Folder):
        config = folder.config
        check_checkout(folder.tinygrad)
        # Read when their modules are first imported.
        os.environ |= {"DEV": "CPU", "MAX_CONTEXT": str(config["n_positions"]), "JIT": "0", "BEAM": "0"}
        sys.path.insert(0, str(folder.tinygrad))
        gpt2, tinygrad, state = map(importlib.import_module, ("examples.gpt2", "tinygrad", "tinygrad.nn.state"))
        self.tinygrad, self.heads = tinygrad, config["n_head"]

        self.model = gpt2.Transformer(
            config["n_embd"], config["n_head"], config["n_layer"], config["layer_norm_epsilon"],
            config["vocab_size"] if folder.kind == "whole" else 1, config["n_positions"],
        )  # fmt: skip
        tensors = folder.tensors()
        if folder.kind == "whole":
            tensors.setdefault("lm_head.weight", tensors["wte.weight"])
        weights = {
            name: tinygrad.Tensor(np.ascontiguousarray(tensor.T if name.endswith(TRANSPOSED) else tensor))
            for name, tensor in tensors.items()
        }
        state.load_state_dict(self.model, weights, strict=folder.kind == "whole", verbose=False)
        self.recorder = Recorder(settle)
        tap(self.model, self.recorder)
        if folder.kind == "whole":
            self.model.lm_head = Tap(self.model.lm_head, "logits", self.recorder)

    def listening(self):
        """Taps on the three methods of Tensor that attention and the activation go through; each calls theirs."""
        tensor, recorder = self.tinygrad.Tensor, self.recorder
        theirs = {name: getattr(tensor, name) for name in ("scaled_dot_product_attention", "softmax", "gelu")}

        def attention(query, key, value, mask=None, **options):
            return theirs["scaled_dot_product_attention"](*recorder.attend(query, key, value), mask, **options)

        def softmax(scores, *arguments, **options):
            scores = recorder.record(f"{recorder.block}.attn.scores", scores)
            probabilities = theirs["softmax"](scores, *arguments, **options)
            return recorder.record(f"{recorder.block}.attn.probs", probabilities)

        def gelu(x):
            return recorder.record(f"{recorder.block}.mlp.act", theirs["gelu"](x))

        return mock.patch.multiple(tensor, scaled_dot_product_attention=attention, softmax=softmax, gelu=gelu)

    def forget(self) -> None:
        for block in self.model.h:
            vars(block.attn.module).pop("cache_kv", None)

    def propagated(self, calls: list[np.ndarray]) -> list[Sites]:
        self.forget()
        sites, past = [], 0
        with self.listening():
            for tokens in calls:
                # A position as an int is one of those that their Variable may be bound to.
                self.model.forward(self.tinygrad.Tensor(tokens.astype(np.int32)), past)
                sites.append(self.recorder.take())
                past += tokens.shape[1]
        return sites

    def isolated(self, fed: Fed) -> Sites:
        array = lambda tensor: self.tinygrad.Tensor(tensor.contiguous().numpy())  # noqa: E731
        with self.listening():
            return run_units(fed, self.model, self.recorder, array, self.attend, self.heads)

    def attend(self, layer: int, query, key, value) -> None:
        """Their attention module on any stream: the recorder replaces what it makes of it."""
        self.forget()
        (batch, heads, new, size), total = query.shape, key.shape[2]
        past, tensor = total - new, self.tinygrad.Tensor
        # As their Transformer.forward makes it.
        mask = tensor.full((1, 1, new, total), float("-inf")).triu(past + 1) if new > 1 else None
        self.model.h[layer].attn(tensor.zeros(batch, new, heads * size).contiguous(), past, mask)


def open_witness(folder: Folder) -> Witness:
    model = Tinygrad(folder)
    compiler = subprocess.run([os.environ.get("CC", "clang"), "--version"], capture_output=True, text=True, check=True)
    return Witness(
        label="model",
        model_code="tinygrad, examples/gpt2.py, unmodified",
        kernels="tinygrad's, generated for its CPU device and compiled by clang",
        how="our weights as a state dict; MAX_CONTEXT raised; taps in the place of its modules and around "
        "Tensor.scaled_dot_product_attention, softmax and gelu. Each tapped tensor is computed where it is tapped, "
        "so that no kernel is fused across a tap",
        packages=("numpy", "torch"),
        versions={"tinygrad": COMMIT, "clang": compiler.stdout.splitlines()[0]},
        propagated=model.propagated if folder.kind == "whole" else None,
        isolated=model.isolated,
        propagated_kinds=WHOLE,
        isolated_kinds=UNITS,
    )

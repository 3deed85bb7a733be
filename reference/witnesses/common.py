"""What every witness has, and the taps on models that others wrote."""

import json
import pathlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from traces import ATTENTION, CACHE, MLP, Refusal

# The kinds of site of one call; what a witness shows is taken out of these.
NORMS = ["h.ln_1", "h.ln_2", "ln_f"]
WHOLE = ["embed", *ATTENTION, *MLP, "h", "ln_f", "logits"]
# A cache alone is a copy: there is nothing to witness.
UNITS = [kind for kind in [*ATTENTION, *MLP, "ln_f"] if kind not in CACHE]

Sites = dict[str, np.ndarray]
# What each module is fed in an isolated run, from recorder.isolated_inputs: tensors, and for `h.i.attn` a tuple
# of q, k and v, [B, H, S, D].
Fed = dict[str, torch.Tensor | tuple[torch.Tensor, ...]]


@dataclass
class Witness:
    """An implementation with a model's weights, and what is to be said about it.

    `propagated` runs calls on tokens [B, T] through one cache; `isolated` runs every module of `Fed` on its own
    input. Either may be absent. Both give sites in the order and the shapes of docs/ARCHITECTURE.md.
    """

    label: str  # "model": a complete model by others; "kernels": others' kernels, put together by us or by export
    model_code: str
    kernels: str
    how: str
    packages: tuple[str, ...]  # whose versions count
    versions: dict[str, str] = field(default_factory=dict)  # what is no package
    not_shown: dict[str, str] = field(default_factory=dict)  # kinds of site, and why
    propagated: Callable[[list[np.ndarray]], list[Sites]] | None = None
    isolated: Callable[[Fed], Sites] | None = None
    propagated_kinds: list[str] = field(default_factory=list)
    isolated_kinds: list[str] = field(default_factory=list)


@dataclass
class Folder:
    """A model folder, read without anybody's library but safetensors."""

    path: pathlib.Path
    kind: str  # "whole" or "attention-half"
    tinygrad: pathlib.Path | None = None

    @property
    def config(self) -> dict:
        defaults = {"layer_norm_epsilon": 1e-5, "n_inner": None, "activation_function": "gelu_new"}
        config = defaults | json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        if config["activation_function"] not in ("gelu_new", "gelu_pytorch_tanh"):
            raise Refusal(f"its activation is {config['activation_function']}; this witness knows GELU's tanh form")
        if (config["n_inner"] or 4 * config["n_embd"]) != 4 * config["n_embd"]:
            raise Refusal(f"its n_inner is {config['n_inner']}; this witness knows 4 * n_embd")
        return config

    def tensors(self) -> Sites:
        """Without masks, and of a half without what is left over of its MLP."""
        tensors = {
            name.removeprefix("transformer."): tensor.astype(np.float32)
            for name, tensor in load_file(self.path / "model.safetensors").items()
            if not name.endswith((".attn.bias", ".attn.masked_bias"))
        }
        if self.kind == "whole":
            return tensors
        return {name: tensor for name, tensor in tensors.items() if ".mlp." not in name}


def split_heads(projected: np.ndarray, heads: int) -> Sites:
    """q, k and v, [B, T, H, D], out of c_attn's [B, T, 3C]."""
    thirds = np.split(projected, 3, axis=-1)
    return {letter: third.reshape(*third.shape[:2], heads, -1) for letter, third in zip("qkv", thirds, strict=True)}


class Recorder:
    """What the taps tell, in an implementation's own arrays.

    `settle` computes an array, where it was only planned, and returns it with its numbers: what is kept is what
    the next module reads.
    """

    def __init__(self, settle: Callable[[Any], tuple[Any, np.ndarray]]):
        self.settle, self.sites, self.block, self.fed = settle, {}, "", None

    def record(self, site: str, values: Any) -> Any:
        values, self.sites[site] = self.settle(values)
        return values

    def attend(self, *heads: Any) -> tuple[Any, ...]:
        """Of q [B, H, T, D] and k, v [B, H, S, D] on their way into attention; what is fed replaces them."""
        if self.fed is not None:
            return self.fed
        settled, numbers = zip(*map(self.settle, heads), strict=True)
        query, key, value = (array.swapaxes(1, 2) for array in numbers)
        new, attn = query.shape[1], f"{self.block}.attn"
        self.sites |= {f"{attn}.q": query, f"{attn}.k": key[:, -new:], f"{attn}.v": value[:, -new:]}
        self.sites |= {f"{attn}.cache.k": key, f"{attn}.cache.v": value}
        return settled

    def take(self) -> Sites:
        """What was recorded since the last time."""
        sites, self.sites = self.sites, {}
        return sites


class Tap:
    """Stands in a module's place, calls it, and records what it gives."""

    def __init__(self, module: Any, site: str, recorder: Recorder, before: str | None = None):
        self.module, self.site, self.recorder, self.before = module, site, recorder, before

    def __call__(self, x: Any, *rest: Any, **named: Any) -> Any:
        if self.site.startswith("h."):
            self.recorder.block = ".".join(self.site.split(".")[:2])
        if self.before is not None:
            x = self.recorder.record(self.before, x)
        return self.recorder.record(self.site, self.module(x, *rest, **named))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)


def tap(trunk: Any, recorder: Recorder) -> None:
    """Taps at every module of a model that names them as GPT-2 does. The activation and attention have none here."""
    for i, block in enumerate(trunk.h):
        block.mlp.c_fc = Tap(block.mlp.c_fc, f"h.{i}.mlp.fc", recorder)
        for module, site in {"ln_1": "ln_1", "attn": "attn.out", "ln_2": "ln_2", "mlp": "mlp.out"}.items():
            setattr(block, module, Tap(getattr(block, module), f"h.{i}.{site}", recorder))
    trunk.h = [Tap(block, f"h.{i}", recorder, None if i else "embed") for i, block in enumerate(trunk.h)]
    trunk.ln_f = Tap(trunk.ln_f, "ln_f", recorder)


def run_units(fed: Fed, trunk: Any, recorder: Recorder, array: Callable, attend: Callable, heads: int) -> Sites:
    """Every module of a tapped model on its own input; `attend(layer, q, k, v)` runs a layer's attention module."""
    sites = {}
    for name, given in fed.items():
        _, *rest = name.split(".")
        block = trunk.h[int(rest[0])] if rest else None
        match ".".join(rest[1:]):
            case "":
                trunk.ln_f(array(given))
            case "attn.c_attn":
                _, projected = recorder.settle(block.attn.c_attn(array(given)))
                sites |= {f"h.{rest[0]}.attn.{letter}": part for letter, part in split_heads(projected, heads).items()}
            case "attn":
                recorder.fed = tuple(map(array, given))
                attend(int(rest[0]), *recorder.fed)
                recorder.fed = None
            case module:
                getattr(block, module)(array(given))
    return sites | recorder.take()

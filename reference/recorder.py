"""Runs Hugging Face's modules and listens at every site; propagated, or each module on the witness's own input."""

import re
from functools import partial
from unittest import mock

import torch
from torch import nn
from traces import Tensors
from transformers import DynamicCache, GPT2LMHeadModel
from transformers.models.gpt2 import modeling_gpt2

eager_attention_forward = modeling_gpt2.eager_attention_forward

# Module -> the site that its output is; "" is the block itself. c_attn and the attention function have several.
SITES = {
    "ln_1": "ln_1", "attn": "attn.out", "ln_2": "ln_2", "mlp.c_fc": "mlp.fc", "mlp.act": "mlp.act", "mlp": "mlp.out",
    "": "", "ln_f": "ln_f", "lm_head": "logits",
}  # fmt: skip
# What the attention function reads.
HEADS = ("attn.q", "attn.cache.k", "attn.cache.v")


def causal_mask(new: int, total: int, dtype: torch.dtype) -> torch.Tensor:
    """[1, 1, T, S] as transformers builds it for eager attention: row t sees the first S - T + t + 1 places."""
    return torch.full((1, 1, new, total), torch.finfo(dtype).min, dtype=dtype).triu(1 + total - new)


def forward(net: nn.Module, given: torch.Tensor, cache: DynamicCache) -> None:
    """One call on tokens [B, T] or, for the attention half, on its stream [B, T, C]; the recorder has the results."""
    if isinstance(net, GPT2LMHeadModel):
        net(given, past_key_values=cache, use_cache=True)
        return
    stream = given.to(net.dtype)
    # A GPT2Attention driven alone gets no mask from anybody.
    mask = causal_mask(stream.shape[1], cache.get_seq_length() + stream.shape[1], net.dtype)
    for block in net.h:
        attended, _ = block.attn(block.ln_1(stream), past_key_values=cache, attention_mask=mask)
        stream = attended + stream
        block.ln_2(stream)
    net.ln_f(stream)


def ensure(holds: bool, what: str) -> None:
    """A belief about transformers on which the traces rest; if it fails, these programs are wrong."""
    if not holds:
        raise AssertionError(what)


class Recorder:
    """Records every site of the calls made while it is entered, heads as [B, T, H, D].

    `fed` maps modules to inputs that replace their own: that is what makes a run isolated. An attention
    module's entry replaces q, k and v on their way into the attention function.
    """

    def __init__(self, net: nn.Module, fed: dict[str, torch.Tensor | tuple]):
        self.net, self.fed, self.sites = net, fed, {}

    def __enter__(self) -> "Recorder":
        self.handles = []
        for path, module in self.net.named_modules():
            name = path.removeprefix("transformer.")
            self.handles.append(module.register_forward_pre_hook(partial(self.enter, name)))
            self.handles.append(module.register_forward_hook(partial(self.leave, name)))
        # GPT2Attention looks this name up at every call, and eager masks are kept (a registered function's are not).
        self.patch = mock.patch.object(modeling_gpt2, "eager_attention_forward", self.attend)
        self.patch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.patch.stop()
        for handle in self.handles:
            handle.remove()

    def enter(self, name: str, module: nn.Module, given: tuple) -> tuple | None:
        """Before a module runs; what is returned replaces its arguments."""
        if name == "h.0.ln_1":
            self.sites["embed"] = given[0]
        if name.endswith(".ln_1"):
            self.stream = given[0]
        if name.endswith(".ln_2") and not self.fed:
            attended = self.sites[name.replace("ln_2", "attn.out")]
            ensure(torch.equal(given[0], self.stream + attended), f"{name} reads x + attn.out")
        is_replaced = name in self.fed and not name.endswith(".attn")
        return (self.fed[name], *given[1:]) if is_replaced else None

    def leave(self, name: str, module: nn.Module, given: tuple, output: torch.Tensor | tuple) -> None:
        """After a module ran."""
        output = output[0] if isinstance(output, tuple) else output
        block, inner = re.fullmatch(r"(h\.\d+\.?)?(.*)", name).groups(default="")
        if inner == "attn.c_attn":
            self.split_heads(f"{block}attn", output)
        elif inner in SITES:
            self.sites[f"{block}{SITES[inner]}"] = output

    def split_heads(self, name: str, output: torch.Tensor) -> None:
        """q, k and v as GPT2Attention takes them from c_attn's output; `attend` sees whether it did."""
        for letter, third in zip("qkv", output.split(self.net.config.n_embd, dim=2), strict=True):
            self.sites[f"{name}.{letter}"] = third.view(*third.shape[:2], self.net.config.n_head, -1).contiguous()

    def attend(self, module, query, key, value, attention_mask, scaling, **options):
        """Stands in for eager_attention_forward: records its arguments, calls it, checks what it did."""
        name = f"h.{module.layer_idx}.attn"
        query, key, value = self.fed.get(name, (query, key, value))
        new, total = query.shape[2], key.shape[2]
        if not self.fed:
            for letter, heads in zip("qkv", (query, key, value), strict=True):
                is_third = torch.equal(self.sites[f"{name}.{letter}"], heads[:, :, -new:].transpose(1, 2))
                ensure(is_third, f"{name}.{letter} is a third of c_attn's output")
        mask = causal_mask(new, total, query.dtype)
        ensure(torch.equal(attention_mask, mask.expand_as(attention_mask)), f"{name} has the causal mask")

        scores = torch.matmul(query, key.transpose(-1, -2)) * scaling
        scores = scores.masked_fill(mask != 0, -torch.inf)
        output, probs = eager_attention_forward(module, query, key, value, attention_mask, scaling, **options)
        ensure(torch.equal(scores.softmax(-1), probs), f"{name}.probs is softmax of the recorded scores")
        ensure(not (probs * (mask != 0)).any(), f"{name}.probs is 0 on the future")

        self.sites[f"{name}.cache.k"] = key.transpose(1, 2).contiguous()
        self.sites[f"{name}.cache.v"] = value.transpose(1, 2).contiguous()
        self.sites[f"{name}.scores"], self.sites[f"{name}.probs"] = scores, probs
        return output, probs


def isolated_inputs(sites: Tensors, call: int, layers: int, dtype: torch.dtype) -> dict[str, torch.Tensor | tuple]:
    """What each module is fed so that its error is its own: the float32 witness's tensors, upcast for the truth.

    A module whose input was not stored keeps its own; no site of it is stored either.
    """
    fed, stream = {}, sites[f"{call}/embed"]
    for i in range(layers):
        at = {site: sites.get(f"{call}/h.{i}.{site}") for site in ("ln_1", *HEADS, "attn.out", "ln_2")}
        after = stream + at["attn.out"]  # in float32, as the witness added it
        inputs = {"ln_1": stream, "attn.c_attn": at["ln_1"], "ln_2": after, "mlp": at["ln_2"]}
        fed |= {f"h.{i}.{module}": tensor.to(dtype) for module, tensor in inputs.items() if tensor is not None}
        fed[f"h.{i}.attn"] = tuple(at[site].to(dtype).transpose(1, 2) for site in HEADS)
        stream = sites.get(f"{call}/h.{i}", after)
    return fed | {"ln_f": stream.to(dtype)}


def run(net: nn.Module, calls: list[torch.Tensor], witness: Tensors | None = None) -> Tensors:
    """Every site of every call, `<call>/<site>`. With the witness's sites, each module runs on those (isolated)."""
    cache, recorded = DynamicCache(config=net.config), {}
    for call, given in enumerate(calls):
        fed = {} if witness is None else isolated_inputs(witness, call, net.config.n_layer, net.dtype)
        with Recorder(net, fed) as recorder:
            forward(net, given, cache)
        recorded |= {f"{call}/{site}": tensor for site, tensor in recorder.sites.items()}
    return recorded

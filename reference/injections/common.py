"""What injections have in common."""

from collections.abc import Callable
from types import MethodType

from torch import nn
from transformers import GPT2LMHeadModel

Net = GPT2LMHeadModel
Injection = Callable[[Net], object]


def replace(module: nn.Module, forward: Callable) -> None:
    module.forward = MethodType(forward, module)


def norms(net: Net) -> list[nn.LayerNorm]:
    return [norm for block in net.transformer.h for norm in (block.ln_1, block.ln_2)] + [net.transformer.ln_f]

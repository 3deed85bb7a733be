"""transformers' modules, exported one by one as an ONNX graph, on ONNX Runtime's kernels."""

import pathlib
import tempfile

import numpy as np
import onnxruntime
import torch
from models import open_model
from recorder import causal_mask, eager_attention_forward
from torch import nn

from witnesses.common import UNITS, Fed, Folder, Sites, Witness, split_heads


class Units(nn.Module):
    """Every module of `fed` on an input of its own, in one graph."""

    def __init__(self, net: nn.Module, fed: Fed):
        super().__init__()
        self.trunk, self.fed = getattr(net, "transformer", net), fed

    def forward(self, given: list[torch.Tensor]) -> list[torch.Tensor]:
        return list(self.named(given).values())

    def named(self, given: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        rest, outputs = iter(given), {}
        for name, like in self.fed.items():
            outputs |= self.unit(name, *[next(rest) for _ in (like if isinstance(like, tuple) else (like,))])
        return outputs

    def unit(self, name: str, x: torch.Tensor, *more: torch.Tensor) -> dict[str, torch.Tensor]:
        module = self.trunk.get_submodule(name)
        if name.endswith(".mlp"):
            fc = module.c_fc(x)
            act = module.act(fc)
            return {f"{name}.fc": fc, f"{name}.act": act, f"{name}.out": module.c_proj(act)}
        if not name.endswith(".attn"):
            return {name: module(x)}
        key, value = more
        mask = causal_mask(x.shape[2], key.shape[2], x.dtype)
        heads, probs = eager_attention_forward(module, x, key, value, mask, module.scaling)
        # The same product as inside of that function; the graph keeps one of the two.
        scores = torch.matmul(x, key.transpose(-1, -2)) * module.scaling
        out = module.c_proj(heads.reshape(*heads.shape[:2], -1))
        return {f"{name}.scores": scores, f"{name}.probs": probs, f"{name}.out": out}


class OnnxRuntime:
    def __init__(self, folder: Folder):
        self.net, self.heads = open_model(folder.path).witness, folder.config["n_head"]

    def isolated(self, fed: Fed) -> Sites:
        flat = [x for given in fed.values() for x in (given if isinstance(given, tuple) else (given,))]
        flat = [x.contiguous() for x in flat]
        units = Units(self.net, fed).eval()
        with tempfile.TemporaryDirectory() as exported:
            path = pathlib.Path(exported) / "units.onnx"
            torch.onnx.export(units, (flat,), dynamo=True, verbose=False).save(path, external_data=True)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = 3
            session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
            names = [given.name for given in session.get_inputs()]
            outputs = session.run(None, dict(zip(names, (x.numpy() for x in flat), strict=True)))
        sites = {}
        for site, output in zip(units.named(flat), outputs, strict=True):
            if site.endswith("attn.c_attn"):
                attn = site.removesuffix(".c_attn")
                sites |= {f"{attn}.{letter}": third for letter, third in split_heads(output, self.heads).items()}
            elif site.endswith("attn.scores"):
                is_future = causal_mask(*output.shape[2:], torch.float32)[0, 0].numpy() != 0
                sites[site] = np.where(is_future, np.float32(-np.inf), output)
            else:
                sites[site] = output
        return sites


def open_witness(folder: Folder) -> Witness:
    return Witness(
        label="kernels",
        model_code="Hugging Face's modules, exported by torch.onnx",
        kernels="ONNX Runtime, CPUExecutionProvider, with its default graph optimisations",
        how="one graph a call, every module on its own input, one thread; masks and head splitting are ours",
        packages=("onnxruntime", "onnx", "onnxscript", "torch", "transformers", "numpy"),
        isolated=OnnxRuntime(folder).isolated,
        isolated_kinds=UNITS,
    )

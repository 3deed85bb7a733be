"""Writes a model folder as ONNX, for onnx.py."""

import pathlib
import tempfile

import onnxruntime
import torch
from torch.export import Dim
from transformers import AttentionInterface, GPT2LMHeadModel


def attend(module, query, key, value, attention_mask, scaling, call, **options):
    """What transformers calls for attention: the new keys and values go in, the whole cache comes out."""
    batch, heads, new, size = query.shape
    flat = [third.transpose(1, 2).reshape(batch, new, heads * size) for third in (query, key, value)]
    past = call["caches"][module.layer_idx]
    output, *present = torch.onnx.ops.symbolic_multi_out(
        "com.microsoft::GroupQueryAttention",
        (*flat, *past, call["last"], call["total"]),
        attrs={"num_heads": heads, "kv_num_heads": heads, "scale": float(scaling)},
        dtypes=(torch.float32,) * 3,
        shapes=(flat[0].shape, past[0].shape, past[1].shape),
        version=1,
    )
    call["present"].append(present)
    return output.view(batch, new, heads, size), None


class Step(torch.nn.Module):
    """One call of the model; what attention needs beside q, k and v travels in `call`."""

    def __init__(self, folder: pathlib.Path):
        super().__init__()
        self.net = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
        self.net.set_attn_implementation("onnxruntime")

    def forward(self, ids, places, last, total, caches):
        call = {"last": last, "total": total, "caches": caches, "present": []}
        stream = self.net.transformer(ids, position_ids=places, use_cache=False, call=call).last_hidden_state
        # As a product, so that the head's weights are stored transposed; the Linear would become a Gemm that does it.
        return stream[:, -1] @ self.net.lm_head.weight.T, call["present"]


def export(folder: pathlib.Path, path: pathlib.Path) -> None:
    """transformers' model as ONNX, with ONNX Runtime's own attention operator in the place of transformers' function.

    Exported as it is, attention would be a dozen operators with a mask of their own, and every step would copy the
    keys and values. onnxruntime.transformers' gpt2 optimizer fails on what this exporter writes.
    """
    AttentionInterface.register("onnxruntime", attend)
    step = Step(folder)
    config, batch, new, room = step.net.config, 2, 3, 7  # any sizes that differ; the graph is for all
    shape = (batch, config.n_head, room, config.n_embd // config.n_head)
    # A tensor each: given the same one twice, torch.export makes one input of the two, and all layers share a cache.
    caches = [(torch.zeros(shape), torch.zeros(shape)) for _ in range(config.n_layer)]
    places = torch.arange(new).repeat(batch, 1)
    last, total = torch.full((batch,), new - 1, dtype=torch.int32), torch.tensor(new, dtype=torch.int32)
    rows, columns, buffer = {0: Dim("batch")}, {1: Dim("new")}, {2: Dim("room")}
    torch.onnx.export(
        step,
        (torch.zeros_like(places), places, last, total, caches),
        dynamo=True,
        dynamic_shapes=(rows | columns, rows | columns, rows, {}, [(rows | buffer,) * 2] * config.n_layer),
        verbose=False,
    ).save(path, external_data=True)


def convert(folder: pathlib.Path, out: pathlib.Path) -> None:
    """Exports, and stores what ORT_ENABLE_ALL makes of it: the session that is measured need not do it again."""
    with tempfile.TemporaryDirectory(dir=out.parent) as exported:
        path = pathlib.Path(exported) / "model.onnx"
        export(folder, path)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.optimized_model_filepath = str(out / "model.onnx")
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "model.onnx.data")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])

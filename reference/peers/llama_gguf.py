"""Writes a model folder as GGUF, for llama.py."""

import pathlib

import gguf
import numpy
from safetensors.numpy import load_file

from peers.common import Refusal, read_config

GELU = ("gelu_new", "gelu_pytorch_tanh")  # the only ones that llama.cpp's gpt2 computes


def convert(folder: pathlib.Path, out: pathlib.Path) -> None:
    """The weights in float32 under llama.cpp's names; no vocabulary, because tokens go in as ids."""
    config = read_config(folder)
    if config["activation_function"] not in GELU:
        raise Refusal(f"llama.cpp's gpt2 has no {config['activation_function']}")
    for field in ("scale_attn_by_inverse_layer_idx", "add_cross_attention"):
        if config.get(field):
            raise Refusal(f"llama.cpp's gpt2 has no {field}")
    writer = gguf.GGUFWriter(out / "model.gguf", "gpt2")
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_block_count(config["n_layer"])
    writer.add_feed_forward_length(config["n_inner"] or 4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(config["vocab_size"])
    tensors = {name.removeprefix("transformer."): t for name, t in load_file(folder / "model.safetensors").items()}
    for theirs, ours, is_transposed in gguf_names(config, tensors):
        tensor = tensors[ours].astype(numpy.float32)
        writer.add_tensor(theirs, numpy.ascontiguousarray(tensor.T if is_transposed else tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_names(config: dict, tensors: dict) -> list[tuple[str, str, bool]]:
    """(llama.cpp's name, Hugging Face's, whether it is stored the other way round: a Conv1D's [in, out])"""
    modules = {
        "attn_norm": "ln_1", "attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj",
        "ffn_norm": "ln_2", "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj",
    }  # fmt: skip
    names = [("token_embd.weight", "wte.weight", False), ("position_embd.weight", "wpe.weight", False)]
    for layer in range(config["n_layer"]):
        for theirs, ours in modules.items():
            for part in ("weight", "bias"):
                is_transposed = part == "weight" and ".c_" in ours
                names.append((f"blk.{layer}.{theirs}.{part}", f"h.{layer}.{ours}.{part}", is_transposed))
    names += [(f"output_norm.{part}", f"ln_f.{part}", False) for part in ("weight", "bias")]
    if "lm_head.weight" in tensors and not config.get("tie_word_embeddings", True):
        names.append(("output.weight", "lm_head.weight", False))
    return names

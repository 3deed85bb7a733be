"""Opens a model folder: Hugging Face's GPT-2, whole or its attention half, in float32 and in float64."""

import copy
import json
import pathlib
from dataclasses import dataclass

import safetensors
import torch
from safetensors.torch import load_file
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from torch import nn
from traces import Refusal
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Model


@dataclass
class Model:
    name: str
    kind: str  # "whole" or "attention-half"
    folder: pathlib.Path
    witness: nn.Module  # float32
    truth: nn.Module  # the same modules in float64
    tokenizer: Tokenizer | None

    @property
    def config(self) -> GPT2Config:
        return self.witness.config

    @property
    def weights(self) -> pathlib.Path:
        return self.folder / "model.safetensors"


def open_config(folder: pathlib.Path) -> GPT2Config:
    path = folder / "config.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        config = GPT2Config(**fields, attn_implementation="eager")
    except (ValueError, TypeError) as error:
        raise Refusal(f"{path}: {str(error).splitlines()[0]}") from error
    refused = {
        "model_type": fields.get("model_type", "gpt2") != "gpt2",
        "reorder_and_upcast_attn": config.reorder_and_upcast_attn,
        "add_cross_attention": config.add_cross_attention,
        "scale_attn_weights": not config.scale_attn_weights,
    }
    for field, is_refused in refused.items():
        if is_refused:
            raise Refusal(f"{path}: {field}: {json.dumps(fields[field])} is not supported")
    if config.n_embd % config.n_head:
        raise Refusal(f"{path}: n_head {config.n_head} does not divide n_embd {config.n_embd}")
    return config


def kind_of(path: pathlib.Path, layers: int) -> str:
    """What the weights file holds; anything between the whole model and its attention half is refused."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            present = {name.removeprefix("transformer.") for name in file.keys()}
    except safetensors.SafetensorError as error:
        raise Refusal(f"{path}: {error}") from error
    rest = {"wte.weight"} | {f"h.{i}.mlp.{name}.weight" for i in range(layers) for name in ("c_fc", "c_proj")}
    if rest <= present:
        return "whole"
    if rest & present:
        raise Refusal(f"{path}: neither a whole model nor its attention half, {min(rest - present)} is missing")
    return "attention-half"


def is_buffer(name: str) -> bool:
    """Whether this is the causal mask that old files carry beside the weights."""
    return name.endswith((".attn.bias", ".attn.masked_bias"))


def load_whole(folder: pathlib.Path, config: GPT2Config) -> nn.Module:
    net, report = GPT2LMHeadModel.from_pretrained(
        folder,
        config=config,
        dtype=torch.float32,  # said, because the default follows the file
        attn_implementation="eager",
        ignore_mismatched_sizes=True,  # reported here instead, by name
        output_loading_info=True,
    )
    complaints = {
        "misshapen": {name for name, *_ in report["mismatched_keys"]},
        "missing": report["missing_keys"],
        "unexpected": {name for name in report["unexpected_keys"] if not is_buffer(name)},
    }
    for complaint, names in complaints.items():
        if names:
            raise Refusal(f"{folder / 'model.safetensors'}: {complaint} tensor {min(names)}")
    return net


def load_half(folder: pathlib.Path, config: GPT2Config) -> nn.Module:
    """transformers' GPT2Model without the modules whose weights are not there."""
    path = folder / "model.safetensors"
    with torch.device("meta"):
        net = GPT2Model(config)
    del net.wte
    for block in net.h:
        del block.mlp
    tensors = {name.removeprefix("transformer."): tensor.float() for name, tensor in load_file(path).items()}
    used = {name: tensor for name, tensor in tensors.items() if ".mlp." not in name and not is_buffer(name)}
    try:
        net.load_state_dict(used, strict=True, assign=True)
    except RuntimeError as error:
        raise Refusal(f"{path}: {' '.join(str(error).split())}") from error
    return net


def open_tokenizer(folder: pathlib.Path) -> Tokenizer | None:
    if (folder / "tokenizer.json").is_file():
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return ByteLevelBPETokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    return None


def open_model(folder: pathlib.Path) -> Model:
    for path in (folder, folder / "config.json", folder / "model.safetensors"):
        if not path.exists():
            raise Refusal(f"{path}: no such {'folder' if path == folder else 'file'}")
    config = open_config(folder)
    kind = kind_of(folder / "model.safetensors", config.n_layer)
    witness = (load_whole if kind == "whole" else load_half)(folder, config)
    witness.eval().requires_grad_(False)
    truth = copy.deepcopy(witness).double()
    return Model(folder.resolve().name, kind, folder, witness, truth, open_tokenizer(folder))

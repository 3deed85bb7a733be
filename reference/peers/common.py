"""What every peer needs."""

import json
import pathlib


class Refusal(Exception):
    """What a peer cannot do, in one line."""


def read_config(folder: pathlib.Path) -> dict:
    """GPT-2's fields with the defaults that a config.json may leave out."""
    defaults = {"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12}
    more = {"n_inner": None, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new"}
    return defaults | more | json.loads((folder / "config.json").read_text(encoding="utf-8"))

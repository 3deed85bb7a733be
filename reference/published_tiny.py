"""Writes figures about the embedded model in the form of fixtures/published.json, as transformers gives them.

    python reference/published_tiny.py --out xtask/tests/published/tiny.json

The tests of `published` hold our own model against them: every kind of figure that is published about the real
models is here, rounded and with tolerances as other projects print them. Exit codes: 0 done, 2 something is missing.
"""

import argparse
import json
import os
import pathlib
import sys

os.environ["HF_HUB_OFFLINE"] = "1"  # a model is a folder; nothing here may ask a hub

import torch
import transformers
from models import Model, open_model
from traces import Refusal, sha256

TINY = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "tiny"
END_OF_TEXT = 0
# What four decimals and float32 may be off.
CLOSE = {"absolute": 1e-4}


def encode(model: Model, text: str) -> list[int]:
    return model.tokenizer.encode(text, add_special_tokens=False).ids


def logits(model: Model, ids: list[int]) -> torch.Tensor:
    """[T, V]."""
    return model.witness(torch.tensor([ids])).logits[0]


def hidden(model: Model, text: str, position: int, channels: int) -> dict:
    """The base model's last hidden state, which has been through `ln_f`."""
    ids = encode(model, text)
    state = model.witness.transformer(torch.tensor([ids])).last_hidden_state[0, position, :channels]
    first = [round(value, 4) for value in state.tolist()]
    tolerance = {"absolute": 1e-4, "relative": 1e-4}
    return {"final_hidden": {"prompt": {"ids": ids}, "position": position, "first": first, "tolerance": tolerance}}


def logprobs(model: Model, prompt: list[int], continuation: list[int]) -> list[float]:
    each = logits(model, prompt + continuation).log_softmax(-1)[len(prompt) - 1 : -1]
    return [row[token].item() for row, token in zip(each, continuation, strict=True)]


def each(model: Model, text: str) -> dict:
    ids = encode(model, text)
    values = logprobs(model, [END_OF_TEXT], ids)
    passages = {"prompt": {"ids": [END_OF_TEXT]}, "continuation": {"ids": ids}}
    return {"logprobs": passages | {"values": {"each": values}, "tolerance": {"relative": 1e-3}}}


def total(model: Model, prompt: str, continuation: str) -> dict:
    values = {"sum": round(sum(logprobs(model, encode(model, prompt), encode(model, continuation))), 4)}
    passages = {"prompt": {"text": prompt}, "continuation": {"text": continuation}}
    return {"logprobs": passages | {"values": values, "tolerance": CLOSE}}


def mean_loss(model: Model, text: str) -> dict:
    """By the model's own loss, which predicts every token but the first."""
    ids = torch.tensor([[END_OF_TEXT, *encode(model, text)]])
    passages = {"prompt": {"ids": [END_OF_TEXT]}, "continuation": {"text": text}}
    values = {"mean_loss": model.witness(ids, labels=ids).loss.item()}
    return {"logprobs": passages | {"values": values, "tolerance": {"absolute": 4e-5}}}


def next_token(model: Model, prompt: str) -> dict:
    last = logits(model, encode(model, prompt))[-1]
    best = last.argmax().item()
    logit = round(last[best].item(), 4)
    return {"next_token": {"prompt": {"text": prompt}, "id": best, "logit": logit, "tolerance": CLOSE}}


def greedy(model: Model, prompt: str, new: int, as_text: bool) -> dict:
    ids = encode(model, prompt)
    given = model.witness.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), do_sample=False, max_new_tokens=new, pad_token_id=0
    )[0, len(ids) :].tolist()
    if as_text:
        text = model.tokenizer.decode(given, skip_special_tokens=False)
        return {"greedy": {"prompt": {"text": prompt}, "continuation": {"text": text}, "tokens": len(given)}}
    return {"greedy": {"prompt": {"ids": ids}, "continuation": {"ids": given}}}


def figures(model: Model) -> dict[str, dict]:
    text = "The king is gone to war, and all his men with him."
    return {
        "last hidden state": hidden(model, text, 2, 5),
        "logprobs after the end of text": each(model, text),
        "logprob of a continuation": total(model, "Speak softly, friend,", " for walls have ears"),
        "loss": mean_loss(model, "What news from London?"),
        "best token": next_token(model, "My lord, the night is cold"),
        "generated ids": greedy(model, "Good morrow, cousin;", 12, as_text=False),
        "generated text": greedy(model, "The queen shall have her answer", 12, as_text=True),
        "ids of a text": {"tokenized": {"text": text, "ids": encode(model, text)}},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    try:
        model = open_model(TINY)
    except Refusal as refusal:
        print(f"published_tiny.py: {refusal}", file=sys.stderr)
        return 2
    source = {
        "project": "huggingface/transformers",
        "file": "src/transformers/models/gpt2/modeling_gpt2.py",
        "version": transformers.__version__,
        "figures": [{"name": name, "figure": figure} for name, figure in figures(model).items()],
        "not_judged": [{"name": "none of those that are", "reason": "one for the tests"}],
    }
    about = {"model": "tiny", "weights_sha256": sha256(model.weights), "sources": [source]}
    options.out.write_text(json.dumps({"models": [about]}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

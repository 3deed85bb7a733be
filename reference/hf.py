"""Writes and checks the Hugging Face references of a model folder.

    python hf.py write --model DIR --out DIR
    python hf.py check --model DIR --refs DIR

The witness is transformers' GPT-2, eager, float32; the truth is the same code in float64. Exit codes:
0 done, 1 the references are not what the model gives, 2 something is missing or not supported.
"""

import argparse
import os
import pathlib
import platform
import sys
from importlib.metadata import version

os.environ["HF_HUB_OFFLINE"] = "1"  # a model is a folder; nothing here may ask a hub

import torch
import transformers
from cases import cases
from check import check
from models import Model, open_model
from traces import PHASES, Refusal, clear, delta, sha256, write_manifest, write_phase

FORMAT = 1


def head(model: Model) -> dict:
    """The manifest without its cases: what the traces were made from, and with what."""
    packages = ("torch", "transformers", "tokenizers", "numpy", "safetensors")
    return {
        "format": FORMAT,
        "model": model.name,
        "kind": model.kind,
        "weights": {"file": model.weights.name, "sha256": sha256(model.weights)},
        "config_sha256": sha256(model.folder / "config.json"),
        "witness": "hf",
        "versions": {"python": platform.python_version()} | {package: version(package) for package in packages},
    }


def write(model: Model, folder: pathlib.Path) -> None:
    planned, entries = cases(model), []
    if folder.exists() and not folder.is_dir():
        raise Refusal(f"{folder}: not a folder")
    folder.mkdir(parents=True, exist_ok=True)
    clear(folder)
    for case in planned:
        witness = case.witness(model)
        truths = {"isolated": case.isolated(model, witness), "propagated": case.propagated(model, witness)}
        stored = {"hf": {name: witness[name] for name in case.names("hf", model)}}
        for phase, truth in truths.items():
            stored[phase] = {name: delta(truth[name], witness[name]) for name in case.names(phase, model)}
        files = {phase: write_phase(folder, case.name, phase, stored[phase]) for phase in PHASES}
        entries.append(case.entry() | {"files": files})
        size = sum((folder / entry["file"]).stat().st_size for phase in PHASES for entry in files[phase])
        print(f"{case.name:16}{sum(map(len, stored.values())):6} tensors{size / 1e6:8.2f} MB", flush=True)
    write_manifest(folder, head(model) | {"cases": entries})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, folder in (("write", "--out"), ("check", "--refs")):
        command = commands.add_parser(name)
        command.add_argument("--model", type=pathlib.Path, required=True, help="a Hugging Face model folder")
        command.add_argument(folder, type=pathlib.Path, required=True, dest="folder", help="the folder of traces")
    options = parser.parse_args()

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        model = open_model(options.model)
        if options.command == "write":
            write(model, options.folder)
            return 0
        return check(model, head(model), options.folder)
    except Refusal as refusal:
        print(f"hf.py: {refusal}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

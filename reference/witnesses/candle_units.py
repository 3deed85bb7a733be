"""GPT-2's modules on candle-nn's kernels. Candle has no GPT-2: reference/candle puts them together."""

import os
import pathlib
import subprocess
import tempfile
import tomllib

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from traces import Refusal

from witnesses.common import UNITS, Fed, Folder, Sites, Witness

HARNESS = pathlib.Path(__file__).resolve().parents[1] / "candle"
TARGET = HARNESS.parents[1] / "target" / "candle"


def rustc() -> dict[str, str]:
    """What the compiler says of itself."""
    try:
        said = subprocess.run(["rustc", "-vV"], cwd=HARNESS, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Refusal(f"candle: Rust is wanted, to build reference/candle ({error})") from error
    return dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)


def build(host: str) -> pathlib.Path:
    """The harness. Where its crates cannot be had there is no witness; that it does not compile is a mistake of ours."""
    fetch = ["cargo", "fetch", "--quiet", "--locked", "--target", host]
    fetched = subprocess.run(fetch, cwd=HARNESS, capture_output=True, text=True, check=False)
    # Where the lock file is not that of the manifest, cargo says that it was passed --locked.
    if fetched.returncode and "--locked" not in fetched.stderr:
        reason = " ".join(fetched.stderr.split())
        raise Refusal(f"candle: cannot fetch the crates of reference/candle/Cargo.lock ({reason})")
    build = ["cargo", "build", "--quiet", "--release", "--locked", "--offline", "--target-dir", TARGET]
    subprocess.run(build, cwd=HARNESS, check=True)
    return TARGET / "release" / "candle-witness"


def locked(*packages: str) -> dict[str, str]:
    """The versions that the harness is built with."""
    lock = tomllib.loads((HARNESS / "Cargo.lock").read_text(encoding="utf-8"))
    return {package["name"]: package["version"] for package in lock["package"] if package["name"] in packages}


class Candle:
    def __init__(self, folder: Folder, program: pathlib.Path):
        config = folder.config
        if config.get("scale_attn_by_inverse_layer_idx"):
            raise Refusal("candle: its config has scale_attn_by_inverse_layer_idx, which the harness does not know")
        self.weights, self.program = folder.path / "model.safetensors", program
        self.size = (str(config["n_head"]), str(config["layer_norm_epsilon"]))

    def isolated(self, fed: Fed) -> Sites:
        given = {}
        for name, x in fed.items():
            names, tensors = ([name], [x]) if isinstance(x, torch.Tensor) else ([f"{name}.{c}" for c in "qkv"], x)
            given |= zip(names, (np.ascontiguousarray(tensor.numpy()) for tensor in tensors), strict=True)
        with tempfile.TemporaryDirectory() as scratch:
            before, after = (pathlib.Path(scratch) / name for name in ("fed.safetensors", "sites.safetensors"))
            save_file(given, before)
            command = [self.program, self.weights, before, after, *self.size]
            subprocess.run(command, check=True, env={**os.environ, "RAYON_NUM_THREADS": "1"})
            return load_file(after)


def open_witness(folder: Folder) -> Witness:
    compiler = rustc()
    return Witness(
        label="kernels",
        model_code="ours, reference/candle: Candle has no GPT-2",
        kernels="candle-nn's LayerNorm (the fused ops::layer_norm, its variance in one pass), Linear, "
        "ops::softmax_last_dim and Activation::NewGelu (GELU's tanh form); products by the crate gemm",
        how="a program of ours that runs every module on its own input, one thread; Conv1D weights transposed into "
        "Linear's layout, heads, scale and mask are ours",
        packages=("numpy", "safetensors", "torch"),
        versions=locked("candle-core", "candle-nn", "gemm") | {"rustc": compiler["release"]},
        isolated=Candle(folder, build(compiler["host"])).isolated,
        isolated_kinds=UNITS,
    )

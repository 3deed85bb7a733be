"""Trace files: tensors to .npz and back, what each selection stores, the manifest and its hashes."""

import hashlib
import io
import json
import pathlib
import re
import zipfile
import zlib

import numpy as np
import torch

PHASES = ("hf", "isolated", "propagated")
FILE_LIMIT = 5_000_000

# `h.` stands for every layer. The order is the order of execution, which the files keep.
QKV = ["h.attn.q", "h.attn.k", "h.attn.v"]
CACHE = ["h.attn.cache.k", "h.attn.cache.v"]
ATTENTION = ["h.ln_1", *QKV, *CACHE, "h.attn.scores", "h.attn.probs", "h.attn.out", "h.ln_2"]
MLP = ["h.mlp.fc", "h.mlp.act", "h.mlp.out"]
SELECTIONS = {
    "all": {
        "hf": ["embed", *ATTENTION, *MLP, "h", "ln_f", "logits"],
        "isolated": [*ATTENTION, *MLP, "ln_f"],
        "propagated": ["embed", *ATTENTION, *MLP, "h", "ln_f", "logits"],
    },
    "selected": {
        "hf": ["embed", "h.attn.q", *CACHE, "h.attn.out", "h", "ln_f", "logits"],
        "isolated": [*CACHE, "h.attn.out"],
        "propagated": ["embed", "h", "ln_f", "logits"],
    },
    "isolated": {"hf": ["embed", *ATTENTION, "ln_f"], "isolated": [*ATTENTION, "ln_f"], "propagated": []},
    "attention-last": {"hf": ["h.attn.q", *CACHE, "h.attn.out"], "isolated": ["h.attn.out"], "propagated": []},
    "attention-out": {
        "hf": ["embed", "h.attn.q", *CACHE, "h.attn.out"],
        "isolated": [*CACHE, "h.attn.out"],
        "propagated": [],
    },
}

Tensors = dict[str, torch.Tensor]


class Refusal(Exception):
    """What the user has to put right, in one line."""


def sites(selection: str, phase: str, layers: int) -> list[str]:
    """The sites that a file of this phase holds for one call."""
    kinds = SELECTIONS[selection][phase]
    block = [kind for kind in kinds if kind[0] == "h"]
    first, last = (kinds.index(block[0]), kinds.index(block[-1]) + 1) if block else (0, 0)
    expanded = [f"h.{layer}{kind[1:]}" for layer in range(layers) for kind in block]
    return kinds[:first] + expanded + kinds[last:]


def kind(name: str) -> str:
    """`3/h.11.attn.q` and `0/h.2.attn.q` are one kind of site, over which errors are pooled."""
    return re.sub(r"^h\.\d+", "h", re.sub(r"^\d+/", "", name))


def sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def delta(truth: torch.Tensor, witness: torch.Tensor) -> torch.Tensor:
    """truth - witness as it is stored; 0 where both are the same infinity (the mask)."""
    return torch.where(truth == witness, 0.0, truth.double() - witness.double()).float()


def rebuild(witness: torch.Tensor, stored: torch.Tensor) -> torch.Tensor:
    """The truth, to about 1e-14 of its size: float32 rounds the small difference, not the value."""
    return witness.double() + stored.double()


def split(tensors: Tensors) -> list[Tensors]:
    """Cuts a case so that no file can pass the limit, however badly its tensors compress."""
    parts, room = [], 0
    for name, tensor in tensors.items():
        size = tensor.nbytes + 1000
        if size > room:
            parts.append({})
            room = FILE_LIMIT
        parts[-1][name] = tensor
        room -= size
    return parts


def write_npz(path: pathlib.Path, tensors: Tensors) -> None:
    """numpy.savez_compressed without the clock: the same tensors give the same bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, tensor in tensors.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            array = io.BytesIO()
            np.lib.format.write_array(array, np.ascontiguousarray(tensor.numpy()), allow_pickle=False)
            archive.writestr(member, array.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)


def write_phase(folder: pathlib.Path, case: str, phase: str, tensors: Tensors) -> list[dict]:
    """Writes one phase of a case and returns its manifest entries."""
    parts, entries = split(tensors), []
    for number, part in enumerate(parts):
        path = folder / (f"{case}.{phase}.npz" if len(parts) == 1 else f"{case}.{phase}.{number}.npz")
        write_npz(path, part)
        entries.append({"file": path.name, "sha256": sha256(path)})
    return entries


def read_phase(folder: pathlib.Path, entries: list[dict]) -> Tensors:
    """The tensors of one phase; `verify` has seen its hashes."""
    tensors: Tensors = {}
    for path in (folder / entry["file"] for entry in entries):
        try:
            with np.load(path, allow_pickle=False) as archive:
                part = [(name, torch.from_numpy(archive[name])) for name in archive.files]
        except (ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            raise Refusal(f"{path}: not an .npz of numbers") from error
        for name, tensor in part:
            if name in tensors:
                raise Refusal(f"{path}: {name} is there twice")
            tensors[name] = tensor
    return tensors


def listed(manifest: dict) -> list[dict]:
    return [entry for case in manifest["cases"] for entries in case["files"].values() for entry in entries]


def clear(folder: pathlib.Path) -> None:
    """Removes what an earlier run wrote, the manifest first: half a set of traces never looks whole."""
    for name in ("manifest.json.sha256", "manifest.json"):
        (folder / name).unlink(missing_ok=True)
    for path in folder.glob("*.npz"):
        if re.search(rf"\.({'|'.join(PHASES)})(\.\d+)?\.npz$", path.name):
            path.unlink()


def write_manifest(folder: pathlib.Path, manifest: dict) -> None:
    path = folder / "manifest.json"
    text = json.dumps(manifest, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")
    sidecar = folder / "manifest.json.sha256"
    sidecar.write_text(f"{sha256(path)}  manifest.json\n", encoding="ascii", newline="\n")


def verify(folder: pathlib.Path) -> dict:
    """The manifest of `folder`, once every file it lists is there and has its hash."""
    for name in ("manifest.json", "manifest.json.sha256"):
        if not (folder / name).is_file():
            raise Refusal(f"{folder / name}: no such file")
    if (folder / "manifest.json.sha256").read_text() != f"{sha256(folder / 'manifest.json')}  manifest.json\n":
        raise Refusal(f"{folder / 'manifest.json'}: its hash is not the one in manifest.json.sha256")
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        hashes = {folder / entry["file"]: entry["sha256"] for entry in listed(manifest)}
    except (ValueError, TypeError, KeyError) as error:
        raise Refusal(f"{folder / 'manifest.json'}: not a manifest of traces: {error!r}") from error
    for path, expected in hashes.items():
        if not path.is_file():
            raise Refusal(f"{path}: no such file, but the manifest lists it")
        if sha256(path) != expected:
            raise Refusal(f"{path}: its hash is not the manifest's")
    return manifest

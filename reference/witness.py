"""Writes and checks the traces of one more witness, for cases that `hf` has references of.

    python witness.py write --witness NAME --model DIR --refs DIR --out DIR [--tinygrad PATH]
    python witness.py check --witness NAME --model DIR --refs DIR --out DIR [--tinygrad PATH]

Propagated, a witness runs on the case's tokens alone; isolated, each of its modules runs on what `hf` stored. Where
tokens are generated it is fed those that `hf` chose, and says at each step which it would have chosen itself. Exit
codes: 0 done, 1 the traces are not what the witness gives, 2 something is missing or not supported.
"""

import argparse
import importlib
import json
import os
import pathlib
import platform
import sys
from importlib.metadata import version

os.environ["HF_HUB_OFFLINE"] = "1"  # a model is a folder; nothing here may ask a hub

import torch
import transformers
from cases import probabilities
from check import ratio
from recorder import isolated_inputs
from traces import (
    Refusal,
    Tensors,
    clear,
    kind,
    read_phase,
    rebuild,
    sha256,
    sites,
    verify,
    write_manifest,
    write_phase,
)
from witnesses.common import Fed, Folder, Witness

# The program of each.
WITNESSES = {
    "hf-sdpa": "hf_sdpa", "tinygrad": "tinygrad_gpt2", "llama-cpp": "llama_cpp_gpt2", "mlx": "mlx_gpt2",
    "transformer-lens": "transformer_lens_gpt2", "onnxruntime": "onnx_units", "candle": "candle_units",
}  # fmt: skip
# Not every case again: two calls through one cache with two rows, and the smallest; and what is chosen from logits.
CASES = {"whole": ["two-tokens", "chunks", "greedy", "sampling"], "attention-half": ["attention"]}
BASES = ("isolated", "propagated")
CHOSEN = ("greedy", "sampling")
FACTOR = 2.0
# Versions that may be others where a witness is made again: Python itself, compilers, the processor's flags.
UNPINNED = ("python", "clang", "rustc", "ggml on this CPU")


def layers_of(manifest: dict, count: int) -> list[int]:
    """All of a whole model's; of the large half the first, the middle and the last, to keep the files small."""
    return list(range(count)) if manifest["kind"] == "whole" else sorted({0, count // 2, count - 1})


class Given:
    """A case of the references: its tokens, what every module is fed, and the truths."""

    def __init__(self, folder: pathlib.Path, entry: dict, layers: int, shown: list[int]):
        self.name, self.entry, self.shown = entry["name"], entry, shown
        self.selection = entry["selection"]
        self.is_whole = self.selection == "all"
        self.hf = read_phase(folder, entry["files"]["hf"])
        self.deltas = {basis: read_phase(folder, entry["files"].get(basis, [])) for basis in BASES}
        self.calls, self.layers = range(len(entry["calls"])), layers

    def fed(self, call: int) -> Fed:
        """Only what is there, and only the layers that are shown."""
        given = isolated_inputs(self.hf, call, self.layers, torch.float32)
        half = {name: x for name, x in given.items() if self.is_whole or not name.endswith(".mlp")}
        return {name: x for name, x in half.items() if name == "ln_f" or int(name.split(".")[1]) in self.shown}

    def truth(self, basis: str, name: str) -> torch.Tensor:
        return rebuild(self.hf[name], self.deltas[basis][name])

    def has(self, basis: str, name: str) -> bool:
        return name in self.deltas[basis]

    def bases(self, witness: Witness) -> list[str]:
        """What a witness can be run on."""
        of_case = BASES[1:] if self.selection in CHOSEN else BASES
        return [basis for basis in of_case if getattr(witness, basis)]


def chosen(witness: Witness, given: Given) -> Tensors:
    """The last logits after the prompt and after each token that `hf` generated, and what comes of them.

    Where the choice at every step is the token that was fed, generating alone would have given the same.
    """
    prompt, ids = given.hf["0/tokens"], given.hf.get("generated")
    fed = [prompt] if ids is None else [prompt, *ids[:, :-1].split(1, dim=1)]
    calls = witness.propagated([tokens.numpy() for tokens in fed])
    last = [torch.from_numpy(sites["logits"][:, -1].copy()) for sites in calls]
    tensors = {f"{step}/logits_last": logits for step, logits in enumerate(last)}
    if given.selection == "sampling":
        return tensors | probabilities(last[0])
    return tensors | {"generated": torch.stack([logits.argmax(-1) for logits in last], dim=1)}


def run(witness: Witness, given: Given, basis: str) -> Tensors:
    """What the witness gives of a case, `<call>/<site>`; exactly what it says it shows."""
    if given.selection in CHOSEN:
        return chosen(witness, given)
    if basis == "propagated":
        tokens = [given.hf[f"{call}/tokens"].numpy() for call in given.calls]
        calls, kinds = witness.propagated(tokens), witness.propagated_kinds
    else:
        calls, kinds = [witness.isolated(given.fed(call)) for call in given.calls], witness.isolated_kinds
    order = [f"{call}/{site}" for call in given.calls for site in sites("all", "propagated", given.layers)]
    wanted = [name for name in order if kind(name) in kinds and given.has(basis, name)]
    if basis == "isolated":
        wanted = [name for name in wanted if "/h." not in name or int(name.split(".")[1]) in given.shown]
    given_here = {
        f"{call}/{site}": torch.from_numpy(x.copy())
        for call, tensors in enumerate(calls)
        for site, x in tensors.items()
    }
    missing = [name for name in wanted if name not in given_here]
    if missing:
        raise AssertionError(f"{given.name} {basis}: {missing[0]} was not recorded")
    for name in wanted:
        form, expected = ((x.dtype, x.shape) for x in (given_here[name], given.hf[name]))
        if form != expected:
            raise AssertionError(f"{given.name} {basis}: {name} is {form}, not {expected}")
    return {name: given_here[name] for name in wanted}


Errors = dict[str, list[torch.Tensor]]


def add_errors(errors: Errors, given: Given, basis: str, tensors: Tensors) -> None:
    """Errors against the truth by site, in units of max(1, |hf|), without what is masked; ids have none."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        mask = torch.isneginf(given.hf[name])
        if not torch.equal(mask, torch.isneginf(tensor)):
            raise AssertionError(f"{given.name} {basis}: {name} has another mask")
        error = (tensor.double() - given.truth(basis, name)) / given.hf[name].double().abs().clamp(min=1)
        if not torch.isfinite(error[~mask]).all():
            raise AssertionError(f"{given.name} {basis}: {name} is not finite")
        errors.setdefault(name.split("/")[-1], []).append(error[~mask])


def figures(errors: Errors) -> dict[str, dict[str, float]]:
    """The RMS and the largest of each site's errors."""
    joined = {site: torch.cat(parts) for site, parts in errors.items()}
    return {
        site: {"rms": float(f"{error.square().mean().sqrt():.2e}"), "worst": float(f"{error.abs().max():.2e}")}
        for site, error in joined.items()
    }


def by_kind(errors: Errors) -> dict[str, float]:
    """RMS over all layers."""
    pools: Errors = {}
    for site, parts in errors.items():
        pools.setdefault(kind(site), []).extend(parts)
    return {site: torch.cat(parts).square().mean().sqrt().item() for site, parts in pools.items()}


class Session:
    """A witness on a model, with the references that it is held beside."""

    def __init__(self, options: argparse.Namespace):
        self.name, self.references = options.witness, verify(options.refs)
        weights = options.model / "model.safetensors"
        here = {
            "weights": {"file": weights.name, "sha256": sha256(weights)},
            "config_sha256": sha256(options.model / "config.json"),
        }
        for part, value in here.items():
            if self.references[part] != value:
                raise Refusal(f"{options.refs}: made from another model: {part} differs")
        folder = Folder(options.model, self.references["kind"], options.tinygrad)
        self.witness = importlib.import_module(f"witnesses.{WITNESSES[self.name]}").open_witness(folder)
        layers = folder.config["n_layer"]
        self.shown = layers_of(self.references, layers)
        entries = {entry["name"]: entry for entry in self.references["cases"]}
        given = [Given(options.refs, entries[name], layers, self.shown) for name in CASES[folder.kind]]
        self.cases = [case for case in given if case.bases(self.witness)]
        self.references_sha256 = sha256(options.refs / "manifest.json")

    def run(self) -> tuple[dict[str, dict[str, Tensors]], dict[str, Errors]]:
        """The traces by case and basis, and their errors by basis."""
        traces: dict = {
            given.name: {basis: run(self.witness, given, basis) for basis in given.bases(self.witness)}
            for given in self.cases
        }
        return traces, self.errors(traces)

    def errors(self, traces: dict[str, dict[str, Tensors]]) -> dict[str, Errors]:
        errors: dict[str, Errors] = {basis: {} for basis in BASES if getattr(self.witness, basis)}
        for given in self.cases:
            for basis, tensors in traces[given.name].items():
                add_errors(errors[basis], given, basis, tensors)
        return errors

    def versions(self) -> dict:
        packages = {package: version(package) for package in self.witness.packages}
        return {"python": platform.python_version()} | packages | self.witness.versions

    def about(self, errors: dict[str, Errors]) -> dict:
        return {
            "name": self.name,
            "label": self.witness.label,
            "model_code": self.witness.model_code,
            "kernels": self.witness.kernels,
            "how": self.witness.how,
            "versions": self.versions(),
            "references_sha256": self.references_sha256,
            "layers": self.shown,
            "not_shown": self.witness.not_shown,
            "floor_measured": "errors against the truth over the stored cases, in units of max(1, |hf|)",
            "floor": {basis: figures(of_sites) for basis, of_sites in errors.items()},
        }


def write(session: Session, folder: pathlib.Path) -> None:
    traces, errors = session.run()
    folder.mkdir(parents=True, exist_ok=True)
    clear(folder)
    entries = []
    for given in session.cases:
        name, stored = given.name, traces[given.name]
        files = {basis: write_phase(folder, name, basis, tensors) for basis, tensors in stored.items()}
        entries.append({key: value for key, value in given.entry.items() if key != "files"} | {"files": files})
        size = sum((folder / entry["file"]).stat().st_size for basis in files.values() for entry in basis)
        print(f"{session.name:16} {name:12}{sum(map(len, stored.values())):6} tensors{size / 1e6:8.2f} MB", flush=True)
    about = folder / "witness.json"
    text = json.dumps(session.about(errors), sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    about.write_text(text, encoding="utf-8", newline="\n")
    head = {key: session.references[key] for key in ("format", "model", "kind", "weights", "config_sha256")}
    head |= {
        "witness": session.name,
        "versions": session.versions(),
        "about": {"file": about.name, "sha256": sha256(about)},
    }
    write_manifest(folder, head | {"cases": entries})


def read(session: Session, folder: pathlib.Path, manifest: dict) -> dict[str, dict[str, Tensors]]:
    """The committed traces, in the form of Session.run's."""
    if sorted(case["name"] for case in manifest["cases"]) != sorted(given.name for given in session.cases):
        raise Damage(f"{folder}: other cases than {[given.name for given in session.cases]}")
    files = {case["name"]: case["files"] for case in manifest["cases"]}
    return {
        given.name: {
            basis: read_phase(folder, files[given.name].get(basis, [])) for basis in given.bases(session.witness)
        }
        for given in session.cases
    }


def form(tensors: Tensors) -> dict:
    return {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}


class Damage(Exception):
    """Committed files that are not what was written: no reason to call a witness absent."""


def undamaged(folder: pathlib.Path) -> dict:
    """The manifest of traces, every file hashed."""
    try:
        manifest = verify(folder)
    except Refusal as refusal:
        raise Damage(refusal) from refusal
    if manifest.get("about") != {"file": "witness.json", "sha256": sha256(folder / "witness.json")}:
        raise Damage(f"{folder / 'witness.json'}: its hash is not the manifest's")
    return manifest


def check(session: Session, folder: pathlib.Path, manifest: dict) -> int:
    """Names, shapes and masks exactly; errors against the truth, by kind of site, within a factor."""
    about = json.loads((folder / "witness.json").read_text(encoding="utf-8"))
    committed, (fresh, now) = read(session, folder, manifest), session.run()

    failures = []
    said, here = (page | {"versions": pinned(page["versions"])} for page in (about, session.about(now)))
    for key in sorted(
        said.keys() ^ here.keys() | {key for key in here if key != "floor" and said.get(key) != here[key]}
    ):
        failures.append(f"witness.json: {key} is {said.get(key)}, not {here.get(key)}")
    for given in session.cases:
        for basis, tensors in fresh[given.name].items():
            if form(committed[given.name][basis]) != form(tensors):
                failures.append(f"{given.name} {basis}: tensors are missing, extra or of another form")
    if not failures:
        then = session.errors(committed)
        if about["floor"] != session.about(then)["floor"]:
            failures.append("witness.json: the floor is not that of the traces")
        worst = 1.0
        for basis in then:
            before, after = by_kind(then[basis]), by_kind(now[basis])
            for site, error in before.items():
                factor = max(ratio(error, after[site]), ratio(after[site], error))
                worst = max(worst, factor)
                if factor > FACTOR:
                    failures.append(f"{site}: its {basis} error is {error:.2e}, it should be near {after[site]:.2e}")
    for failure in failures:
        print(f"FAIL  {session.name}: {failure}")
    if not failures:
        print(f"{session.name}: the traces are what it gives; its errors are within {worst:.3f} x of those committed")
    return 1 if failures else 0


def pinned(versions: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in versions.items() if name not in UNPINNED}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("write", "check"))
    parser.add_argument("--witness", choices=WITNESSES, required=True)
    parser.add_argument("--model", type=pathlib.Path, required=True, help="a Hugging Face model folder")
    parser.add_argument("--refs", type=pathlib.Path, required=True, help="the references of `hf`")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the folder of this witness's traces")
    parser.add_argument("--tinygrad", type=pathlib.Path, help="a checkout of tinygrad")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_grad_enabled(False)
    try:
        if options.command == "write":
            write(Session(options), options.out)
            return 0
        # Before the witness is made, which may not be possible here.
        manifest = undamaged(options.out)
        return check(Session(options), options.out, manifest)
    except Damage as damage:
        print(f"FAIL  {options.witness}: {damage}", file=sys.stderr)
        return 1
    except Refusal as refusal:
        print(f"witness.py: {refusal}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

"""Where the float32 errors of q, k and v come from, and what their relative errors say.

Reads a model's weights and its references; needs numpy and safetensors. docs/checkpoints/02-qkv.md draws the
conclusions.
"""

import argparse
import hashlib
import json
import pathlib
import sys
from dataclasses import dataclass

import numpy as np
from safetensors.numpy import load_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
OURS = 32  # channels in one chain of fused multiply-adds, docs/ARCHITECTURE.md
THEIRS = 192  # PyTorch's kernel does not say; this fits
UNIT = 2.0**-24  # a float32 rounding is off by at most this share
AUDITED = 1.39e-4, 6e-8  # the audits' relative error, and the absolute one at the same place


@dataclass
class Projection:
    """q, k or v over all layers: [L, N, C], N positions of all cases."""

    values: np.ndarray  # the truth
    bias: np.ndarray
    terms: np.ndarray  # sqrt(sum of (x * w)^2)
    their_partials: np.ndarray  # sqrt(sum of the squares of every partial sum that is rounded)
    our_partials: np.ndarray
    witness: np.ndarray  # error of Hugging Face's float32
    ours: np.ndarray

    def layer(self, layer: int) -> "Projection":
        return Projection(*(array[layer : layer + 1] for array in vars(self).values()))


def refuse(problem: str) -> None:
    print(problem, file=sys.stderr)
    sys.exit(2)


def sha256(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_calls(refs: pathlib.Path, manifest: dict) -> list[tuple[dict, dict, int]]:
    """(witness's tensors, truth - witness, call) of every call whose q, k and v have an isolated truth."""
    calls = []
    for case in manifest["cases"]:
        parts = []
        for phase in ("hf", "isolated"):
            tensors = {}
            for entry in case["files"].get(phase, []):
                if sha256(refs / entry["file"]) != entry["sha256"]:
                    refuse(f"{refs / entry['file']}: its hash is not the manifest's")
                tensors |= np.load(refs / entry["file"])
            parts.append(tensors)
        calls += [(*parts, call) for call in range(len(case["calls"])) if f"{call}/h.0.attn.q" in parts[1]]
    return calls


def our_sum(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """x @ weight + bias in float32, every sum in the order that docs/ARCHITECTURE.md gives."""
    total = np.zeros((len(x), len(bias)), "f4")
    for start in range(0, len(weight), OURS):
        chain = np.zeros_like(total)
        for channel in range(start, min(start + OURS, len(weight))):
            product = x[:, channel, None].astype("f8") * weight[channel].astype("f8")  # exact
            chain = (product + chain).astype("f4")  # fused multiply-add, but for double rounding
        total += chain
    return total + bias


def partial_sums(x: np.ndarray, weight: np.ndarray, chunk: int) -> np.ndarray:
    """Root of the sum of the squares of all partial sums, where chunks are chains of their own."""
    total, squares = 0, 0
    for start in range(0, len(weight), chunk):
        chain = 0
        for channel in range(start, min(start + chunk, len(weight))):
            chain = chain + x[:, channel, None] * weight[channel]
            squares = squares + chain**2
        total = total + chain
        squares = squares + total**2
    return np.sqrt(squares)


def project(calls: list, weights: dict, layer: int) -> list[Projection]:
    """q, k and v of one layer."""
    weight, bias = (weights[f"h.{layer}.attn.c_attn.{part}"] for part in ("weight", "bias"))
    size = len(weight)

    def gather(part: int, site: str) -> np.ndarray:
        tensors = (call[part][f"{call[2]}/h.{layer}.{site}"] for call in calls)
        return np.concatenate([tensor.reshape(-1, size) for tensor in tensors])

    x = gather(0, "ln_1")
    ours = our_sum(x, weight, bias)
    exact_x, exact_weight = x.astype("f8"), weight.astype("f8")
    terms = np.sqrt(exact_x**2 @ exact_weight**2)
    theirs, own = (partial_sums(exact_x, exact_weight, chunk) for chunk in (THEIRS, OURS))
    projections = []
    for third, tensor in enumerate("qkv"):
        columns = slice(third * size, (third + 1) * size)
        delta = gather(1, f"attn.{tensor}").astype("f8")
        truth = gather(0, f"attn.{tensor}") + delta
        arrays = [array[:, columns] for array in (terms, theirs, own)]
        spread = np.broadcast_to(bias[columns].astype("f8"), truth.shape)
        projections.append(Projection(truth, spread, *arrays, -delta, ours[:, columns] - truth))
    return projections


def rms(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(array**2)))


def quotient(error: np.ndarray, values: np.ndarray) -> np.ndarray:
    """|error / value|; 0 where there is no error."""
    return np.divide(abs(error), abs(values), out=np.zeros_like(error), where=error != 0)


def without_large(p: Projection) -> float:
    """The witness's error / values without each layer's largest tenth of channels."""
    size = np.sqrt(np.mean(p.values**2, axis=-2, keepdims=True))
    small = np.broadcast_to(size < np.quantile(size, 0.9, axis=-1, keepdims=True), p.values.shape)
    return rms(p.witness[small]) / rms(p.values[small])


def budget(p: Projection) -> float:
    """R, as `cargo xtask validate` has it."""
    unit = np.maximum(1, abs(p.values + p.witness))
    return rms(p.ours / unit) / rms(p.witness / unit)


def worst(p: Projection, least: float = 0) -> float:
    """The witness's largest |error / value|, no value taken for smaller than `least`."""
    return quotient(p.witness, np.maximum(abs(p.values), least)).max()


def at_worst(array: np.ndarray, p: Projection) -> float:
    return abs(array.flat[quotient(p.witness, p.values).argmax()])


MEANS = [
    ("values", ".3f", lambda p: rms(p.values)),
    ("values without their bias", ".3f", lambda p: rms(p.values - p.bias)),
    ("terms", ".3f", lambda p: rms(p.terms)),
    (f"partial sums in chunks of {THEIRS}", ".2f", lambda p: rms(p.their_partials)),
    ("witness's error", ".2e", lambda p: rms(p.witness)),
    ("  / values", ".2e", lambda p: rms(p.witness) / rms(p.values)),
    ("  / values, largest channels left out", ".2e", without_large),
    ("  / terms", ".2e", lambda p: rms(p.witness) / rms(p.terms)),
    ("  / partial sums / 2^-24", ".3f", lambda p: rms(p.witness) / rms(p.their_partials) / UNIT),
    ("our error", ".2e", lambda p: rms(p.ours)),
    ("  / values", ".2e", lambda p: rms(p.ours) / rms(p.values)),
    (f"  / partial sums in chunks of {OURS} / 2^-24", ".3f", lambda p: rms(p.ours) / rms(p.our_partials) / UNIT),
    ("witness's worst |error / value|", ".2e", worst),
]
SINGLE = [
    ("worst |error / value|", ".2e", worst),
    ("  the value there", ".2e", lambda p: at_worst(p.values, p)),
    ("  the error there", ".2e", lambda p: at_worst(p.witness, p)),
    ("|error / value| over 1e-05", "d", lambda p: (quotient(p.witness, p.values) > 1e-5).sum()),
    (f"|error / value| over {AUDITED[0]:.2e}", "d", lambda p: (quotient(p.witness, p.values) > AUDITED[0]).sum()),
    (f"|value| under {AUDITED[1] / AUDITED[0]:.1e}", "d", lambda p: (abs(p.values) < AUDITED[1] / AUDITED[0]).sum()),
    ("worst |error|", ".2e", lambda p: abs(p.witness).max()),
    ("worst |error| / max(|value|, RMS)", ".2e", lambda p: worst(p, rms(p.values))),
    ("worst |error| / max(1, |value|)", ".2e", lambda p: worst(p, 1)),
    ("our worst |error / value|", ".2e", lambda p: quotient(p.ours, p.values).max()),
    ("R", ".2f", budget),
]


def print_means(q: Projection, k: Projection, v: Projection) -> None:
    print(f"{'root mean squares':40}{'q':>10}{'k':>10}{'v':>10}{'v / k':>8}   in single layers")
    for what, form, figure in MEANS:
        by_layer = [figure(v.layer(i)) / figure(k.layer(i)) for i in range(len(v.values))]
        figures = "".join(f"{figure(p):>10{form}}" for p in (q, k, v))
        print(f"{what:40}{figures}{figure(v) / figure(k):>8.2f}   {min(by_layer):.2f} to {max(by_layer):.2f}")


def print_single(q: Projection, k: Projection, v: Projection) -> None:
    print(f"{'single numbers, of the witness':40}{'q':>10}{'k':>10}{'v':>10}")
    for what, form, figure in SINGLE:
        print(f"{what:40}" + "".join(f"{figure(p):>10{form}}" for p in (q, k, v)))


def print_chance(q: Projection, k: Projection, v: Projection) -> None:
    """How far apart two tensors' worst quotients are at one position of one layer."""
    print("worst |error / value| at one position    median   five times or more   a fifth or less   positions")
    for names, one, other in (("v / k", v, k), ("q / k", q, k), ("v / q", v, q)):
        ratio = quotient(one.witness, one.values).max(axis=-1) / quotient(other.witness, other.values).max(axis=-1)
        far = f"{(ratio >= 5).sum():>21}{(ratio <= 1 / 5).sum():>18}{ratio.size:>12}"
        print(f"{names:37}{np.median(ratio):>9.2f}{far}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "fixtures" / "tiny", help="the folder of a model")
    parser.add_argument("--refs", type=pathlib.Path, help="the folder of its references, if not fixtures/refs/NAME")
    options = parser.parse_args()
    folder = options.model.resolve()
    refs = options.refs or ROOT / "fixtures" / "refs" / folder.name
    for path in (folder / "model.safetensors", refs / "manifest.json"):
        if not path.is_file():
            refuse(f"{path}: no such file")
    manifest = json.loads((refs / "manifest.json").read_text(encoding="utf-8"))
    if sha256(folder / "model.safetensors") != manifest["weights"]["sha256"]:
        refuse(f"{folder}: not the weights that the references were made with")

    weights = {name.removeprefix("transformer."): t for name, t in load_file(folder / "model.safetensors").items()}
    layers = json.loads((folder / "config.json").read_text(encoding="utf-8"))["n_layer"]
    calls = read_calls(refs, manifest)
    by_layer = zip(*(project(calls, weights, layer) for layer in range(layers)), strict=True)
    qkv = [Projection(*map(np.stack, zip(*(vars(p).values() for p in ps), strict=True))) for ps in by_layer]
    _, positions, channels = qkv[0].values.shape
    size = qkv[0].values.size
    print(f"{folder.name}: {layers} layers, {positions} positions, {channels} channels, {size} numbers each\n")
    print_means(*qkv)
    print()
    print_single(*qkv)
    print()
    print_chance(*qkv)


if __name__ == "__main__":
    main()

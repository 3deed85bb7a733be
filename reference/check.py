"""Compares committed references with what the model gives now, so that they can be neither stale nor forged."""

import math
import pathlib
from dataclasses import dataclass, field

import torch
from cases import WARPERS, Case, cases
from models import Model
from traces import PHASES, Refusal, Tensors, kind, listed, read_phase, rebuild, verify

TRUTH_BOUND = 1e-12
WITNESS_FACTOR = 2.0
HALF_ULP = 2.0**-24
SHOWN = 20
# Kinds whose error is mostly the rounding of one number a row, or one vector's passed on: on another machine a few
# rows alone would differ by chance, so these are pooled together.
POOLS = (
    dict.fromkeys(WARPERS, "probabilities")
    | dict.fromkeys(("h.ln_1", "h.ln_2", "ln_f"), "layer norms")
    | dict.fromkeys(("h", "logits"), "stream and logits")
)


@dataclass
class Findings:
    """What was compared in one case, and what did not hold."""

    tensors: int = 0
    deviation: float = 0.0  # worst |committed truth - truth| / RMS(truth)
    factor: float = 1.0  # worst ratio of the committed witness's error to the present one's, either way up
    failures: list[str] = field(default_factory=list)
    has_values: bool = False  # whether names, shapes and masks were right, so that values could be compared

    def expect(self, holds: bool, failure: str) -> bool:
        if not holds:
            self.failures.append(failure)
        return holds


def pool(name: str) -> str:
    return POOLS.get(kind(name), kind(name))


def rms(tensors: list[torch.Tensor]) -> float:
    return torch.cat([tensor.flatten() for tensor in tensors]).square().mean().sqrt().item()


def size(truth: torch.Tensor) -> float:
    """RMS without the mask; 1 where there is nothing but zeros."""
    return rms([truth[torch.isfinite(truth)].double()]) or 1.0


def error(tensor: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """tensor - truth in float64; 0 where both are the mask's -inf."""
    return torch.where(tensor == truth, 0.0, tensor.double() - truth.double())


def relative_error(tensor: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """In units of the truth's RMS, so that every layer and every temperature has its say in a pool."""
    return error(tensor, truth) / size(truth)


def ratio(upper: float, lower: float) -> float:
    """How many times larger than 1; only 0 is like 0."""
    return 1.0 if upper == lower else upper / lower if lower else math.inf


def compare_form(findings: Findings, phase: str, names: list[str], committed: Tensors, fresh: Tensors) -> None:
    """Names, dtypes, shapes, ids, masks and finiteness: all of it exactly. `fresh` is the present witness."""
    for name in sorted(set(names) ^ set(committed)):
        findings.expect(False, f"{name} is {'missing' if name in names else 'extra'} ({phase})")
    for name in sorted(set(names) & set(committed)):
        stored, now = committed[name], fresh[name]
        form, wanted = ((tensor.dtype, list(tensor.shape)) for tensor in (stored, now))
        if not findings.expect(form == wanted, f"{name} is {form}, not {wanted} ({phase})"):
            continue
        findings.tensors += 1
        if stored.dtype == torch.int64:
            findings.expect(torch.equal(stored, now), f"{name} has other ids")
            continue
        mask = torch.isneginf(now)
        expected = -torch.inf if phase == "hf" else 0.0
        findings.expect(bool((stored[mask] == expected).all()), f"{name} has another mask ({phase})")
        findings.expect(bool(torch.isfinite(stored[~mask]).all()), f"{name} is not finite ({phase})")


def compare_truth(findings: Findings, phase: str, committed: dict[str, Tensors], truth: Tensors) -> None:
    for name, stored in committed[phase].items():
        witness = committed["hf"][name]
        is_exact = torch.equal(witness.double(), truth[name])
        findings.expect(not (is_exact and stored.any()), f"{name}: the {phase} truth is the witness, but not as stored")
        off = error(rebuild(witness, stored), truth[name]).abs()
        # What float32 rounds off the stored difference is no deviation: half a unit in its last place.
        worst = (off - stored.abs().double() * HALF_ULP).max().item()
        deviation = max(worst, 0.0) / size(truth[name])
        findings.deviation = max(findings.deviation, deviation)
        findings.expect(deviation <= TRUTH_BOUND, f"{name}: the {phase} truth is off by {deviation:.1e} of its RMS")


def compare_witness(findings: Findings, phase: str, committed: Tensors, fresh: Tensors) -> None:
    """Both are errors against the truth, pooled over calls and layers."""
    for site in dict.fromkeys(map(pool, committed)):
        then, now = (rms([t for name, t in errors.items() if pool(name) == site]) for errors in (committed, fresh))
        factor = max(ratio(then, now), ratio(now, then))
        findings.factor = max(findings.factor, factor)
        is_alike = factor <= WITNESS_FACTOR
        findings.expect(is_alike, f"{site}: the witness's {phase} error is {then:.2e}, it should be near {now:.2e}")


def compare_case(case: Case, model: Model, committed: dict[str, Tensors]) -> Findings:
    findings, fresh = Findings(), case.witness(model)
    names = {phase: case.names(phase, model) for phase in PHASES}
    for phase in PHASES:
        compare_form(findings, phase, names[phase], committed[phase], fresh)
    if findings.failures:
        return findings

    findings.has_values = True
    # An isolated truth belongs to the tensors it was fed. Computed on the committed ones, it also shows that those
    # two belong together; the present witness has its own.
    # (What a case does not store is the present witness's.)
    witness = fresh | committed["hf"]
    propagated = case.propagated(model, witness)
    truths = {
        "isolated": (case.isolated(model, witness), case.isolated(model, fresh)),
        "propagated": (propagated, propagated),
    }
    for phase, (then, now) in truths.items():
        compare_truth(findings, phase, committed, then)
        # Against the propagated truth every tensor is judged, stored or not: an isolated unit's input could
        # otherwise be replaced together with the truth that was computed from it. (The probabilities' propagated
        # error is that of their logits, and says nothing more.)
        judged = names["isolated"] if phase == "isolated" else (propagated.keys() & names["hf"]) - WARPERS.keys()
        judged = [name for name in judged if witness[name].is_floating_point()]
        compare_witness(
            findings,
            phase,
            {name: relative_error(witness[name], then[name]) for name in judged},
            {name: relative_error(fresh[name], now[name]) for name in judged},
        )
    return findings


def compare_head(manifest: dict, head: dict) -> list[str]:
    """What the references say they were made from, and with, against what is here."""
    for part in ("weights", "config_sha256"):
        if manifest.get(part) != head[part]:
            raise Refusal(f"made from another model: {part} is {manifest.get(part)}, not {head[part]}")
    said, here = ({**top, **top.get("versions", {})} for top in (manifest, head))
    # Python itself computes nothing here, and requirements.txt cannot pin it.
    keys = (said.keys() | here.keys()) - {"cases", "versions", "python"}
    differing = [key for key in sorted(keys) if said.get(key) != here.get(key)]
    return [f"manifest: {key} is {said.get(key)}, not {here.get(key)}" for key in differing]


def check(model: Model, head: dict, folder: pathlib.Path) -> int:
    if not folder.is_dir():
        raise Refusal(f"{folder}: no such folder")
    manifest = verify(folder)
    failures = compare_head(manifest, head)
    owned = {entry["file"] for entry in listed(manifest)} | {"manifest.json", "manifest.json.sha256"}
    failures += [f"{path.name} is extra" for path in sorted(folder.iterdir()) if path.name not in owned]

    print(f"{'case':16}{'tensors':>8}{'truth off by':>14}{'witness error':>15}")
    entries = {entry["name"]: entry for entry in manifest["cases"]}
    if len(entries) != len(manifest["cases"]):
        failures.append("manifest: a case is there twice")
    for case in cases(model):
        entry = entries.pop(case.name, None)
        if entry is None:
            failures.append(f"{case.name}: the case is missing")
            continue
        if {key: value for key, value in entry.items() if key != "files"} != case.entry():
            failures.append(f"{case.name}: the manifest describes another case")
        findings = compare_case(case, model, {phase: read_phase(folder, entry["files"][phase]) for phase in PHASES})
        failures += [f"{case.name}: {failure}" for failure in findings.failures]
        values = f"{findings.deviation:14.1e}{findings.factor:13.3f} x" if findings.has_values else "  not compared"
        print(f"{case.name:16}{findings.tensors:8}{values}", flush=True)
    failures += [f"{name}: no such case" for name in entries]

    for failure in failures[:SHOWN]:
        print(f"FAIL  {failure}")
    if len(failures) > SHOWN:
        print(f"FAIL  and {len(failures) - SHOWN} more")
    if not failures:
        bounds = f"truth within {TRUTH_BOUND} of its RMS, the witness's error within {WITNESS_FACTOR} x"
        print(f"{model.name}: the references are what the model gives; {bounds}")
    return 1 if failures else 0

"""Puts known mistakes into transformers' own GPT-2, dumps what comes of it, and asks `cargo xtask compare` why.

    python reference/inject_bugs.py [NAME ...] [--keep REGEX]

The mistakes (injections/) are written from their descriptions, on PyTorch modules; compare's explanations are
written elsewhere, in Rust, on arrays. Exit code 1 where the bars of docs/porting.md are missed: the right cause alone or
in a set of at most three for nine in ten of the known mistakes; no cause called certain for those that nobody
knows, which must FAIL all the same; of two mistakes at once never a third called certain.
"""

import argparse
import contextlib
import copy
import json
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable

import numpy
import torch
from dump_torch import Dump
from injections import KNOWN, PAIRS, UNKNOWN, Injection
from torch import nn
from transformers import DynamicCache, GPT2LMHeadModel

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMPARE = ["cargo", "run", "--quiet", "--package", "xtask", "--", "compare"]


class Kept(Dump):
    """Of a dump the names that are wanted."""

    def __init__(self, model: nn.Module, path: str, wanted: re.Pattern):
        super().__init__(model, path)
        self.wanted = wanted

    def keep(self, name: str, output: object) -> None:
        if self.wanted.search(name):
            super().keep(name, output)


class Bench:
    """Runs the embedded model with injections."""

    def __init__(self, dtype: torch.dtype = torch.float32):
        folder = ROOT / "fixtures" / "tiny"
        self.net = GPT2LMHeadModel.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()

    def dump(self, injections: list[Injection], case: str, path: pathlib.Path, wanted: re.Pattern) -> None:
        """Every call of a case through one cache."""
        net = copy.deepcopy(self.net)
        tokens = numpy.load(ROOT / "fixtures" / "refs" / "tiny" / f"{case}.hf.npz")
        with contextlib.ExitStack() as stack, torch.no_grad():
            for inject in injections:
                if (patch := inject(net)) is not None:
                    stack.enter_context(patch)
            # Not made from the config, whose layers an injection may have changed.
            cache, call = DynamicCache(), 0
            stack.enter_context(Kept(net, str(path), wanted))
            while f"{call}/tokens" in tokens:
                net(torch.from_numpy(tokens[f"{call}/tokens"]), past_key_values=cache, use_cache=True)
                call += 1


def compare(dump: pathlib.Path) -> dict:
    """What compare says of a dump."""
    result = subprocess.run([*COMPARE, str(dump), "--json"], cwd=ROOT, capture_output=True, text=True)
    if result.returncode not in (0, 1, 3):
        raise SystemExit(result.stderr)
    return json.loads(result.stdout)


def found(report: dict) -> tuple[str, list[str], bool]:
    """The first wrong site, the causes' ids, whether one is certain."""
    wrong, diagnosis = report["first_wrong"], report["diagnosis"]
    if wrong is None:
        return report["verdict"], [], False
    ids = [cause["id"] for cause in diagnosis["causes"]]
    return wrong["site"], ids, diagnosis["is_certain"]


def row(name: str, site: str, ids: list[str], outcome: str) -> None:
    print(f"{name:<44} {site:<20} {', '.join(ids[:4]) or '-':<56} {outcome}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="the mistakes to inject, if not all")
    parser.add_argument(
        "--keep", type=re.compile, default=re.compile(""), help="the tensors that dumps have, if not all"
    )
    options = parser.parse_args()
    if strange := set(options.names) - (KNOWN.keys() | UNKNOWN.keys() | PAIRS.keys()):
        parser.error(f"expected names of mistakes in injections/catalogue.py, found {', '.join(sorted(strange))}")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        bench, dump = Bench(), pathlib.Path(scratch) / "dump.safetensors"

        def judge(injections: list[Injection], case: str) -> tuple[str, list[str], bool]:
            bench.dump(injections, case, dump, options.keep)
            return found(compare(dump))

        sys.exit(run(judge, lambda name: not options.names or name in options.names))


def run(judge: Callable, wanted: Callable) -> bool:
    """Injects what is wanted, prints a line each; whether a bar is missed."""
    known, right, others, wrong, unseen = 0, 0, 0, 0, 0
    for name in filter(wanted, KNOWN):
        inject, expected, case = KNOWN[name]
        site, ids, _ = judge([inject], case)
        is_right = bool(expected & set(ids)) and len(ids) <= 3
        known, right = known + 1, right + is_right
        row(name, site, ids, "right" if is_right else "MISSED")
    unknown = {name: ([inject], set(), case) for name, (inject, case) in UNKNOWN.items()}
    pairs = {name: (*pair, "multibyte") for name, pair in PAIRS.items()}
    for name, (injections, expected, case) in (unknown | pairs).items():
        if wanted(name):
            site, ids, is_certain = judge(injections, case)
            is_wrong = is_certain and not expected & set(ids)
            is_seen = "/" in site
            others, wrong, unseen = others + 1, wrong + is_wrong, unseen + (not is_seen)
            outcome = "first of two" if is_certain else "nothing certain" if is_seen else "NOT SEEN"
            row(name, site, ids, "WRONGLY CERTAIN" if is_wrong else outcome)
    print(f"\n{right} of {known} known mistakes: the right cause, alone or in a set of at most 3")
    print(f"{others} unknown mistakes and pairs of mistakes: {wrong} wrong causes called certain, {unseen} not seen")
    return wrong > 0 or unseen > 0 or right < 0.9 * known


if __name__ == "__main__":
    main()

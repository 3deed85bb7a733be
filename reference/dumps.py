"""What the programs that dump one case of somebody's implementation have in common."""

import argparse
import pathlib
import re
from collections.abc import Callable

import numpy

Tensors = dict[str, numpy.ndarray]


def parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, default=pathlib.Path("fixtures/tiny"))
    parser.add_argument("--case", default="two-tokens")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--keep", type=re.compile, default=re.compile(""), help="the names to keep")
    return parser


def write(options: argparse.Namespace, dump: Callable[[numpy.ndarray], Tensors]) -> None:
    """Dumps the first call of a case, [B, T]."""
    reference = pathlib.Path("fixtures/refs") / options.model.name / f"{options.case}.hf.npz"
    tensors = dump(numpy.load(reference)["0/tokens"])
    numpy.savez_compressed(options.out, **{name: x for name, x in tensors.items() if options.keep.search(name)})

"""Dumps what transformers computes, as a porter would with dump_torch.py, with or without a mistake.

    python reference/dump_hf.py --case two-tokens --out dump.safetensors [--keep REGEX] [--inject NAME] [--dtype DTYPE]

NAME is one of injections/catalogue.py's. On the embedded model.
"""

import argparse
import pathlib
import re

import torch
from inject_bugs import Bench
from injections import KNOWN


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", default="two-tokens")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--keep", type=re.compile, default=re.compile(""), help="the names to keep")
    parser.add_argument("--inject", choices=KNOWN, metavar="NAME")
    parser.add_argument("--dtype", choices=("float64", "float32", "float16", "bfloat16"), default="float32")
    options = parser.parse_args()
    torch.set_num_threads(1)
    injections = [KNOWN[options.inject][0]] if options.inject else []
    Bench(getattr(torch, options.dtype)).dump(injections, options.case, options.out, options.keep)


if __name__ == "__main__":
    main()

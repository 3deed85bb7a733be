"""Mistakes for transformers' own GPT-2, by replacing its weights, modules and functions.

An injection changes a model, or gives a patch that is entered while the model runs.
"""

from injections.catalogue import KNOWN, PAIRS, UNKNOWN
from injections.common import Injection

__all__ = ["KNOWN", "PAIRS", "UNKNOWN", "Injection"]

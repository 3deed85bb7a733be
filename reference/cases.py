"""The cases: what a model is run on, and how its witness, isolated truth and propagated truth are made."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from models import Model
from prompts import FRAGMENTS, SENTENCES, best_apart, choose, decode, is_committed, round_trips, sets_apart
from recorder import run
from torch import nn
from traces import Refusal, Tensors, sites
from transformers import DynamicCache, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

LONGEST, LONG, MULTIBYTE, PROMPT = 160, 80, 37, 9

WARPERS = {
    "t0.5": TemperatureLogitsWarper(0.5), "t1": TemperatureLogitsWarper(1.0), "t2": TemperatureLogitsWarper(2.0),
    "top_k40": TopKLogitsWarper(40), "top_p0.9": TopPLogitsWarper(0.9),
}  # fmt: skip


@dataclass
class Case:
    """`given` is tokens [B, T] or the attention half's stream [B, T, C], cut into calls along T."""

    name: str
    selection: str
    calls: list[int]
    given: torch.Tensor
    text: list[str] | None = None

    def entry(self) -> dict:
        """The manifest's description, but for the files."""
        entry = {"name": self.name, "selection": self.selection, "calls": self.calls, "batch": len(self.given)}
        return entry if self.text is None else entry | {"text": self.text}


class Forward(Case):
    """Forward calls through one cache, every selected site of each.

    Every kind of case has these four: the names that a phase's file holds, and the tensors of the witness and
    of the truths (in float64), which may be more than those names.
    """

    def names(self, phase: str, model: Model) -> list[str]:
        names, calls = [], range(len(self.calls))
        for call in calls[-1:] if self.selection == "attention-last" else calls:
            names += [f"{call}/tokens"] if phase == "hf" and model.kind == "whole" else []
            names += [f"{call}/{site}" for site in sites(self.selection, phase, model.config.n_layer)]
        return names

    def inputs(self) -> list[torch.Tensor]:
        return list(self.given.split(self.calls, dim=1))

    def witness(self, model: Model) -> Tensors:
        tokens = {f"{call}/tokens": given for call, given in enumerate(self.inputs())}
        return tokens | run(model.witness, self.inputs())

    def isolated(self, model: Model, witness: Tensors) -> Tensors:
        return run(model.truth, self.inputs(), witness)

    def propagated(self, model: Model, witness: Tensors) -> Tensors:
        return run(model.truth, self.inputs())


def generate(net: nn.Module, prompt: torch.Tensor, new: int, forced: torch.Tensor | None = None) -> Tensors:
    """Greedy, by our own loop: `generate` would round logits to float32 and stop at the config's ids.

    With `forced` ids those are fed, whatever the logits say.
    """
    cache, fed, tensors, ids = DynamicCache(config=net.config), prompt, {}, []
    for step in range(new):
        last = net(fed, past_key_values=cache, use_cache=True).logits[:, -1]
        tensors[f"{step}/logits_last"] = last
        fed = last.argmax(-1, keepdim=True) if forced is None else forced[:, step : step + 1]
        ids.append(fed)
    return {"0/tokens": prompt, "generated": torch.cat(ids, dim=1)} | tensors


@dataclass
class Greedy(Case):
    new: int = 0

    def names(self, phase: str, model: Model) -> list[str]:
        logits = [f"{step}/logits_last" for step in range(self.new)]
        return {"hf": ["0/tokens", "generated", *logits], "isolated": [], "propagated": logits}[phase]

    def witness(self, model: Model) -> Tensors:
        return generate(model.witness, self.given, self.new)

    def isolated(self, model: Model, witness: Tensors) -> Tensors:
        return {}

    def propagated(self, model: Model, witness: Tensors) -> Tensors:
        return generate(model.truth, self.given, self.new, forced=witness["generated"])


def last_logits(net: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    return net(tokens).logits[:, -1]


def probabilities(logits: torch.Tensor) -> Tensors:
    return {name: warper(None, logits).softmax(-1) for name, warper in WARPERS.items()}


class Sampling(Case):
    """Probabilities from the last logits, in their dtype."""

    def names(self, phase: str, model: Model) -> list[str]:
        before = {"hf": ["0/tokens", "0/logits_last"], "isolated": [], "propagated": ["0/logits_last"]}
        return [*before[phase], *WARPERS]

    def witness(self, model: Model) -> Tensors:
        logits = last_logits(model.witness, self.given)
        return {"0/tokens": self.given, "0/logits_last": logits} | probabilities(logits)

    def isolated(self, model: Model, witness: Tensors) -> Tensors:
        return probabilities(witness["0/logits_last"].double())

    def propagated(self, model: Model, witness: Tensors) -> Tensors:
        logits = last_logits(model.truth, self.given)
        return {"0/logits_last": logits} | probabilities(logits)


def forward_case(model: Model, name: str, selection: str, batch: int, calls: list[int]) -> Forward:
    """Checkpoint 10 judges the greedy token after every case, 12 the text of those that have one."""
    ends = torch.tensor(calls).cumsum(0) - 1
    is_text = name in ("multibyte", "long")

    def rank(ids: torch.Tensor) -> int:
        return 3 * (is_text and round_trips(model, ids)) + best_apart(model.truth(ids[None]).logits[0, ends])

    given = choose(model, name, FRAGMENTS if is_text else SENTENCES, (batch, sum(calls)), rank)
    has_text = is_text and model.tokenizer is not None and all(round_trips(model, row) for row in given)
    return Forward(name, selection, calls, given, decode(model, given) if has_text else None)


def greedy_case(model: Model, new: int) -> Greedy:
    def rank(ids: torch.Tensor) -> int:
        tensors = generate(model.truth, ids[None], new)
        return min(best_apart(tensors[f"{step}/logits_last"]) for step in range(new))

    case = Greedy("greedy", "greedy", [PROMPT], choose(model, "greedy", SENTENCES, (2, PROMPT), rank), new=new)
    if model.tokenizer is not None:
        case.text = decode(model, torch.cat([case.given, case.witness(model)["generated"]], dim=1))
    return case


def sampling_case(model: Model) -> Sampling:
    def rank(ids: torch.Tensor) -> int:
        logits = last_logits(model.truth, ids[None])[0]
        return 3 * best_apart(logits) + sets_apart(logits)

    given = choose(model, "sampling", SENTENCES, (2, PROMPT), rank)
    return Sampling("sampling", "sampling", [PROMPT], given)


def whole_cases(model: Model) -> Iterator[Case]:
    yield forward_case(model, "two-tokens", "all", 1, [2])
    if is_committed(model):
        yield forward_case(model, "one-token", "all", 1, [1])
        yield forward_case(model, "multibyte", "all", 1, [MULTIBYTE])
        yield forward_case(model, "batch", "all", 3, [11])
        yield forward_case(model, "steps", "all", 1, [7, 1, 1, 1, 1, 1])
    yield forward_case(model, "chunks", "all", 2, [7, 5])
    positions = model.config.n_positions
    name, width = ("full-context", positions) if positions <= LONGEST else ("long", LONG)
    yield forward_case(model, name, "selected", 1, [width])
    yield greedy_case(model, 24 if is_committed(model) else 8)
    yield sampling_case(model)


def half_cases(model: Model) -> Iterator[Case]:
    """Without `wte` the stream starts as rows of `wpe`, real numbers of the real model."""
    rows = model.witness.wpe.weight[:, None]
    single, double = rows[:13].transpose(0, 1), rows[:14].view(2, 7, -1)
    yield Forward("attention", "isolated", [13], single)
    yield Forward("attention-batch", "attention-out", [7], double)
    yield Forward("attention-steps", "attention-out", [9, 4], single)
    # Longer than a panel of 32 positions, and only its end is stored.
    yield Forward("attention-long", "attention-last", [36, 4], rows[:40].transpose(0, 1))


def cases(model: Model) -> Iterator[Case]:
    if model.config.n_positions < MULTIBYTE:
        raise Refusal(f"{model.folder}: n_positions is {model.config.n_positions}, the cases need {MULTIBYTE}")
    return whole_cases(model) if model.kind == "whole" else half_cases(model)

"""The texts that cases are cut from, and the choice of those whose answers rounding cannot change."""

import sys
from collections.abc import Callable

import torch
from models import Model
from traces import Refusal

# Gaps between logits, in units of max(1, |logit|): twice what the gate tolerates, and, where no text has that, still a
# hundred times float32's errors.
MARGINS = (2e-3, 2e-4)
# Larger models' traces are not committed: a shorter list of cases will do for them.
COMMITTED_WEIGHTS = 32_000_000

SENTENCES = """\
The king is gone to war, and all his men with him.
Speak softly, friend, for walls have ears to hear us.
What news from London, and how fares the duke?
My lord, the night is cold and I am weary of it.
If thou hast any love for me, then let me pass.
O, that my father had not lost his crown so soon!
Come, gentle lady, take my hand and weep no more.
He that hath honour needs no other sword.
Good morrow, cousin; what brings thee to the city?
I will not stay to see the common people mock me.
The queen shall have her answer ere the sun is down.
Give me thy word, and I will give thee all my gold.
Away with him, and let him never look on me again!
There was a time when I could laugh at such a tale.
Sir, I am but a soldier, and I know not how to beg.
Let every man that fears to die depart from hence.
Now is the hour when ghosts do walk upon the earth.
Tell me, good nurse, where is my daughter gone?
Thy brother's blood cries out against thee, Richard.
We shall not meet again until the wars are done.""".splitlines()
# Two, three and four bytes a character; rotated until a cut at 37 ids falls between characters.
FRAGMENTS = ["Grüße,", "世界!", "🙂", "αβγ", "naïve", "é", "Ω", "to", "the", "king", "ñ"]


def apart(upper: torch.Tensor, lower: torch.Tensor) -> int:
    """How many of the margins lie between these logits."""
    gap = ((upper - lower) / upper.abs().clamp(min=1)).min()
    return sum(bool(gap > margin) for margin in MARGINS)


def best_apart(logits: torch.Tensor) -> int:
    best, second = logits.topk(2).values.unbind(-1)
    return apart(best, second)


def sets_apart(logits: torch.Tensor) -> int:
    """How far the top-k and top-p sets of one row [V] are from their cuts, in margins."""
    ordered = logits.sort(descending=True).values
    cumulative = ordered.softmax(-1).cumsum(-1)
    if (cumulative - 0.9).abs().min() <= 1e-4:
        return 0
    kept = [40, int((cumulative < 0.9).sum()) + 1]
    return min((apart(ordered[k - 1], ordered[k]) for k in kept if k < len(ordered)), default=len(MARGINS))


def is_committed(model: Model) -> bool:
    return model.weights.stat().st_size <= COMMITTED_WEIGHTS


def decode(model: Model, rows: torch.Tensor) -> list[str]:
    return [model.tokenizer.decode(row, skip_special_tokens=False) for row in rows.tolist()]


def round_trips(model: Model, ids: torch.Tensor) -> bool:
    """Whether the ids are a text's own, and it has characters of one to four bytes."""
    text = model.tokenizer.decode(ids.tolist(), skip_special_tokens=False)
    lengths = {len(character.encode()) for character in text}
    return model.tokenizer.encode(text, add_special_tokens=False).ids == ids.tolist() and lengths == {1, 2, 3, 4}


def choose(model: Model, name: str, texts: list[str], size: tuple[int, int], rank: Callable) -> torch.Tensor:
    """[B, T] ids: of the rotations of `texts`, cut to T, those that `rank` gives the most points, the first of equals.

    Without a tokenizer there is nothing to choose from, and shapes are all such a model can show.
    """
    rows, width = size
    if model.tokenizer is None:
        row, place = torch.arange(rows)[:, None], torch.arange(width)
        return (13 * place * place + 7 * place + 97 * row + 5) % model.config.vocab_size
    candidates = []
    for start in range(len(texts)):
        text = " ".join(4 * (texts[start:] + texts[:start]))
        ids = model.tokenizer.encode(text, add_special_tokens=False).ids[:width]
        if max(ids) >= model.config.vocab_size:
            raise Refusal(f"{model.folder}: the tokenizer gives id {max(ids)}, the model has {model.config.vocab_size}")
        candidates.append(torch.tensor(ids))
    points = [rank(ids) for ids in candidates]
    best = sorted(range(len(candidates)), key=lambda i: -points[i])[:rows]
    if min(points[i] for i in best) == 0:
        print(f"note: {name}: too few candidate texts keep a margin; a choice may be inconclusive", file=sys.stderr)
    return torch.stack([candidates[i] for i in sorted(best)])

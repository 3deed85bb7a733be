"""Trains the embedded model: a small GPT-2 with its own byte-level BPE, written as a Hugging Face folder.

    python train_tiny.py --text tinyshakespeare.txt --out ../fixtures/tiny

The last tenth of the text is held out. The checkpoint with the lowest validation loss is kept, and is
compared with a bigram model fitted to the same training tokens; both figures go into the model card.
The result depends on the versions in requirements.txt and on the thread count, which is fixed here.
"""

import argparse
import math
import pathlib
import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel

SEED = 20261120
THREADS = 2
END_OF_TEXT = "<|endoftext|>"
VOCABULARY = 1001  # odd on purpose: no lane width, panel width or chunk length divides it
POSITIONS = 160
BATCH = 32
WARMUP = 100
PEAK_RATE, FINAL_RATE = 1.5e-3, 1e-4
EVALUATE_EVERY = 100


def train_tokenizer(text: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT],
        # The text is ASCII: without the whole alphabet every other byte would be lost.
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


def bigram_loss(train: torch.Tensor, held_out: torch.Tensor, vocabulary: int) -> float:
    """Nats a token of an interpolated bigram model, its mixing weight chosen on the held-out tokens themselves."""
    unigram = torch.bincount(train, minlength=vocabulary).double() + 1
    unigram /= unigram.sum()
    pairs = torch.zeros(vocabulary, vocabulary, dtype=torch.float64)
    pairs.index_put_((train[:-1], train[1:]), torch.ones(len(train) - 1, dtype=torch.float64), accumulate=True)
    seen = pairs.sum(1, keepdim=True).clamp(min=1)
    conditional = (pairs / seen)[held_out[:-1], held_out[1:]]
    losses = []
    for mix in [i / 20 for i in range(1, 20)]:
        probability = mix * conditional + (1 - mix) * unigram[held_out[1:]]
        losses.append(-probability.log().mean().item())
    return min(losses)


@torch.no_grad()
def validation_loss(model: GPT2LMHeadModel, held_out: torch.Tensor) -> float:
    """Mean nats a token over consecutive full windows; every window sees only its own past."""
    model.eval()
    windows = held_out[: len(held_out) // POSITIONS * POSITIONS].view(-1, POSITIONS)
    total = 0.0
    for batch in windows.split(BATCH):
        total += model(batch, labels=batch).loss.item() * len(batch)
    model.train()
    return total / len(windows)


def rate(step: int, steps: int) -> float:
    if step < WARMUP:
        return PEAK_RATE * (step + 1) / WARMUP
    done = (step - WARMUP) / (steps - WARMUP)
    return FINAL_RATE + (PEAK_RATE - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * done))


def train(model: GPT2LMHeadModel, tokens: torch.Tensor, held_out: torch.Tensor, steps: int) -> tuple[float, int]:
    """Leaves the best weights seen in `model`; returns their validation loss and the step they come from."""
    decayed = [p for p in model.parameters() if p.dim() == 2]
    plain = [p for p in model.parameters() if p.dim() != 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}], betas=(0.9, 0.95)
    )
    best, best_step, best_state = math.inf, 0, None
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps)
        starts = torch.randint(len(tokens) - POSITIONS, (BATCH,))
        batch = torch.stack([tokens[s : s + POSITIONS] for s in starts])
        loss = model(batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % EVALUATE_EVERY == 0:
            held = validation_loss(model, held_out)
            print(f"step {step + 1:5}  training {loss.item():.4f}  validation {held:.4f}", flush=True)
            if held < best:
                best, best_step = held, step + 1
                best_state = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(best_state)
    return best, best_step


CARD = """---
library_name: transformers
---
# tiny

The embedded model of llorch-cpud: a GPT-2 small enough to be committed, with odd sizes on purpose.
It exists to check implementations of GPT-2, not to write.

| | |
|---|---|
| architecture | `GPT2LMHeadModel`, gelu_new, tied head, float32, {parameters:,} parameters |
| sizes | n_embd {embd}, n_head {head} (D = {d}), n_layer {layer}, n_positions {positions}, vocabulary {vocabulary} |
| tokenizer | byte-level BPE trained on the same text, whole byte alphabet |
| trained on | tinyshakespeare (public domain), the first nine tenths: {train_tokens:,} tokens |
| validation loss | {loss:.4f} nats a token on the last tenth ({held_tokens:,} tokens), at step {step} of {steps} |
| bigram model | {bigram:.4f} nats a token on the same tokens (interpolated, weight chosen in its favour) |
| made by | `reference/train_tiny.py`, seed {seed}, {threads} threads, torch {torch}, transformers {transformers} |
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--text", type=pathlib.Path, required=True)
    arguments.add_argument("--out", type=pathlib.Path, required=True)
    arguments.add_argument("--steps", type=int, default=2500)
    options = arguments.parse_args()

    torch.manual_seed(SEED)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)

    text = options.text.read_text(encoding="utf-8")
    cut = len(text) * 9 // 10
    tokenizer = train_tokenizer(text[:cut])
    tokens = torch.tensor(tokenizer.encode(text[:cut]).ids)
    held_out = torch.tensor(tokenizer.encode(text[cut:]).ids)
    bigram = bigram_loss(tokens, held_out, VOCABULARY)
    print(f"{len(tokens)} training tokens, {len(held_out)} held out, bigram {bigram:.4f} nats a token", flush=True)

    end = tokenizer.token_to_id(END_OF_TEXT)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=POSITIONS,
        n_embd=144,
        n_head=6,
        n_layer=4,
        bos_token_id=end,
        eos_token_id=end,
    )
    model = GPT2LMHeadModel(config)
    loss, step = train(model, tokens, held_out, options.steps)
    if loss > bigram - 0.2:
        sys.exit(f"validation loss {loss:.4f} is not clearly under the bigram model's {bigram:.4f}")

    options.out.mkdir(parents=True, exist_ok=True)
    model.eval().save_pretrained(options.out)
    tokenizer.save(str(options.out / "tokenizer.json"))
    tokenizer.model.save(str(options.out))
    import transformers

    card = CARD.format(
        parameters=sum(p.numel() for p in model.parameters()), embd=config.n_embd, head=config.n_head,
        d=config.n_embd // config.n_head, layer=config.n_layer, positions=POSITIONS, vocabulary=VOCABULARY,
        train_tokens=len(tokens), held_tokens=len(held_out), loss=loss, bigram=bigram, step=step,
        steps=options.steps, seed=SEED, threads=THREADS, torch=torch.__version__,
        transformers=transformers.__version__,
    )  # fmt: skip
    (options.out / "README.md").write_text(card, encoding="utf-8")
    print(f"validation {loss:.4f} at step {step}, bigram {bigram:.4f}")


if __name__ == "__main__":
    main()

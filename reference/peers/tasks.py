"""The timed tasks, the same for every peer."""

import time

import numpy

from peers.common import Refusal

MOST_OFF = 0.05  # of the logits' standard deviation: far above what f16 costs, far below what a wrong cache does


def prompt(config: dict, batch: int, length: int) -> numpy.ndarray:
    """The same ids in every run, [B, T]; which ones they are costs nothing and saves nothing."""
    return numpy.random.default_rng(1).integers(config["vocab_size"], size=(batch, length))


class Tasks:
    """The tasks. Between them it remembers a filled cache, so that the same decode again needs no prefill."""

    def __init__(self, peer, config: dict):
        self.peer, self.config, self.filled = peer, config, None

    def check(self) -> None:
        """Steps after a prompt must give what the whole prompt gives, or what is timed is another model.

        The logits task runs no step: a graph whose layers share one cache is right in it and wrong in every decode.
        """
        length = min(8, self.config["n_positions"])
        ids = prompt(self.config, 2, length)
        self.open(2)
        whole = numpy.array(self.peer.run(ids))
        self.open(2)
        self.peer.run(numpy.ascontiguousarray(ids[:, :2]))
        for place in range(2, length):
            stepped = self.peer.run(numpy.ascontiguousarray(ids[:, place, None]))
        off, spread = numpy.abs(stepped - whole).max(), whole.std()
        if not off <= MOST_OFF * spread:
            raise Refusal(f"its steps are off its prefill by {off:.1e}, with logits that spread by {spread:.1e}")

    def open(self, batch: int) -> None:
        self.filled = None
        self.peer.open(batch)

    def fit(self, batch: int, length: int) -> None:
        if batch < 1 or not 0 < length <= self.config["n_positions"]:
            raise Refusal(f"{batch} rows of {length} positions, the model has {self.config['n_positions']}")

    def prefill(self, tokens: int) -> dict:
        self.fit(1, tokens)
        self.open(1)
        ids = prompt(self.config, 1, tokens)
        start = time.perf_counter()
        self.peer.run(ids)
        return {"seconds": time.perf_counter() - start}

    def decode(self, past: int, batch: int, steps: int) -> dict:
        self.fit(batch, past + steps)
        ids = prompt(self.config, batch, self.config["n_positions"])
        if self.filled != (past, batch):
            self.open(batch)
            if past:
                self.peer.run(numpy.ascontiguousarray(ids[:, :past]))
            self.filled = (past, batch)
        columns = [numpy.ascontiguousarray(ids[:, past + step, None]) for step in range(steps)]
        # The first step of a shape, or after a pause, pays for buffers and threads: one is run for nothing.
        for calls in (columns[:1], columns):
            self.peer.rewind(past)
            start = time.perf_counter()
            for column in calls:
                self.peer.run(column)
        return {"seconds": (time.perf_counter() - start) / steps}

    def logits(self, ids: list[int]) -> dict:
        self.fit(1, len(ids))
        if not all(0 <= token < self.config["vocab_size"] for token in ids):
            raise Refusal("an id outside of the vocabulary")
        self.open(1)
        return {"logits": self.peer.run(numpy.array([ids], numpy.int64))[0].tolist()}

"""llama.cpp on the GGUF that llama_gguf.py writes."""

import ctypes
import os
import pathlib
from collections.abc import Sequence

import numpy
from llama_cpp import llama_cpp as c

from peers.common import Refusal, read_config

CHUNK = 512  # n_batch and n_ubatch


class LlamaCpp:
    """llama.cpp through its C functions: nothing of llama-cpp-python but the calls is timed.

    Its logits are some 1e-3 from transformers', whatever K and V are in: ggml looks gelu up in a table of f16.
    """

    kv, flash = "f16", "auto"  # llama.cpp's defaults

    def __init__(self, folder: pathlib.Path, converted: pathlib.Path | None, threads: int):
        self.threads, self.batch, self.context = threads, 0, None
        # Kept, or it would be collected while C still calls it. 4 is an error.
        self.log = c.llama_log_callback(lambda level, text, _: os.write(2, text) if level == 4 else None)
        c.llama_log_set(self.log, ctypes.c_void_p(0))
        c.llama_backend_init()
        self.config = read_config(folder)
        path = str(converted / "model.gguf").encode()
        self.net = c.llama_model_load_from_file(path, c.llama_model_default_params())
        if not self.net:
            raise Refusal("llama.cpp does not load its GGUF")
        self.tokens = c.llama_batch_init(CHUNK, 0, 1)
        flags = " ".join(c.llama_print_system_info().decode().split())
        how = f"K/V in {self.kv}, flash attention {self.flash}, n_batch = n_ubatch = {CHUNK}"
        self.detail = f"float32 GGUF, {how}; {flags}"

    def open(self, batch: int) -> None:
        if batch > CHUNK:
            raise Refusal(f"more than n_batch = {CHUNK} rows")
        if batch != self.batch:
            if self.context:
                c.llama_free(self.context)
            self.context, self.batch = c.llama_init_from_model(self.net, self.parameters(batch)), 0
            if not self.context:
                raise Refusal(f"llama.cpp has no context for {batch} rows")
            self.batch = batch
            self.memory = c.llama_get_memory(self.context)
        self.rewind(0)

    def parameters(self, batch: int):
        """Each row has a stream of n_positions to itself."""
        parameters = c.llama_context_default_params()
        parameters.n_ctx, parameters.n_seq_max = self.config["n_positions"] * batch, batch
        parameters.n_batch = parameters.n_ubatch = CHUNK
        parameters.n_threads = parameters.n_threads_batch = self.threads
        if self.kv == "f32":
            parameters.type_k = parameters.type_v = c.GGML_TYPE_F32
            parameters.flash_attn_type = c.LLAMA_FLASH_ATTN_TYPE_DISABLED
        return parameters

    def rewind(self, length: int) -> None:
        self.length = length
        for row in range(self.batch):
            c.llama_memory_seq_rm(self.memory, row, length, -1)

    def run(self, ids: numpy.ndarray) -> numpy.ndarray:
        batch, new = ids.shape
        if new == 1:  # a step: the rows together
            logits = self.decode(ids[:, 0], range(batch), [self.length] * batch, range(batch))
        else:
            logits = [self.prompt(row, ids[row]) for row in range(batch)]
        self.length += new
        return numpy.stack(logits)

    def prompt(self, row: int, ids: numpy.ndarray) -> numpy.ndarray:
        for start in range(0, len(ids), CHUNK):
            part = ids[start : start + CHUNK]
            places = range(self.length + start, self.length + start + len(part))
            wanted = [len(part) - 1] if start + CHUNK >= len(ids) else []
            logits = self.decode(part, [row] * len(part), places, wanted)
        return logits[0]

    def decode(self, ids: numpy.ndarray, rows: Sequence, places: Sequence, wanted: Sequence) -> list[numpy.ndarray]:
        """One llama_decode; the logits of the tokens whose index is wanted."""
        tokens = self.tokens
        tokens.n_tokens = len(ids)
        for i, (token, row, place) in enumerate(zip(ids.tolist(), rows, places, strict=True)):
            tokens.token[i], tokens.pos[i], tokens.n_seq_id[i], tokens.seq_id[i][0] = token, place, 1, row
            tokens.logits[i] = i in wanted
        code = c.llama_decode(self.context, tokens)
        if code:
            raise RuntimeError(f"llama_decode: {code}")
        shape = (self.config["vocab_size"],)
        pointers = [c.llama_get_logits_ith(self.context, i) for i in wanted]
        c.llama_synchronize(self.context)
        return [numpy.ctypeslib.as_array(pointer, shape).copy() for pointer in pointers]


class LlamaCpp32(LlamaCpp):
    """Without flash attention, which rounds float32 keys and values to f16 at every call.

    With it the logits are those of the f16 peer to the bit, and a step with a long past is slower than either.
    """

    kv, flash = "f32", "off"

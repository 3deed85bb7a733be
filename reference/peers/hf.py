"""Hugging Face transformers on PyTorch."""

import pathlib

import numpy
import torch
import transformers
from transformers import DynamicCache, GPT2LMHeadModel


class Transformers:
    """The library's own code as `from_pretrained` gives it: fused attention, a cache that grows by copying."""

    def __init__(self, folder: pathlib.Path, converted: pathlib.Path | None, threads: int):
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        self.net = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()
        cpu = torch.backends.cpu.get_cpu_capability()
        self.detail = f"float32, sdpa attention, DynamicCache, not compiled; PyTorch's kernels for {cpu}"

    def open(self, batch: int) -> None:
        self.cache = DynamicCache(config=self.net.config)

    def rewind(self, length: int) -> None:
        excess = self.cache.get_seq_length() - length
        if excess:
            self.cache.crop(-excess)  # so many of the last ones

    @torch.inference_mode()
    def run(self, ids: numpy.ndarray) -> numpy.ndarray:
        output = self.net(torch.from_numpy(ids), past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        return output.logits[:, -1].numpy()

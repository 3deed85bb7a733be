"""llama.cpp's own GPT-2 graph, every tensor taken from its evaluation callback."""

import ctypes
import pathlib
import re
import tempfile

import numpy as np
from llama_cpp import llama_cpp as c
from peers.llama_gguf import convert
from traces import Refusal

from witnesses.common import WHOLE, Folder, Sites, Witness

FLOAT32 = 0  # of ggml_type
# Their name without the layer -> ours; [B, T, ...] but for heads and scores, which `place` turns round.
STREAMS = {
    "inpL": "embed", "attn_norm": "ln_1", "ffn_norm": "ln_2", "ffn_up_b": "mlp.fc", "ffn_gelu": "mlp.act",
    "ffn_out": "mlp.out", "l_out": "", "result_norm": "ln_f", "result_output": "logits",
}  # fmt: skip
HEADS = {"Qcur": "attn.q", "Kcur": "attn.k", "Vcur": "attn.v"}


class Tensor(ctypes.Structure):
    """The beginning of a ggml_tensor."""

    _fields_ = [
        ("type", ctypes.c_int), ("buffer", ctypes.c_void_p), ("ne", ctypes.c_int64 * 4), ("nb", ctypes.c_size_t * 4),
    ]  # fmt: skip


def library() -> ctypes.CDLL:
    ggml = ctypes.CDLL(str(pathlib.Path(c.__file__).parent / "lib" / "libggml-base.so"))
    for name in ("ggml_get_name", "ggml_op_desc"):
        getattr(ggml, name).restype, getattr(ggml, name).argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    ggml.ggml_nbytes.restype, ggml.ggml_nbytes.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
    ggml.ggml_backend_tensor_get.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
    return ggml


class LlamaCpp:
    def __init__(self, folder: Folder):
        self.config, self.ggml = folder.config, library()
        size = self.config["n_embd"] // self.config["n_head"]
        self.scale = np.float32(1) / np.sqrt(np.float32(size))  # as their graph hands it to its softmax
        # Kept, or they would be collected while C still calls them.
        self.log = c.llama_log_callback(lambda level, text, _: None)
        self.callback = c.ggml_backend_sched_eval_callback(self.listen)
        c.llama_log_set(self.log, ctypes.c_void_p(0))
        c.llama_backend_init()
        with tempfile.TemporaryDirectory() as converted:
            convert(folder.path, pathlib.Path(converted))
            path = pathlib.Path(converted) / "model.gguf"
            parameters = c.llama_model_default_params()
            parameters.use_mmap = False
            self.net = c.llama_model_load_from_file(str(path).encode(), parameters)
        if not self.net:
            raise Refusal("llama-cpp: llama.cpp does not load its GGUF")

    def listen(self, address: int, ask: bool, _: object) -> bool:
        """Before a tensor is computed it asks whether it shall be shown, which makes it a piece of its own."""
        if not ask:
            # What is raised here would be lost.
            try:
                self.take(address)
            except Exception as error:  # noqa: BLE001
                self.error = error
        return True

    def take(self, address: int) -> None:
        tensor = ctypes.cast(address, ctypes.POINTER(Tensor)).contents
        name, operation = (f(address).decode() for f in (self.ggml.ggml_get_name, self.ggml.ggml_op_desc))
        name, layer = re.fullmatch(r"(.*?)(?:-(\d+))?", name).groups()
        block = "" if layer is None else f"h.{layer}"
        if tensor.type != FLOAT32:
            return
        if name.startswith("node_") and operation == "ADD":  # the projection's bias; only ffn_inp says which layer's
            self.projected = self.read(address, tensor)
        elif name == "ffn_inp":
            self.sites[f"{block}.attn.out"] = self.projected[0]
        elif name in STREAMS:
            self.sites[".".join(filter(None, (block, STREAMS[name])))] = self.read(address, tensor)[0]
        elif name in HEADS:
            self.sites[f"{block}.{HEADS[name]}"] = self.read(address, tensor)
        elif name in ("kq", "kq_soft_max"):
            self.sites[f"{block}.attn.{'scores' if name == 'kq' else 'probs'}"] = self.read(address, tensor)
        elif operation == "VIEW" and (cached := re.fullmatch(r"cache_([kv])_l(\d+) \(view\)", name)):
            letter, layer = cached.groups()
            axes = (0, 1, 2, 3) if letter == "k" else (0, 3, 2, 1)  # values lie the other way round
            self.sites[f"h.{layer}.attn.cache.{letter}"] = self.read(address, tensor).transpose(axes)

    def read(self, address: int, tensor: Tensor) -> np.ndarray:
        """The numbers, the slowest axis first, four axes."""
        raw = np.empty(self.ggml.ggml_nbytes(address), np.uint8)
        self.ggml.ggml_backend_tensor_get(address, raw.ctypes.data, 0, raw.nbytes)
        view = np.lib.stride_tricks.as_strided(raw.view(np.float32), list(tensor.ne)[::-1], list(tensor.nb)[::-1])
        return np.ascontiguousarray(view)

    def propagated(self, calls: list[np.ndarray]) -> list[Sites]:
        """Every row in a context of its own; their graph puts the rows of a batch one behind the other."""
        rows = [self.row([tokens[row] for tokens in calls]) for row in range(len(calls[0]))]
        return [
            {site: np.concatenate([row[call][site] for row in rows]) for site in rows[0][call]}
            for call in range(len(calls))
        ]

    def row(self, calls: list[np.ndarray]) -> list[Sites]:
        context, past, sites = c.llama_init_from_model(self.net, self.parameters()), 0, []
        try:
            for tokens in calls:
                self.sites, self.error = {}, None
                self.decode(context, tokens.tolist(), past)
                if self.error is not None:
                    raise self.error
                past += len(tokens)
                sites.append({site: self.place(site, numbers, past) for site, numbers in self.sites.items()})
        finally:
            c.llama_free(context)
        return sites

    def parameters(self):
        parameters = c.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = self.config["n_positions"]
        parameters.n_threads = parameters.n_threads_batch = 1
        parameters.type_k = parameters.type_v = c.GGML_TYPE_F32
        parameters.flash_attn_type = c.LLAMA_FLASH_ATTN_TYPE_DISABLED  # else there are no scores
        parameters.cb_eval = self.callback
        return parameters

    def decode(self, context, tokens: list[int], past: int) -> None:
        batch = c.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for at, token in enumerate(tokens):
            batch.token[at], batch.pos[at], batch.n_seq_id[at], batch.seq_id[at][0] = token, past + at, 1, 0
            batch.logits[at] = True  # of every position, or its last layer would leave rows out
        code = c.llama_decode(context, batch)
        c.llama_batch_free(batch)
        if code:
            raise RuntimeError(f"llama_decode: {code}")

    def place(self, site: str, numbers: np.ndarray, total: int) -> np.ndarray:
        """In our axes, without the cache's empty places, scores scaled and masked as the next step does it."""
        if site.endswith(("cache.k", "cache.v")):
            return numbers[:, :total]
        if site.endswith("attn.probs"):
            return numbers[..., :total]
        if site.endswith("attn.scores"):
            scores = numbers[..., :total] * self.scale
            new = scores.shape[2]
            is_future = np.triu(np.ones((new, total), bool), 1 + total - new)
            return np.where(is_future, np.float32(-np.inf), scores)
        return numbers


def open_witness(folder: Folder) -> Witness:
    if folder.kind != "whole":
        raise Refusal("llama-cpp: its graph is run whole or not at all")
    model = LlamaCpp(folder)
    flags = c.llama_print_system_info().decode().split("|")
    return Witness(
        label="model",
        model_code="llama.cpp, src/models/gpt2.cpp",
        kernels="ggml's CPU backend; its GELU looks up a table of float16, rounded from a float16 argument",
        how="a GGUF in float32 written from our weights, float32 K/V, flash attention off, one thread, one row a "
        "context, every position's logits wanted, every tensor computed on its own. Its scores are the bare product: "
        "scaled and masked here, in float32, as its softmax does it",
        packages=("llama_cpp_python", "gguf", "numpy", "torch"),
        versions={"ggml on this CPU": ", ".join(flag.strip() for flag in flags if flag.strip())},
        propagated=model.propagated,
        propagated_kinds=WHOLE,
    )

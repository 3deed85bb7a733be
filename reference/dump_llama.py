"""Dumps what llama.cpp computes, tensor by tensor, through its evaluation callback.

    python reference/dump_llama.py --model fixtures/tiny --case two-tokens --out dump.npz [--keep REGEX]

Needs reference/peers/llama.txt beside requirements.txt. Names and axes are llama.cpp's own: those of ggml, the
fastest axis first, are turned round here as numpy has them, and nothing else is changed.
"""

import ctypes
import pathlib
import tempfile

import dumps
import numpy
from llama_cpp import llama_cpp as c
from peers.llama_gguf import convert

FLOATS = {0: numpy.float32, 1: numpy.float16}  # ggml_type


class Tensor(ctypes.Structure):
    """The beginning of ggml_tensor."""

    _fields_ = [
        ("type", ctypes.c_int), ("buffer", ctypes.c_void_p), ("ne", ctypes.c_int64 * 4), ("nb", ctypes.c_size_t * 4),
    ]  # fmt: skip


def ggml() -> ctypes.CDLL:
    folder = pathlib.Path(c.__file__).parent / "lib"
    library = ctypes.CDLL(str(folder / "libggml-base.so"))
    library.ggml_get_name.restype = ctypes.c_char_p
    library.ggml_get_name.argtypes = [ctypes.c_void_p]
    library.ggml_nbytes.restype = ctypes.c_size_t
    library.ggml_nbytes.argtypes = [ctypes.c_void_p]
    library.ggml_backend_tensor_get.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
    return library


def read(library: ctypes.CDLL, address: int) -> numpy.ndarray | None:
    """A tensor's numbers, the slowest axis first; nothing where they are no floats."""
    tensor = ctypes.cast(address, ctypes.POINTER(Tensor)).contents
    if tensor.type not in FLOATS:
        return None
    raw = numpy.empty(library.ggml_nbytes(address), numpy.uint8)
    library.ggml_backend_tensor_get(address, raw.ctypes.data, 0, raw.nbytes)
    shape, strides = list(tensor.ne)[::-1], list(tensor.nb)[::-1]
    view = numpy.lib.stride_tricks.as_strided(raw.view(FLOATS[tensor.type]), shape, strides)
    return numpy.ascontiguousarray(view)


def dump(folder: pathlib.Path, tokens: list[int]) -> dict[str, numpy.ndarray]:
    """One call on one row of tokens, every position's logits asked for."""
    library, tensors = ggml(), {"tokens": numpy.array([tokens])}

    @c.ggml_backend_sched_eval_callback
    def listen(address: int, ask: bool, _: object) -> bool:
        if not ask:
            name = library.ggml_get_name(address).decode()
            numbers = read(library, address)
            if numbers is not None and not name.startswith(("cache_", "leaf_", "node_")):
                tensors[name] = numbers  # of several with one name, such as a view's, the last
        return True

    quiet = c.llama_log_callback(lambda level, text, _: None)
    c.llama_log_set(quiet, ctypes.c_void_p(0))
    c.llama_backend_init()
    with tempfile.TemporaryDirectory() as converted:
        convert(folder, pathlib.Path(converted))
        path = str(pathlib.Path(converted) / "model.gguf").encode()
        net = c.llama_model_load_from_file(path, c.llama_model_default_params())
    parameters = c.llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = 256
    parameters.type_k = parameters.type_v = c.GGML_TYPE_F32
    parameters.flash_attn_type = 0  # scores and probabilities exist
    parameters.cb_eval = listen
    context = c.llama_init_from_model(net, parameters)
    batch = c.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for at, token in enumerate(tokens):
        batch.token[at], batch.pos[at], batch.n_seq_id[at] = token, at, 1
        batch.seq_id[at][0], batch.logits[at] = 0, True
    if c.llama_decode(context, batch) != 0:
        raise SystemExit("llama.cpp could not decode the tokens")
    c.llama_free(context)
    return tensors


def main() -> None:
    options = dumps.parser(__doc__).parse_args()
    dumps.write(options, lambda tokens: dump(options.model, tokens[0].tolist()))


if __name__ == "__main__":
    main()
